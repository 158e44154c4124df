"""A tensor split of all but the routed experts, of which each of the equal devices has some whole (expert parallelism).

Attention is summed up over all devices, so each has all rows and decides, loads and computes its own experts as in overlapped. A layer ends
when the slowest has, and what they computed is summed up with the other sums of the next gap, as in tensor_parallel.
"""

from __future__ import annotations

from typing import Any

from simmoe.simulator.lower.emitter import op_wait
from simmoe.simulator.lower.layer import load_beside, lower_divided_pass
from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work

SEVERAL_DEVICES = True
TENSOR_PARALLEL_BUT_EXPERTS = True  # each device has a part of all else, and the experts that a placement gives it


def lower_pass(number: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """The operations of pass `number` behind `now`; the handle of the last."""
    return lower_divided_pass(number, now, f, t, w, s, e)


def lower_layer(
    event: int, number: int, size: int, column: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """Each device its experts; the first waits for the others."""
    ends = now
    for device in range(f.devices):
        mine, place = event * f.devices + device, column * f.devices + device
        done = load_beside(mine, number, size, place, now, f, t, w, s, e)
        s.back[device] = done
        if device == 0:
            ends = done
    for device in range(1, f.devices):
        ends = op_wait(t.at[0], s.back[device], ends, f, t, w, s, e)
    return ends
