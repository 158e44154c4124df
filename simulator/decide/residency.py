"""Decisions of the expert cache, event by event, without a clock (docs/semantics.md, "One event").

The functions call an eviction policy by the names of simulator/decide/hooks.py and a miss rule by that of simulator/decide/missing.py;
`bind` gives them one. They read and write flat integer arrays (or lists) only, so that the same text runs interpreted and compiled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from simmoe.simulator.decide.hooks import Extras, insert, miss, remove, use, victim
from simmoe.simulator.decide.missing import DROP, LOAD, LOW, SUBSTITUTE, VERSION, Missing, serve

USED, EVICTIONS, LOADS, FRESH, PROMOTED = 0, 1, 2, 3, 4  # fields of Slots.count
DROPPED, SERVED_LOW = -1, -2  # values of Verdicts.answer


class Stream(NamedTuple):
    """What one scope group is asked, by event of the group."""

    ptr: Any  # [events + 1] into obj
    obj: Any  # [requests] object, numbered within the group
    following: Any  # [requests] next event that requests obj; empty when the policy does not look ahead
    use_ptr: Any  # [events + 1] into use_obj
    use_obj: Any  # [occurrences] object, token-major
    guess_ptr: Any  # [events + 1] into guess_obj
    guess_obj: Any  # [guesses] object that the prefetcher wants
    guess_for: Any  # [guesses] run event for which a buffer holds the guess; empty when guesses go into the cache
    run_event: Any  # [events] number in the run of each event of the group
    tokens: Any  # [requests] token slots that chose it; empty without a miss rule
    unit_of: (
        Any  # [objects] the other unit that the placement left it to, 0 = the device; empty when all are the device's
    )
    present: Any  # objects that are resident before the first event
    mass: Any  # [requests] gate mass of the event for obj; empty when the policy does not need it
    gate: Any  # [requests] what becomes Missing.gate; empty when the miss rule does not need it


class Verdicts(NamedTuple):
    """What was decided; filled by `play`."""

    hit: Any  # [requests] 1 = the slot was reserved at the event's start
    loads: Any  # [requests + 1] requests that are loaded, in order; room for one more because it is written before it is known
    wait: Any  # [requests] of a load: it is issued when the first `wait` experts in computed order have ended
    issued: Any  # [guesses] 1 = prefetched
    evicted: Any  # [evictions] object
    evicted_for: Any  # [evictions] request that takes its room; -1 - guess for a prefetch
    used: Any  # [events] bytes resident at the end of the event
    fresh: Any  # [guesses + 1] requests that are the first hit on what a guess brought, which may still be on its way
    fresh_by: Any  # [guesses + 1] 1 + that guess
    answer: (
        Any  # [requests] -1 = dropped, -2 = a low copy serves, 1 + object = that one stands in, 0 = none of these; empty where no rule
        #      may answer so
    )


class Slots(NamedTuple):
    """What is resident now."""

    resident: Any  # [objects] 0 or 1
    free: Any  # [objects] 1 = resident and not pinned by the event or by one of its prefetches
    until: Any  # [objects] run event for which a buffer holds it; empty when guesses go into the cache
    brought: Any  # [objects] 1 + guess that brought it, until an event requests it; 0 = none; empty without guesses
    count: Any  # [5] bytes resident now; so far: evictions, loads, fresh hits, bytes that moved from buffers into the cache


def play(begin: int, end: int, q: Stream, v: Verdicts, c: Slots, room: int, s: Any, x: Extras, m: Missing) -> None:
    """Decide the events begin … end-1 of the group in turn; `room` is its budget in bytes.

    All that one event hands on to the next is in c, s and x, so that a run may be played in slices.
    """
    if begin == 0:
        for k in range(len(q.present)):
            admit(q.present[k], 0, c, s, x)
            c.free[q.present[k]] = 1
    for event in range(begin, end):
        if len(v.answer) > 0:
            m.stood[0] = 0
            m.stood[1] = 0
        if len(x.pinned) > 0:
            x.pinned[0] = 0
        if len(q.guess_for) > 0:
            promote(event, q, v, c, room, s, x, m)
        demand(event, q, v, c, room, s, x, m)
        for j in range(q.use_ptr[event], q.use_ptr[event + 1]):
            o = q.use_obj[j]
            if c.resident[o]:
                use(s, o, event, x)
                c.free[o] = 1  # a prefetch pins it again
        if len(v.answer) > 0 and m.stood[1] > 0:
            stamp_stand_ins(event, q, v, c, s, x)
        if len(q.guess_for) > 0:
            buffer(event, q, v, c)
        elif len(q.guess_obj) and q.guess_ptr[event] < q.guess_ptr[event + 1]:
            prefetch(event, q, v, c, room, s, x, m)
        v.used[event] = c.count[USED]


def demand(event: int, q: Stream, v: Verdicts, c: Slots, room: int, s: Any, x: Extras, m: Missing) -> None:
    """Hits are decided once; then each missing expert that the device loads, in request order, gets its room."""
    first, last, before = q.ptr[event], q.ptr[event + 1], c.count[LOADS]
    foresight = len(q.following) > 0
    loads = before
    for i in range(first, last):  # without a branch on hit or miss, which no processor can foretell
        o = q.obj[i]
        c.free[o] = 0
        if foresight:
            x.next_use[o] = q.following[i]
        v.hit[i] = c.resident[o]
        v.loads[loads] = i
        loads += 1 - c.resident[o]
    hits = last - first - (loads - before)
    if len(q.mass) > 0:
        weigh(first, last, q, x)
    if len(q.guess_obj) > 0:
        note_fresh(first, last, q, v, c)
    if len(q.gate) > 0:
        note_gates(first, last, q, m)
    if len(q.unit_of) > 0:
        loads = not_placed(before, loads, q, v, m)
    if len(m.unit) > 0 and loads > before:
        loads = not_ruled(event, before, loads, q, v, c, room, m)
    c.count[LOADS] = loads
    if len(x.pinned) > 0:
        note_pinned(event, q, v, c, x, m)
    wait = 0
    for n in range(before, loads):
        i = v.loads[n]
        o = q.obj[i]
        miss(s, o, event, x)
        while c.count[USED] + x.size_bytes[o] > room:
            out = victim(s, c.free, event, x)
            if not may_leave(out, c):  # every resident belongs to the event: the one computed longest ago
                judge(out, event, q, v, c, x, m)
                out = computed(wait, first, hits, before, q, v, m)
                wait += 1
            evict(out, i, event, v, c, s, x)
        admit(o, event, c, s, x)
        if len(x.pinned) > 0:
            note_pin(o, x)
        if wait:
            v.wait[i] = wait


def note_fresh(first: int, last: int, q: Stream, v: Verdicts, c: Slots) -> None:
    """Writes down the hits of the event on what a guess brought and no event has requested since; without a branch, as above."""
    fresh = c.count[FRESH]
    for i in range(first, last):
        o = q.obj[i]
        v.fresh[fresh] = i
        v.fresh_by[fresh] = c.brought[o]
        fresh += v.hit[i] if c.brought[o] else 0
        c.brought[o] = 0
    c.count[FRESH] = fresh


def may_leave(out: int, c: Slots) -> bool:
    """Whether a policy's victim is a free resident. Nothing is read at an index that no object has."""
    return out >= 0 and out < len(c.free) and c.free[out] != 0 and c.resident[out] != 0


