"""Loads run beside computing: issued when they are decided, each expert computed when it has arrived.

(a) attention, norms, router; (b) decisions, loads issued; (c) shared experts; (d) the hits that have arrived when (c) ends, as one launch;
(e) late hits in order of their transfers' issue, then this event's loads in order, one launch each when it has arrived. A load that takes
the room of an expert of its own event is issued when that one has been computed.
"""

from __future__ import annotations

from typing import Any

from simmoe.simulator.lower.emitter import op_cpu, op_one, op_ready, op_shared, op_wait
from simmoe.simulator.lower.layer import ended, issue, late_hits, late_slots
from simmoe.simulator.lower.records import LOADED, Fixed, Notes, Tables, Work


def lower_layer(
    event: int, number: int, size: int, column: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """Parts (b) to (e) of one MoE layer."""
    unit, link = t.unit[column], t.link[column]
    first, last, begin = w.ptr[event], w.ptr[event + 1], s.at[LOADED]
    end, slots = begin, w.slot_ptr[event + 1] - w.slot_ptr[event]
    while end < len(w.loads) and w.loads[end] < last:
        slots -= w.tokens[w.loads[end]]
        end += 1
    s.at[LOADED] = end
    hits, beside = last - first - (end - begin), now
    if len(w.cpu_ps) > 0:
        hits -= w.cpu_count[event]
        slots -= w.cpu_slots[event]
        beside = op_cpu(event, now, f, t, w, s, e)
    late = 0
    if len(w.issued) > 0:
        late = late_hits(first, last, w, s)
    issued = issue(now, event, begin, end, begin, 0, link, f, t, w, s, e)  # (b)
    now = op_shared(unit, number, size, column, now, f, t, w, s, e)  # (c)
    if hits > 0:
        some = late_slots(late, w, s)
        now = op_ready(unit, event, column, hits - late, slots - some, late, now, f, t, w, s, e)  # (d)
    for j in range(late + end - begin):  # (e)
        if issued < end:
            done = hits + j - late
            if j < late:
                done = ended(j, late, hits, s)
            issued = issue(now, event, begin, end, issued, done, link, f, t, w, s, e)
        i = s.late[j] if j < late else w.loads[begin + j - late]
        by = s.by[j] if j < late else -1
        now = op_one(unit, column, i, by, s.due[max(j - late, 0)], now, f, t, w, s, e)
    if len(w.cpu_ps) > 0:
        now = op_wait(unit, beside, now, f, t, w, s, e)
    return now
