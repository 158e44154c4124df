"""From verdicts to operations: what every timeline shares. Reads no clock; text that runs interpreted and compiled.

A file of policies/timeline defines `lower_layer`, which says what waits for what in one MoE layer. `load_beside` is what
several of them say.
"""

from __future__ import annotations

from typing import Any

from simmoe.simulator.lower.emitter import (
    op_carried,
    op_carry,
    op_cpu_first,
    op_cpu_last,
    op_fetch,
    op_gap,
    op_move,
    op_one,
    op_ready,
    op_send,
    op_shared,
    op_wait,
    op_withdraw,
)
from simmoe.simulator.lower.records import FRESH, LOADED, Fixed, Notes, Tables, Work


def lower_layer(
    event: int, number: int, size: int, column: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """Operations of MoE layer `column` in pass `number` behind `now`; the handle that the next layer waits for."""
    return now


def lower_pass(number: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """The operations of pass `number` behind `now`; the handle of the last."""
    size = t.size[number]
    for column in range(f.layers + 1):
        now = op_gap(t.unit[column], number, size, column, now, f, t, w, s, e)
        if column < f.layers:
            now = lower_layer(number * f.layers + column, number, size, column, now, f, t, w, s, e)
    return now


def lower_divided_pass(number: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """The same where devices divide what stands between the decisions: before each gap they add up what they computed since the last."""
    size = t.size[number]
    for column in range(f.layers + 1):
        now = summed(size, column, now, f, t, w, s, e)
        now = op_gap(t.unit[column], number, size, column, now, f, t, w, s, e)
        if column < f.layers:
            now = lower_layer(number * f.layers + column, number, size, column, now, f, t, w, s, e)
    return summed(size, f.layers + 1, now, f, t, w, s, e)


def issue(
    now: int, event: int, begin: int, end: int, issued: int, done: int, link: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """MOVEs of the loads begin … end-1 that may go behind `now`, in order, and the prefetches directly behind the last.

    `issued` is the next one, `done` how many experts have ended in computed order; the next one after this.
    """
    while issued < end and done >= w.wait[w.loads[issued]]:
        s.due[issued - begin] = op_move(link, issued, now, f, t, w, s, e)
        issued += 1
    if issued == end and len(w.issued) > 0:
        prefetch(now, event, link, f, t, w, s, e)
    return issued


def prefetch(now: int, event: int, link: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> None:
    """MOVEs of the event's prefetches."""
    for j in range(w.guess_ptr[event], w.guess_ptr[event + 1]):
        if w.issued[j]:
            op_fetch(link, j, now, f, t, w, s, e)


def withdraw(
    unit: int, link: int, event: int, late: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """Before all other operations of the event: prefetches that it makes useless leave the queue of the link, where the run does so."""
    if len(w.guess_for) > 0:
        now = op_withdraw(unit, link, event, late, now, f, t, w, s, e)
    return now


def late_hits(first: int, last: int, w: Work, s: Notes) -> int:
    """How many hits of the event may still be on their way; in s.late by issue of their transfers, with s.by and s.rank."""
    late, rank, i = 0, 0, first
    while s.at[FRESH] < len(w.fresh) and w.fresh[s.at[FRESH]] < last:
        by = w.fresh_by[s.at[FRESH]]
        while i < w.fresh[s.at[FRESH]]:
            rank += w.hit[i]
            i += 1
        at = late
        while at > 0 and s.by[at - 1] > by:
            s.late[at] = s.late[at - 1]
            s.by[at] = s.by[at - 1]
            s.rank[at] = s.rank[at - 1]
            at -= 1
        s.late[at] = i
        s.by[at] = by
        s.rank[at] = rank
        late += 1
        s.at[FRESH] += 1
    return late


def late_slots(late: int, w: Work, s: Notes) -> int:
    """Token slots of the hits that may still be on their way."""
    slots = 0
    for j in range(late):
        slots += w.tokens[s.late[j]]
    return slots


def ended(j: int, late: int, hits: int, s: Notes) -> int:
    """How many experts have ended, in computed order with no gap, when the first j of (e) have."""
    done = hits + j - late
    for other in range(j, late):
        done = min(done, s.rank[other])
    return done


def held_low(
    unit: int, event: int, column: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """Low copies that were in their pool: behind READY, a launch of their own, since they are of another format."""
    if w.low_hits[event] > 0:
        now = op_ready(unit, event, column + f.places, w.low_hits[event], w.low_slots[event], 0, now, f, t, w, s, e)
    return now


def before_low(
    now: int, event: int, begin: int, end: int, issued: int, hits: int, late: int, link: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """MOVEs that may go behind READY, before the launch over the low copies of the pool; the next one after these."""
    done = hits - late
    if late > 0:
        done = ended(0, late, hits, s)
    if issued < end:
        issued = issue(now, event, begin, end, issued, done, link, f, t, w, s, e)
    return issued


def row_of(column: int, load: int, f: Fixed, w: Work) -> int:
    """Where the costs of what a load brings stand: an expert or a low copy."""
    column += f.places * w.low[load]
    return column


def cpu_at_once(event: int, decided: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """Unified memory: the CPU's piece, before all other operations of the event, which the CPU slows; its handle."""
    beside = decided
    if len(w.cpu_ps) > 0 and f.contended:
        beside = op_cpu_first(event, decided, f, t, w, s, e)
    return beside


def cpu_behind(
    unit: int, event: int, decided: int, beside: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """Behind all other operations of the event: on discrete machines the CPU's piece, which all its transfers slow (it starts behind
    `decided` nevertheless); then the unit's wait for it. Of a large pass an engine may carry what the CPU has over the link instead, all of
    the event at once, and compute it on the device."""
    if len(w.cpu_ps) > 0:
        if not f.contended:
            beside = op_cpu_last(event, decided, f, t, w, s, e)
        now = op_wait(unit, beside, now, f, t, w, s, e)
    if len(w.carry_ps) > 0:
        carried = op_carry(t.link[event % f.places], event, now, f, t, w, s, e)
        now = op_carried(unit, event, event % f.places, carried, now, f, t, w, s, e)
    return now


def summed(size: int, column: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """Of devices that divide a model: the first waits for the sums before gap `column`, or behind the last one for the logits of the
    others. One device has none."""
    if len(t.sum_ps) > 0:
        sent = op_send(f.fabric, t.sum_ps[size * (f.layers + 2) + column], now, f, t, w, s, e)
        now = op_wait(t.unit[0], sent, now, f, t, w, s, e)
    return now


def load_beside(
    event: int, number: int, size: int, column: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """Loads issued behind `now`, each expert computed when it has arrived: parts (b) to (e) of a layer (docs/semantics.md)."""
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
    issued = issue(now, event, begin, end, begin, 0, link, f, t, w, s, e)  # (b)
    now = op_shared(unit, number, size, column, now, f, t, w, s, e)  # (c)
    if hits > 0:
        some = late_slots(late, w, s)
        now = op_ready(unit, event, column, hits - late, slots - some, late, now, f, t, w, s, e)  # (d)
    if len(w.low_hits) > 0:
        issued = before_low(now, event, begin, end, issued, hits, late, link, f, t, w, s, e)
        now = held_low(unit, event, column, now, f, t, w, s, e)
        hits += w.low_hits[event]
    for j in range(late + end - begin):  # (e)
        if issued < end:
            done = hits + j - late
            if j < late:
                done = ended(j, late, hits, s)
            issued = issue(now, event, begin, end, issued, done, link, f, t, w, s, e)
        i = s.late[j] if j < late else w.loads[begin + j - late]
        by = s.by[j] if j < late else -1
        row = column
        if len(w.low) > 0 and j >= late:
            row = row_of(column, begin + j - late, f, w)
        now = op_one(unit, row, i, by, s.due[max(j - late, 0)], now, f, t, w, s, e)
    return cpu_behind(unit, event, decided, beside, now, f, t, w, s, e)
