"""Expert parallelism with data-parallel attention: each device runs attention, router and shared experts for its own sequences.

When all have decided, every device is sent the rows of the others that chose an expert it has (dispatch): one message for each
destination, which lasts as long as the busiest of the ports that it uses. It computes them as in overlapped, and sends them back
(combine). A layer ends when all rows are back, and the next begins on all devices then: it waits for the slowest.
"""

from __future__ import annotations

from typing import Any

from simmoe.simulator.lower.emitter import op_gap, op_send, op_wait
from simmoe.simulator.lower.layer import load_beside
from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work

SEVERAL_DEVICES = True
DATA_PARALLEL = True  # the rows of a pass are divided among the devices, by sequence


def lower_pass(number: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """The operations of pass `number` behind `now`; the handle of the last."""
    for column in range(f.layers + 1):
        for device in range(f.devices):
            share = number * f.devices + device
            s.back[device] = op_gap(t.at[device], share, t.size[share], column, now, f, t, w, s, e)
        now = s.back[0]
        for device in range(1, f.devices):
            now = op_wait(t.at[0], s.back[device], now, f, t, w, s, e)
        if column < f.layers:
            now = lower_layer(number * f.layers + column, number, 0, column, now, f, t, w, s, e)
    return now


def lower_layer(
    event: int, number: int, size: int, column: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """Dispatch, the part of each device, combine."""
    ends = now
    for device in range(f.devices):
        mine, share, begins = event * f.devices + device, number * f.devices + device, now
        if f.devices > 1:
            begins = op_send(f.fabric + 2 * device, w.send_ps[mine], now, f, t, w, s, e)
        if device == 0:
            begins = op_wait(t.at[0], begins, now, f, t, w, s, e)
        done = load_beside(mine, share, t.size[share], column * f.devices + device, begins, f, t, w, s, e)
        s.back[device] = done
        if device == 0:
            ends = done
        if f.devices > 1:
            s.back[device] = op_send(f.fabric + 2 * device + 1, w.send_ps[mine], done, f, t, w, s, e)
    for device in range(f.devices):
        ends = op_wait(t.at[0], s.back[device], ends, f, t, w, s, e)
    return ends
