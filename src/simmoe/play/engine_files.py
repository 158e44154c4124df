"""Which files an engine opens, and what follows from that."""

from __future__ import annotations

from simmoe.simulator.nouns.runtime import Runtime
from simmoe.workloads.models.formats import GGUF, SAFETENSORS

OPENS = {
    "llama.cpp": GGUF,
    "ik_llama.cpp": GGUF,
    "vllm": SAFETENSORS,
    "sglang": SAFETENSORS,
}  # engine -> files; others open both


def opened_by(runtime: Runtime) -> tuple[str, ...]:
    """Kinds of files that an engine opens."""
    return (OPENS[runtime.engine],) if runtime.engine in OPENS else (GGUF, SAFETENSORS)


def embeds_on_the_host(runtime: Runtime) -> bool:
    """Whether the input embedding stays in host memory, as in llama.cpp and its forks; others keep it on the device."""
    return opened_by(runtime) == (GGUF,)
