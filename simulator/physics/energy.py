"""Energy: what a machine draws at rest, per byte moved and per FLOP.

Power follows utilisation badly when decode is bound by memory: an L40 of 300 W draws 199 W at full bandwidth with next
to no FLOPs, 282 W with 15.4 TFLOP/s beside it (RRZE-HPC/gpu-benches), so P = idle + e_byte x bytes/s + e_flop x FLOPs/s.
Energy per byte of the board, not of the memory device alone.
"""

from __future__ import annotations

from typing import NamedTuple


class Power(NamedTuple):
    """Coefficients in watts and joules."""

    idle_w: float
    joules_per_byte: float
    joules_per_link_byte: float
    joules_per_flop: float


def joules(seconds: float, memory_bytes: float, link_bytes: float, flops: float, power: Power) -> float:
    """Energy of a stretch of work."""
    moved = memory_bytes * power.joules_per_byte + link_bytes * power.joules_per_link_byte
    return seconds * power.idle_w + moved + flops * power.joules_per_flop
