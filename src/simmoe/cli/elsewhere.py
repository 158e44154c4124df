"""Options of llama.cpp and vLLM that people bring along, and what says the same here, or nearly so."""

from __future__ import annotations

_BLOCKS = "--placement n_cpu_moe={}"
_LAYERS = f"whole layers on the CPU are not modelled, and all experts of the first blocks are: {_BLOCKS.format('N')}"
_TENSORS = f"{_BLOCKS.format('N')} takes the experts of the first N blocks, and docs/extending/placement.md any that you choose"
_TOGETHER = "--batch {}, or --max-batch {} beside --schedule continuous"
LIKE = {  # {} is the value that stood there
    "--n-cpu-moe": _BLOCKS, "-ncmoe": _BLOCKS, "--cpu-moe": _BLOCKS.format(99), "-cmoe": _BLOCKS.format(99),
    **dict.fromkeys(("-ngl", "--gpu-layers", "--n-gpu-layers"), _LAYERS), **dict.fromkeys(("-ot", "--override-tensor"), _TENSORS),
    **dict.fromkeys(("-c", "--ctx-size", "--max-model-len"), "--context {}"),
    **dict.fromkeys(("-b", "--batch-size", "-ub", "--ubatch-size", "--max-num-batched-tokens"), "--prefill-chunk {}"),
    **dict.fromkeys(("-np", "--parallel", "--max-num-seqs"), _TOGETHER),
    **dict.fromkeys(("-ts", "--tensor-split"), "--placement layer_split={}"),
    "--gpu-memory-utilization": "--memory SIZE", "-m": "--model {}", "-p": "--prompt N", "--n-prompt": "--prompt {}",
    **dict.fromkeys(("-n", "--n-predict", "--predict", "--n-gen"), "--generate {}"), **dict.fromkeys(("-d", "--n-depth"), "--depth {}"),
    **dict.fromkeys(("-ctk", "-ctv", "--cache-type-k", "--cache-type-v", "--kv-cache-dtype"), "--kv-format {}, of keys and values alike"),
}  # fmt: skip


def hint(word: str, value: str) -> str:
    """What to write in place of that option; empty where nothing is like it."""
    said = LIKE.get(word, "")
    return said.replace("{}", (value or "N").replace(",", "/") if "split" in said else value or "N")
