"""Readers and printers of the flags that the serving engines share."""

from __future__ import annotations

from simmoe.policies.flags.table import Aside, NotSet
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among

CACHE_FORMATS = {  # the engine's word -> the simulator's
    "fp8": "fp8",
    "fp8_e4m3": "fp8",
    "fp8_e5m2": "fp8",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "float16": "f16",
    "half": "f16",
    "float32": "f32",
}


def cache_formats(text: str) -> tuple[str, str]:
    if text == "auto":
        raise NotSet
    if text not in CACHE_FORMATS:
        raise UserError(among(text, ("auto", *CACHE_FORMATS)))
    return CACHE_FORMATS[text], CACHE_FORMATS[text]


def cache_format(keys: str | None, values: str | None) -> list[str] | None:
    words = {ours: theirs for theirs, ours in reversed(CACHE_FORMATS.items())}
    return [words[keys]] if keys is not None and keys == values and keys in words else None


def eager(text: str) -> bool:
    """Optimization level 0 launches kernels one by one; the others change how they are fused, which the runtime's constants hold."""
    if text == "0":
        return False
    if text in ("1", "2", "3"):
        raise Aside
    raise UserError("must be 0, 1, 2 or 3")
