"""Nothing overlaps: each load is issued when the launch before it has ended (an engine that copies an expert and then computes it)."""

from __future__ import annotations

from typing import Any

from simmoe.simulator.lower.emitter import op_move, op_one, op_ready, op_shared
from simmoe.simulator.lower.layer import (
    cpu_at_once,
    cpu_behind,
    held_low,
    late_hits,
    late_slots,
    prefetch,
    row_of,
    withdraw,
)
from simmoe.simulator.lower.records import LOADED, Fixed, Notes, Tables, Work


def lower_layer(
    event: int, number: int, size: int, column: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """Shared experts, hits, then load by load; prefetches behind the last load, or at once where there is none."""
    unit, link = t.at[column], t.link[column]
    first, last, begin = w.ptr[event], w.ptr[event + 1], s.at[LOADED]
    end, slots = begin, w.slot_ptr[event + 1] - w.slot_ptr[event]
    while end < len(w.loads) and w.loads[end] < last:
        slots -= w.tokens[w.loads[end]]
        end += 1
    s.at[LOADED] = end
    late = 0
    if len(w.issued) > 0:
        late = late_hits(first, last, w, s)
    now = withdraw(unit, link, event, late, now, f, t, w, s, e)
    hits, decided = last - first - (end - begin), now
    if len(w.cpu_ps) > 0:
        hits -= w.cpu_count[event]
        slots -= w.cpu_slots[event]
    if len(w.gone) > 0:
        hits -= w.gone[event]
        slots -= w.gone_slots[event]
    beside = cpu_at_once(event, decided, f, t, w, s, e)
    if len(w.issued) > 0 and begin == end:
        prefetch(now, event, link, f, t, w, s, e)
    now = op_shared(unit, number, size, column, now, f, t, w, s, e)
    if hits > 0:
        some = late_slots(late, w, s)
        now = op_ready(unit, event, column, hits - late, slots - some, late, now, f, t, w, s, e)
    if len(w.low_hits) > 0:
        now = held_low(unit, event, column, now, f, t, w, s, e)
    for j in range(late):
        now = op_one(unit, column, s.late[j], s.by[j], 0, now, f, t, w, s, e)
    for n in range(begin, end):
        arrives = op_move(link, n, now, f, t, w, s, e)
        if n == end - 1 and len(w.issued) > 0:
            prefetch(now, event, link, f, t, w, s, e)
        row = column
        if len(w.low) > 0:
            row = row_of(column, n, f, w)
        now = op_one(unit, row, w.loads[n], -1, arrives, now, f, t, w, s, e)
    now = cpu_behind(unit, event, decided, beside, now, f, t, w, s, e)
    return now