def note_pinned(event: int, q: Stream, v: Verdicts, c: Slots, x: Extras, m: Missing) -> None:
    """Writes down the residents that the event requests, and those that stand in beside them."""
    n = 0
    for i in range(q.ptr[event], q.ptr[event + 1]):
        x.pinned[n + 1] = q.obj[i]
        n += c.resident[q.obj[i]]
    x.pinned[0] = n
    if len(v.answer) > 0:
        for j in range(m.stood[0]):
            note_pin(m.extra[j], x)


def note_pin(o: int, x: Extras) -> None:
    """One more."""
    x.pinned[0] += 1
    x.pinned[x.pinned[0]] = o


def note_gates(first: int, last: int, q: Stream, m: Missing) -> None:
    """What the event's tokens gave each expert that they chose, for the miss rule."""
    for i in range(first, last):
        m.gate[q.obj[i]] = q.gate[i]


def judge(out: int, event: int, q: Stream, v: Verdicts, c: Slots, x: Extras, m: Missing) -> None:
    """A victim that may not leave ends the run, unless it is -1 and every resident belongs to the event.

    The error has no details: simulator/decide/blame.py reads them from this frame.
    """
    pinned = 0
    for i in range(q.ptr[event], q.ptr[event + 1]):
        pinned += c.resident[q.obj[i]] * x.size_bytes[q.obj[i]]
    if len(v.answer) > 0:
        for j in range(m.stood[0]):
            pinned += c.resident[m.extra[j]] * x.size_bytes[m.extra[j]]
    if out != -1 or c.count[USED] > pinned:
        raise ValueError("not a legal victim")


