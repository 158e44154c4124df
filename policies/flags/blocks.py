"""Where llama.cpp puts each tensor under -ngl, -ncmoe, -cmoe, -ot and -ts; without -ngl all blocks are on the GPUs.

Its order of precedence (src/llama-model-loader.cpp, src/llama-model.cpp of the build that llama_cpp.py names): the first override
whose regular expression is found in the tensor's name; else the device of the tensor's block. -ngl N puts the last N of the blocks and
the output, which counts as one more block, on the GPUs, split in the proportions of -ts. The input embedding stays on the CPU.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from simmoe.policies.flags.words import ALL, Flags
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import Layer

CPU = -1
EXPERT_PARTS = ("gate", "up", "down")
EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"  # what --cpu-moe matches
BLOCK = re.compile(r"blk\.(\d+)\.")
ATTENTION = {  # mixer -> names of its tensors in a GGUF file, behind blk.N.
    "": ("attn_q", "attn_k", "attn_v", "attn_output"),
    "latent": ("attn_kv_a_mqa", "attn_k_b", "attn_v_b", "attn_output"),
    "delta_net": ("attn_qkv", "attn_gate", "ssm_conv1d", "ssm_out"),
    "mamba": ("ssm_in", "ssm_conv1d", "ssm_out"),
    "lightning": ("attn_qkv", "attn_gate", "attn_output"),
    "short_conv": ("shortconv.in_proj", "shortconv.conv", "shortconv.out_proj"),
    "no_mixer": ("attn_norm",),
}
QUERY = {"query_lora": ("attn_q_a", "attn_q_b"), "": ("attn_q",)}  # of a latent attention
DENSE = ("ffn_gate", "ffn_up", "ffn_down")


@dataclass(frozen=True)
class Block:
    """Where the parts of one layer are: the number of a GPU, or CPU."""

    attention: int  # with the KV cache of the layer, unless that is on the CPU for all layers
    ffn: int | None  # None: the layer has no such part
    shared: int | None
    experts: dict[str, int]  # part of each expert (gate, up, down) -> where it is; empty in a dense layer

    @property
    def experts_on_cpu(self) -> tuple[str, ...]:
        return tuple(part for part, where in self.experts.items() if where == CPU)

    @property
    def whole_on_cpu(self) -> bool:
        return {self.attention, self.ffn, self.shared, *self.experts.values()} <= {CPU, None}


def devices(flags: Flags, names: Iterable[str], n_blocks: int) -> list[int]:
    """For each tensor name of a GGUF file with `n_blocks` blocks: the number of its GPU, or CPU."""
    patterns = [(re.compile(pattern), _buffer(where)) for pattern, where in _in_order(flags)]
    found = []
    for name in names:
        forced = next((where for pattern, where in patterns if pattern.search(name)), None)
        found.append(_of_block(flags, name, n_blocks) if forced is None else forced)
    return found


def place(flags: Flags, layers: Sequence[Layer]) -> list[Block]:
    """Where the parts of each layer of a model are."""
    return [_block(flags, i, layer, len(layers)) for i, layer in enumerate(layers)]


def without_overrides(flags: Flags, layers: Sequence[Layer]) -> Flags:
    """The same placement said with -ncmoe alone, such as -cmoe for -ot exps=CPU. Experts of other blocks than the first count as those
    of as many first ones, where the blocks are alike. Raises UserError where that is not the same."""
    if not flags.tensor_overrides:
        return flags
    bare = replace(flags, tensor_overrides=(), overrides_before_cpu_moe=0, cpu_moe_blocks=None)
    placed, usual = place(flags, layers), place(bare, layers)
    on_cpu = []
    for i, (one, other) in enumerate(zip(placed, usual, strict=True)):
        if replace(one, experts={}) != replace(other, experts={}):
            raise UserError(f"-ot moves more of block {i} than its experts, which is not simulated")
        if one.experts != other.experts and set(one.experts.values()) != {CPU}:
            raise UserError(
                f"-ot leaves {' and '.join(one.experts_on_cpu) or 'no part'} of the experts of block {i} to the CPU: all or none"
            )
        if one.experts and one.experts != other.experts:
            on_cpu.append(i)
    moe = [i for i, layer in enumerate(layers) if layer.n_experts and usual[i].attention != CPU]
    first = moe[: len(on_cpu)]
    if first != on_cpu and {layers[i] for i in first} != {layers[i] for i in on_cpu}:
        raise UserError(
            f"-ot leaves the experts of blocks {', '.join(map(str, on_cpu))} to the CPU, which differ from the first ones"
        )
    return replace(bare, cpu_moe_blocks=first[-1] + 1 if first else None)


def output_device(flags: Flags, n_blocks: int) -> int:
    return devices(flags, ["output.weight"], n_blocks)[0]


def _block(flags: Flags, i: int, layer: Layer, n_blocks: int) -> Block:
    def where(names: Iterable[str]) -> list[int]:
        return devices(flags, [f"blk.{i}.{name}.weight" for name in names], n_blocks)

    def one(part: str) -> int:
        found = set(where(_names(layer, part)))
        if len(found) > 1:
            raise UserError(
                f"-ot puts a part of the {part} tensors of block {i} elsewhere; only all of them together can be placed, or the "
                "gate, up and down tensors of its experts"
            )
        return found.pop()

    parts = EXPERT_PARTS[1:] if "ungated" in layer.features else EXPERT_PARTS
    experts = where(f"ffn_{part}_exps" for part in parts) if layer.n_experts else []
    return Block(
        one("attention"),
        one("ffn") if layer.ffn.bytes else None,
        one("shared") if layer.shared.bytes else None,
        dict(zip(parts, experts, strict=False)),
    )


def _names(layer: Layer, part: str) -> tuple[str, ...]:
    """Tensors that are a part of a layer; an FFN of two matrices has no gate."""
    if part == "attention":
        mixer = next((word for word in ATTENTION if word in layer.features), "")
        query = QUERY["query_lora" if "query_lora" in layer.features else ""] if mixer == "latent" else ()
        return (*query, *ATTENTION[mixer])
    dense = DENSE[1:] if "ungated" in layer.features else DENSE
    return tuple(f"{name}_shexp" for name in dense) if part == "shared" else dense


def _in_order(flags: Flags) -> list[tuple[str, str]]:
    """All overrides in the order in which llama.cpp tries them."""
    before = flags.overrides_before_cpu_moe
    made: list[tuple[str, str]] = []
    if flags.cpu_moe_blocks is not None and flags.cpu_moe_blocks >= ALL:
        made = [(EXPERTS, "CPU")]
    elif flags.cpu_moe_blocks is not None:
        made = [(rf"blk\.{i}{EXPERTS}", "CPU") for i in range(flags.cpu_moe_blocks)]
    return [*flags.tensor_overrides[:before], *made, *flags.tensor_overrides[before:]]


def _buffer(name: str) -> int:
    """CPU and the pinned buffers of host memory are the CPU; CUDA1, Vulkan1, ROCm1 are GPU 1, Metal is GPU 0."""
    if name.upper().startswith(("CPU", "BLAS", "AMX")) or name.endswith("_Host"):
        return CPU
    digits = re.search(r"(\d+)$", name)
    if "[" in name:
        raise UserError(f"-ot {name}: tensors on another machine are not simulated")
    return int(digits[1]) if digits else 0


def _of_block(flags: Flags, name: str, n_blocks: int) -> int:
    found = BLOCK.match(name)
    if not found and not name.startswith("output"):
        return CPU
    index = int(found[1]) if found else n_blocks
    wanted = n_blocks + 1 if flags.gpu_layers is None else min(flags.gpu_layers, n_blocks + 1)
    first = n_blocks + 1 - wanted
    if index < first:
        return CPU
    split = flags.tensor_split if flags.tensor_split and flags.split_mode != "none" else (1.0,)
    bounds = [part / sum(split) for part in accumulate(split)]
    return min(bisect_right(bounds, (index - first) / wanted), len(split) - 1)
