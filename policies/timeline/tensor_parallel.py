"""A tensor split: equal devices divide every layer among them, and add up what they computed of it.

All do the same at the same time, so the operations are those of one of them, its link and its way into the fabric. What the devices sum
up since the last decisions (the experts, dense layers, attention) stands before the launches of the next gap: nothing else happens
between, so only the sum of these times counts. Within a layer as overlapped.
"""

from __future__ import annotations

from typing import Any

from simmoe.simulator.lower.layer import load_beside, lower_divided_pass
from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work

SEVERAL_DEVICES = True
TENSOR_PARALLEL = True  # each device has a part of every layer and of every expert


def lower_pass(number: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """The operations of pass `number` behind `now`; the handle of the last."""
    return lower_divided_pass(number, now, f, t, w, s, e)


def lower_layer(
    event: int, number: int, size: int, column: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """Parts (b) to (e) of one MoE layer."""
    return load_beside(event, number, size, column, now, f, t, w, s, e)
