"""The compiled clock: the timeline of simulator/reference.py as a recurrence over flat int64 arrays, to the same picosecond.

Like the machine's decisions this is text for the compiler: int64 scalars, flat arrays, loops. Times are absolute picoseconds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

NOW, LINK_FREE, LINK_BUSY, SLOWED, HEAD, TAIL, STALLED = 0, 1, 2, 3, 4, 5, 6  # fields of Timeline.at
LAUNCH, RATE, SLOW_RATE, CONTENDED, OVERLAP, LAYERS, PER_LAYER = 0, 1, 2, 3, 4, 5, 6  # fields of Tables.fixed
GAP_KINDS, COLUMNS, READ_STRIDE, FLOP_STRIDE = 7, 8, 9, 10  # row lengths of its tables


class Tables(NamedTuple):
    """Costs as arrays; a size is a distinct PassSize, a piece one launch, a gap the launches between two decisions."""

    fixed: Any  # [11] scalars of the machine
    size: Any  # [passes] size of each pass
    gap_kind: Any  # [layers + 1] kind of gap before each MoE layer, and behind the last
    gap_ps: Any  # [sizes * gap kinds] uncontended time
    piece_ptr: Any  # [gap kinds + 1] into piece
    piece: Any  # [pieces of all gap kinds] column of piece_work
    piece_work: Any  # [sizes * columns] bytes * 10**9
    piece_flop_ps: Any  # [sizes * columns]
    shared_work: Any  # [sizes * layers], 0 = no shared experts
    shared_flop_ps: Any  # [sizes * layers]
    shared_ps: Any  # [sizes * layers] uncontended time, launch included
    expert_work: Any  # [layers] one expert
    read_ps: Any  # [layers * (widest + 1)] uncontended time to read n experts
    flop_ps: Any  # [layers * (most token slots + 1)]
    transfer_ps: Any  # [layers]


class Work(NamedTuple):
    """What was decided, by event (see decide.Decisions)."""

    ptr: Any  # [events + 1]
    obj: Any  # [requests]
    tokens: Any  # [requests]
    hit: Any  # [requests]
    wait: Any  # [requests]
    guess_ptr: Any  # [events + 1]
    guess_obj: Any  # [guesses]
    issued: Any  # [guesses]


class Timeline(NamedTuple):
    """Where the clocks stand, and the log."""

    at: Any  # [7] now, link free, link busy, slowed, first and last known transfer, stalled
    arrival: Any  # [objects] when the latest load of each object arrives
    begin: Any  # [transfers] start of each transfer, contended only
    end: Any  # [transfers]
    late: Any  # [widest] late hits of the event in order of arrival
    ended: Any  # [objects] last event in which the object's launch has ended, plus one
    order: Any  # [widest + 1] hits of the event in request order
    queue: Any  # [widest + 1] loads of the event in request order
    start_ps: Any  # [passes]
    end_ps: Any  # [passes]
    stall_ps: Any  # [passes]
    slowed_ps: Any  # [passes]


def run_passes(t: Tables, w: Work, m: Timeline) -> None:
    """Play every pass."""
    layers = t.fixed[LAYERS]
    for number in range(len(t.size)):
        m.start_ps[number] = m.at[NOW]
        m.at[STALLED] = 0
        m.at[SLOWED] = 0
        for column in range(layers):
            run_gap(t.size[number], t.gap_kind[column], t, m)
            run_layer(number * layers + column, column, t.size[number] * layers + column, t, w, m)
        run_gap(t.size[number], t.gap_kind[layers], t, m)
        m.end_ps[number] = m.at[NOW]
        m.stall_ps[number] = m.at[STALLED]
        m.slowed_ps[number] = m.at[SLOWED]


def run_gap(size: int, kind: int, t: Tables, m: Timeline) -> None:
    """Launches with no decision between them."""
    if not t.fixed[CONTENDED] or m.at[LINK_FREE] <= m.at[NOW]:
        m.at[NOW] += t.gap_ps[size * t.fixed[GAP_KINDS] + kind]
        return
    for i in range(t.piece_ptr[kind], t.piece_ptr[kind + 1]):
        at = size * t.fixed[COLUMNS] + t.piece[i]
        launch(t.piece_work[at], t.piece_flop_ps[at], t.fixed, m.at, m.begin, m.end)


def launch(work: int, flop_ps: int, fixed: Any, at: Any, begin: Any, end: Any) -> None:
    """One launch while transfers may slow the memory: the walk over the pieces of its rate, against the FLOP time."""
    start = at[NOW] + fixed[LAUNCH]
    while at[HEAD] < at[TAIL] and end[at[HEAD]] <= start:
        at[HEAD] += 1
    ends = max(walk(start, work, fixed, at, begin, end), start + flop_ps)
    at[SLOWED] += ends - start - max(-(-work // fixed[RATE]), flop_ps)
    at[NOW] = ends


def walk(now: int, work: int, fixed: Any, at: Any, begin: Any, end: Any) -> int:
    """When `work` is read from `now` on; a rate is only multiplied by times that it cannot overflow with."""
    rate, slow = fixed[RATE], fixed[SLOW_RATE]
    for i in range(at[HEAD], at[TAIL]):
        if begin[i] > now:
            need = -(-work // rate)
            if need <= begin[i] - now:
                return now + need
            work -= rate * (begin[i] - now)
            now = begin[i]
        need = -(-work // slow)
        if need <= end[i] - now:
            return now + need
        work -= slow * (end[i] - now)
        now = end[i]
    return now - (-work // rate)


def run_experts(column: int, count: int, slots: int, t: Tables, m: Timeline) -> None:
    """One launch over `count` experts of a layer to which `slots` token slots are routed."""
    flop_ps = t.flop_ps[column * t.fixed[FLOP_STRIDE] + slots]
    if t.fixed[CONTENDED] and m.at[LINK_FREE] > m.at[NOW]:
        launch(count * t.expert_work[column], flop_ps, t.fixed, m.at, m.begin, m.end)
        return
    read_ps = t.read_ps[column * t.fixed[READ_STRIDE] + count]
    m.at[NOW] += t.fixed[LAUNCH] + (read_ps if read_ps > flop_ps else flop_ps)


def load(obj: int, column: int, t: Tables, m: Timeline) -> None:
    """Queue the transfer of one expert on the link, now."""
    start = m.at[LINK_FREE] if m.at[LINK_FREE] > m.at[NOW] else m.at[NOW]
    end = start + t.transfer_ps[column]
    m.at[LINK_FREE] = end
    m.at[LINK_BUSY] += end - start
    m.arrival[obj] = end
    if t.fixed[CONTENDED]:
        m.begin[m.at[TAIL]] = start
        m.end[m.at[TAIL]] = end
        m.at[TAIL] += 1


def run_layer(event: int, column: int, shared: int, t: Tables, w: Work, m: Timeline) -> None:
    """Parts (b) to (e) of one MoE layer."""
    first, last = w.ptr[event], w.ptr[event + 1]
    hits = computed_order(first, last, w, m)
    loads = last - first - hits
    issued = 0
    if t.fixed[OVERLAP] or loads == 0:
        issued = issue(event, column, 0, hits, t, w, m)  # (b)
    run_shared(shared, t, m)  # (c)
    late = run_arrived(event, column, hits, t, w, m)  # (d)
    for j in range(late + loads):  # (e)
        if issued < loads:
            issued = issue(event, column, issued, hits, t, w, m)
        run_late(event, column, m.late[j] if j < late else m.queue[j - late], t, w, m)


def run_shared(shared: int, t: Tables, m: Timeline) -> None:
    """(c): the shared experts, where there are any."""
    if t.shared_ps[shared] > 0:
        if t.fixed[CONTENDED] and m.at[LINK_FREE] > m.at[NOW]:
            launch(t.shared_work[shared], t.shared_flop_ps[shared], t.fixed, m.at, m.begin, m.end)
        else:
            m.at[NOW] += t.shared_ps[shared]


def computed_order(first: int, last: int, w: Work, m: Timeline) -> int:
    """Requests of the event in computed order: hits in m.order, loads in m.queue; how many are hits."""
    hits = 0
    for i in range(first, last):
        m.order[hits] = i
        m.queue[i - first - hits] = i
        hits += w.hit[i]
    return hits


def issue(event: int, column: int, issued: int, hits: int, t: Tables, w: Work, m: Timeline) -> int:
    """Issue the loads that may go now, in order, and prefetches directly behind the last; how many loads have been issued."""
    loads = w.ptr[event + 1] - w.ptr[event] - hits
    while issued < loads:
        i = m.queue[issued]
        before = w.wait[i] if t.fixed[OVERLAP] else hits + issued
        for j in range(before):
            if m.ended[w.obj[m.order[j] if j < hits else m.queue[j - hits]]] != event + 1:
                return issued
        load(w.obj[i], column, t, m)
        issued += 1
    for j in range(w.guess_ptr[event], w.guess_ptr[event + 1]):
        if w.issued[j]:
            load(w.guess_obj[j], w.guess_obj[j] // t.fixed[PER_LAYER], t, m)
    return issued


def run_arrived(event: int, column: int, hits: int, t: Tables, w: Work, m: Timeline) -> int:
    """(d): one launch over the hits that have arrived; how many are late, in m.late by arrival (the order of issue)."""
    count, slots, late = 0, 0, 0
    for j in range(hits):
        i = m.order[j]
        if m.arrival[w.obj[i]] <= m.at[NOW]:
            m.ended[w.obj[i]] = event + 1
            count += 1
            slots += w.tokens[i]
        else:
            at = late
            while at > 0 and m.arrival[w.obj[m.late[at - 1]]] > m.arrival[w.obj[i]]:
                m.late[at] = m.late[at - 1]
                at -= 1
            m.late[at] = i
            late += 1
    if count:
        run_experts(column, count, slots, t, m)
    return late


def run_late(event: int, column: int, i: int, t: Tables, w: Work, m: Timeline) -> None:
    """One launch when the load of request i has arrived."""
    wait = m.arrival[w.obj[i]] - m.at[NOW]
    if wait > 0:
        m.at[STALLED] += wait
        m.at[NOW] += wait
    m.ended[w.obj[i]] = event + 1
    run_experts(column, 1, w.tokens[i], t, m)
