"""Loads run beside computing: issued when they are decided, each expert computed when it has arrived.

(a) attention, norms, router; (b) decisions, loads issued; (c) shared experts; (d) the hits that have arrived when (c) ends, as one launch;
(e) late hits in order of their transfers' issue, then this event's loads in order, one launch each when it has arrived. A load that takes
the room of an expert of its own event is issued when that one has been computed.
"""

from __future__ import annotations

from typing import Any

from simmoe.simulator.lower.layer import load_beside
from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work


def lower_layer(
    event: int, number: int, size: int, column: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """Parts (b) to (e) of one MoE layer."""
    return load_beside(event, number, size, column, now, f, t, w, s, e)
