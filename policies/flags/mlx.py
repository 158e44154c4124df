"""MLX: mlx_lm.generate, mlx_lm.benchmark, mlx_lm.server, mlx_lm.chat."""

from __future__ import annotations

from simmoe.policies.flags.gguf import prompt
from simmoe.policies.flags.table import DRAFT, Setting, Table
from simmoe.policies.flags.values import count, said
from simmoe.simulator.errors import UserError

SOURCE = "mlx_lm.generate --help, ml-explore/mlx-lm d78bf58e (mlx_lm/generate.py, benchmark.py, server.py)"
BITS = {
    "8": "q8_0",
    "4": "q4_0",
}  # with MLX's scale and bias of 16 bits for each 64 numbers: 8.5 and 4.5 bits, as these


def _cache(text: str) -> tuple[str, str]:
    if text not in BITS:
        raise UserError("must be 8 or 4: other widths of the cache are not simulated")
    return BITS[text], BITS[text]


def _bits(keys: str | None, values: str | None) -> list[str] | None:
    words = {ours: theirs for theirs, ours in BITS.items()}
    return [words[keys]] if keys is not None and keys == values and keys in words else None


_TOOLS = frozenset({"generate", "benchmark", "server", "chat", "cache_prompt"})
PROGRAMS = {"mlx_lm": _TOOLS, **{f"mlx_lm.{one}": frozenset[str]() for one in _TOOLS}}
SETTINGS = (
    Setting("--model", "model", str, said),
    Setting("--prompt-tokens --prompt -p", "prompt", prompt, said),
    Setting("--max-tokens -m --generation-tokens -g", "generate", count(0), said),
    Setting("--batch-size -b --decode-concurrency", "parallel", count(), said),
    Setting("--prefill-step-size", "microbatch", count(), said),
    Setting("--max-kv-size", "context", count(), said),
    Setting("--kv-bits", "k_format v_format", _cache, _bits),
)
REFUSED = {
    DRAFT: "--draft-model --num-draft-tokens",
    "adapters are not simulated": "--adapter-path",
    "several machines are not simulated from flags yet": "--pipeline",
    "activations of 8 bits take other kernels, which are not simulated": "--quantize-activations -qa",
}
SWITCHES = "--trust-remote-code --ignore-chat-template --use-default-chat-template"
VALUES = """
    --system-prompt --prefill-response --temp --top-p --min-p --top-k --xtc-probability --xtc-threshold --min-tokens-to-keep --seed
    --chat-template-config --verbose --prompt-cache-file --kv-group-size --quantized-kv-start --num-trials -n --delay --host --port
    --allowed-origins --log-level --chat-template --chat-template-args --prompt-concurrency --prompt-cache-size --prompt-cache-bytes
    --eos-token
"""
TABLE = Table("mlx", SOURCE, PROGRAMS, SETTINGS, REFUSED, SWITCHES, VALUES, "--extra-eos-token")
