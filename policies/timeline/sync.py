"""As overlapped, but the host reads the router's result before it decides: the machine's host_wait stands between (a) and (b).

Nothing of this layer is launched or issued while the host waits. Loads that earlier layers issued go on.
"""

from __future__ import annotations

from typing import Any

from simmoe.simulator.lower.emitter import op_host
from simmoe.simulator.lower.layer import load_beside
from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work

NEEDS = ("host_wait",)  # a device without one would play `overlapped`


def lower_layer(
    event: int, number: int, size: int, column: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """The wait, then parts (b) to (e) of one MoE layer."""
    now = op_host(t.unit[column], event, now, f, t, w, s, e)
    return load_beside(event, number, size, column, now, f, t, w, s, e)
