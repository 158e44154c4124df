"""Several devices: layers split over them, experts of a layer split over them, or both; what they hand each other crosses the fabric.

Before a layer that another device runs than the one before, the hidden states of the pass are handed on. In a layer whose experts stand
on several devices, the one that runs the layer sends each other device the rows that chose an expert there (dispatch), each computes
them as in overlapped from when they have come, and sends them back (combine); the layer ends when all are back. Messages of one
direction follow each other.
"""

from __future__ import annotations

from typing import Any

from simmoe.simulator.lower.emitter import op_gap, op_send, op_wait
from simmoe.simulator.lower.layer import load_beside
from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work

SEVERAL_DEVICES = True


def lower_pass(number: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """The operations of pass `number` behind `now`; the handle of the last."""
    size = t.size[number]
    for column in range(f.layers + 1):
        if column > 0 and t.unit[column] != t.unit[max(column - 1, 0)]:
            sent = op_send(f.fabric, t.hand_ps[size], now, f, t, w, s, e)
            now = op_wait(t.unit[column], sent, now, f, t, w, s, e)
        now = op_gap(t.unit[column], number, size, column, now, f, t, w, s, e)
        if column < f.layers:
            now = lower_layer(number * f.layers + column, number, size, column, now, f, t, w, s, e)
    return now


def lower_layer(
    event: int, number: int, size: int, column: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """Each device its part of one MoE layer, then what the others send back."""
    ends = now
    for device in range(f.devices):
        mine, place, begins = event * f.devices + device, column * f.devices + device, now
        if t.on_path[place] == 0:
            begins = op_send(f.fabric, w.send_ps[mine], now, f, t, w, s, e)
        done = load_beside(mine, number, size, place, begins, f, t, w, s, e)
        if t.on_path[place] == 0:
            s.back[device] = op_send(f.fabric + 1, w.send_ps[mine], done, f, t, w, s, e)
        else:
            ends = done
    for device in range(f.devices):
        mine = event * f.devices + device
        if t.on_path[column * f.devices + device] == 0 and w.ptr[mine] < w.ptr[mine + 1]:
            ends = op_wait(t.unit[column], s.back[device], ends, f, t, w, s, e)
    return ends