def not_placed(before: int, loads: int, q: Stream, v: Verdicts, m: Missing) -> int:
    """Takes the experts that the placement left to another unit off the list of loads; its new end."""
    kept, slots = before, 0
    for n in range(before, loads):
        i = v.loads[n]
        v.loads[kept] = i
        if q.unit_of[q.obj[i]] == 0:
            kept += 1
        elif len(m.unit) > 0:
            slots += q.tokens[i]
    if len(m.unit) > 0:
        m.placed[0] = loads - kept
        m.placed[1] = slots
    return kept


def not_ruled(event: int, before: int, loads: int, q: Stream, v: Verdicts, c: Slots, room: int, m: Missing) -> int:
    """Asks the miss rule, and takes the experts that the device does not load off the list of loads; its new end."""
    n = loads - before
    for k in range(n):
        i = v.loads[before + k]
        m.obj[k] = q.obj[i]
        m.tokens[k] = q.tokens[i]
        m.unit[k] = LOAD
    m.unit[n] = LOAD
    m.free_bytes[0] = room - c.count[USED]
    m.at[0] = m.read_at[m.obj[0]]
    m.at[1] = m.flop_at[m.obj[0]]
    if len(m.here) > 0:
        may_stand_in(c, m)
    serve(n, c.resident, event, m)
    kept = before
    for k in range(n):
        i, unit = v.loads[before + k], m.unit[k]
        v.loads[kept] = i
        if unit == LOAD:
            kept += 1
        elif unit == DROP and len(v.answer) > 0:
            v.answer[i] = DROPPED
        elif unit == VERSION + LOW and len(m.low) > 0:
            v.answer[i] = SERVED_LOW
        elif unit >= SUBSTITUTE and len(v.answer) > 0 and stands_in(unit - SUBSTITUTE, c, m):
            v.answer[i] = unit - SUBSTITUTE + 1
            stand_in(unit - SUBSTITUTE, c, m)
        elif unit != m.cpu[0]:
            judge_answer(unit, k, n, event)
    if m.unit[n] != LOAD:
        judge_answer(m.unit[n], n, n, event)
    return kept


def may_stand_in(c: Slots, m: Missing) -> None:
    """Into m.here the residents of the event's layer that may stand in for what is missing, into m.busy whether the event requests them."""
    begin, n = m.obj[0] // m.experts[0] * m.experts[0], 0
    for o in range(begin, begin + m.experts[0]):
        if stands_in(o, c, m):
            m.here[n] = o
            m.busy[n] = 1 - c.free[o]
            n += 1
    m.n_here[0] = n


def stands_in(o: int, c: Slots, m: Missing) -> bool:
    """Whether object `o` may stand in for a missing expert of the event: resident, of the same layer, and arrived as far as no clock need
    say so, which what a prefetch brought has not until an event requests it."""
    begin = m.obj[0] // m.experts[0] * m.experts[0]
    known = o >= begin and o < begin + m.experts[0] and c.resident[o] != 0
    return known and (len(c.brought) == 0 or c.brought[o] == 0)


def stand_in(o: int, c: Slots, m: Missing) -> None:
    """`o` computes for a missing expert: the event pins it."""
    m.stood[1] += 1
    if c.free[o]:
        c.free[o] = 0
        m.extra[m.stood[0]] = o
        m.stood[0] += 1


def stamp_stand_ins(event: int, q: Stream, v: Verdicts, c: Slots, s: Any, x: Extras) -> None:
    """Behind the occurrences: each use of what stands in, in the order of the requests that it stands in for."""
    for i in range(q.ptr[event], q.ptr[event + 1]):
        if v.answer[i] > 0 and c.resident[v.answer[i] - 1]:
            use(s, v.answer[i] - 1, event, x)
            c.free[v.answer[i] - 1] = 1  # a prefetch pins it again


def judge_answer(out: int, k: int, n: int, event: int) -> None:
    """What a miss rule says of the missing expert number `k` of `n` and may not say ends the run.

    The error has no details: simulator/decide/blame.py reads them from this frame.
    """
    raise ValueError("not a legal answer")


def computed(rank: int, first: int, hits: int, before: int, q: Stream, v: Verdicts, m: Missing) -> int:
    """The expert of that rank in computed order: hits in request order, what stands in beside them, then loads in issue order."""
    extra = 0
    if len(v.answer) > 0:
        extra = m.stood[0]
    if rank >= hits + extra:
        return q.obj[v.loads[before + rank - hits - extra]]
    if rank >= hits:
        return m.extra[rank - hits]
    i = first
    while rank > 0 or not v.hit[i]:
        rank -= v.hit[i]
        i += 1
    return q.obj[i]


def prefetch(event: int, q: Stream, v: Verdicts, c: Slots, room: int, s: Any, x: Extras, m: Missing) -> None:
    """Guesses that are not resident, while room can be made without the event's experts and without each other."""
    pinned = 0
    for i in range(q.ptr[event], q.ptr[event + 1]):
        pinned += c.resident[q.obj[i]] * x.size_bytes[q.obj[i]]
        c.free[q.obj[i]] = 0
    if len(v.answer) > 0:
        pinned += pinned_stand_ins(c, x, m)
    if len(x.pinned) > 0:
        note_pinned(event, q, v, c, x, m)
    for j in range(q.guess_ptr[event], q.guess_ptr[event + 1]):
        o = q.guess_obj[j]
        if c.resident[o] or pinned + x.size_bytes[o] > room:
            continue
        while c.count[USED] + x.size_bytes[o] > room:
            out = victim(s, c.free, event, x)
            if not may_leave(out, c):
                judge(out, event, q, v, c, x, m)
            evict(out, -1 - j, event, v, c, s, x)
        admit(o, event, c, s, x)
        if len(x.pinned) > 0:
            note_pin(o, x)
        pinned += x.size_bytes[o]
        v.issued[j] = 1
        c.brought[o] = j + 1
    for j in range(q.guess_ptr[event], q.guess_ptr[event + 1]):
        c.free[q.guess_obj[j]] = c.resident[q.guess_obj[j]]
    for i in range(q.ptr[event], q.ptr[event + 1]):
        c.free[q.obj[i]] = c.resident[q.obj[i]]
    if len(v.answer) > 0:
        for n in range(m.stood[0]):
            c.free[m.extra[n]] = c.resident[m.extra[n]]


def pinned_stand_ins(c: Slots, x: Extras, m: Missing) -> int:
    """Pins what stands in and the event does not request; its bytes."""
    pinned = 0
    for j in range(m.stood[0]):
        pinned += c.resident[m.extra[j]] * x.size_bytes[m.extra[j]]
        c.free[m.extra[j]] = 0
    return pinned


def weigh(first: int, last: int, q: Stream, x: Extras) -> None:
    """Writes down the gate mass that the event gives each of its requests."""
    for i in range(first, last):
        x.gate[q.obj[i]] = q.mass[i]


def promote(event: int, q: Stream, v: Verdicts, c: Slots, room: int, s: Any, x: Extras, m: Missing) -> None:
    """What a buffer holds for this event and it requests takes a place in the cache, as far as others can leave."""
    if len(q.mass) > 0:
        weigh(q.ptr[event], q.ptr[event + 1], q, x)
    for i in range(q.ptr[event], q.ptr[event + 1]):
        c.free[q.obj[i]] = 0
        if len(q.following) > 0:
            x.next_use[q.obj[i]] = q.following[i]
    if len(x.pinned) > 0:
        note_pinned(event, q, v, c, x, m)
    for i in range(q.ptr[event], q.ptr[event + 1]):
        o, out = q.obj[i], 0
        if c.resident[o] or c.until[o] != q.run_event[event]:
            continue
        miss(s, o, event, x)
        while out >= 0 and c.count[USED] + x.size_bytes[o] > room:
            out = victim(s, c.free, event, x)
            if not may_leave(out, c):
                judge(out, event, q, v, c, x, m)
            else:
                evict(out, i, event, v, c, s, x)
        if out >= 0:
            admit(o, event, c, s, x)
            if len(x.pinned) > 0:
                note_pin(o, x)
            c.count[PROMOTED] += x.size_bytes[o]


def buffer(event: int, q: Stream, v: Verdicts, c: Slots) -> None:
    """Guesses that are neither resident nor on their way are loaded into buffers, for the next event of their layer."""
    for j in range(q.guess_ptr[event], q.guess_ptr[event + 1]):
        o = q.guess_obj[j]
        if not c.resident[o] and c.until[o] != q.guess_for[j]:
            c.until[o] = q.guess_for[j]
            v.issued[j] = 1
            c.brought[o] = j + 1


def admit(o: int, event: int, c: Slots, s: Any, x: Extras) -> None:
    """Reserve the slot; it stays pinned until the event ends."""
    c.resident[o] = 1
    c.free[o] = 0
    c.count[USED] += x.size_bytes[o]
    insert(s, o, event, x)


def evict(o: int, cause: int, event: int, v: Verdicts, c: Slots, s: Any, x: Extras) -> None:
    """Give the slot of `o` up for the request or prefetch `cause`."""
    remove(s, o, event, x)
    c.resident[o] = 0
    if len(c.brought) > 0:
        c.brought[o] = 0
    c.free[o] = 0
    c.count[USED] -= x.size_bytes[o]
    v.evicted[c.count[EVICTIONS]] = o
    v.evicted_for[c.count[EVICTIONS]] = cause
    c.count[EVICTIONS] += 1
