"""The compiled clock: the timeline of simulator/time/reference.py as a recurrence over flat int64 arrays, to the same picosecond.

Like the machine's decisions this is text for the compiler: int64 scalars, flat arrays, loops. Times are absolute picoseconds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

# Fields of Timeline.at.
LINK_FREE, LINK_BUSY, SLOWED, STALLED, HEAD, TAIL, LOADED, ON_CPU, CPU_UNTIL = 0, 1, 2, 3, 4, 5, 6, 7, 8
EVER = 4611686018427387904  # 2**62, later than any run


class Fixed(NamedTuple):
    """Whole numbers that hold for the run."""

    launch_ps: int
    rate: int  # bytes per ms
    slow_rate: int  # while a transfer is active, contended only
    rate_beside_cpu: int  # while the CPU reads the same memory, contended only
    slow_beside_cpu: int
    contended: int  # 1 = transfers slow the unit's memory down
    overlap: int
    layers: int
    gap_kinds: int
    columns: int  # of a row of piece_work
    read_stride: int  # of a row of read_ps
    flop_stride: int  # of a row of flop_ps


class Tables(NamedTuple):
    """Costs as arrays; a size is a distinct PassSize, a piece one launch, a gap the launches between two decisions."""

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
    read_work: Any  # [layers * (widest + 1)] to read n experts
    read_ps: Any  # [layers * (widest + 1)] uncontended time of it
    flop_ps: Any  # [layers * (most token slots + 1)]
    soft_shares: Any  # [1025] of a fused launch, by ratio; empty = the larger of memory and compute


class Work(NamedTuple):
    """What was asked and decided (see requests.Requests and decide.Decisions)."""

    ptr: Any  # [events + 1] into obj
    obj: Any  # [requests]
    tokens: Any  # [requests]
    slot_ptr: Any  # [events + 1] token slots of earlier events
    loads: Any  # [loads] into obj
    load_ps: Any  # [loads] time on the link
    wait: Any  # [requests]
    hit: Any  # [requests]
    cpu_count: Any  # [events] experts that the CPU computes; this and the next two empty when there are none
    cpu_slots: Any  # [events] their token slots
    cpu_ps: Any  # [events] how long it takes
    guess_ptr: Any  # [events + 1]
    guess_obj: Any  # [guesses]
    issued: Any  # [guesses]
    guess_ps: Any  # [guesses] time on the link


class Timeline(NamedTuple):
    """Where the clocks stand, and the log."""

    at: Any  # [9] link free, link busy, slowed, stalled, first and last known transfer, loads of earlier events, waited for the CPU,
    #          when the CPU has read
    arrival: Any  # [objects] when the latest prefetch of each object arrives
    begin: Any  # [transfers] start of each transfer, contended only
    end: Any  # [transfers]
    due: Any  # [widest] when each load of the event arrives
    late: Any  # [widest] late hits of the event in order of arrival
    rank: Any  # [widest] how many hits stand before each of them
    start_ps: Any  # [passes]
    end_ps: Any  # [passes]
    stall_ps: Any  # [passes]
    slowed_ps: Any  # [passes]
    cpu_ps: Any  # [passes]


def run_passes(f: Fixed, t: Tables, w: Work, m: Timeline) -> None:
    """Play every pass."""
    now = 0
    for number in range(len(t.size)):
        size = t.size[number]
        m.start_ps[number] = now
        m.at[STALLED] = 0
        m.at[SLOWED] = 0
        m.at[ON_CPU] = 0
        for column in range(f.layers + 1):
            now = run_gap(now, size, t.gap_kind[column], f, t, m)
            if column < f.layers:
                now = run_layer(now, number * f.layers + column, column, size * f.layers + column, f, t, w, m)
        m.end_ps[number] = now
        m.stall_ps[number] = m.at[STALLED]
        m.slowed_ps[number] = m.at[SLOWED]
        m.cpu_ps[number] = m.at[ON_CPU]


def run_gap(now: int, size: int, kind: int, f: Fixed, t: Tables, m: Timeline) -> int:
    """Launches with no decision between them; their end."""
    if not f.contended or m.at[LINK_FREE] <= now:
        return now + t.gap_ps[size * f.gap_kinds + kind]
    for i in range(t.piece_ptr[kind], t.piece_ptr[kind + 1]):
        at = size * f.columns + t.piece[i]
        now = launch(now, t.piece_work[at], t.piece_flop_ps[at], f, m.at, m.begin, m.end)
    return now


def launch(now: int, work: int, flop_ps: int, f: Fixed, at: Any, begin: Any, end: Any) -> int:
    """One launch while transfers may slow the memory: the walk over the pieces of its rate, against the FLOP time; its end."""
    start = now + f.launch_ps
    while at[HEAD] < at[TAIL] and end[at[HEAD]] <= start:
        at[HEAD] += 1
    ends = max(walk(start, work, f, at, begin, end), start + flop_ps)
    at[SLOWED] += ends - start - max(-(-work // f.rate), flop_ps)
    return ends


def walk(now: int, work: int, f: Fixed, at: Any, begin: Any, end: Any) -> int:
    """When `work` is read from `now` on; a rate is only multiplied by times that it cannot overflow with."""
    i = at[HEAD]
    while True:
        loading = i < at[TAIL] and begin[i] <= now
        rate = f.slow_rate if loading else f.rate
        stop = EVER if i == at[TAIL] else end[i] if loading else begin[i]
        if at[CPU_UNTIL] > now:
            rate = f.slow_beside_cpu if loading else f.rate_beside_cpu
            stop = min(stop, at[CPU_UNTIL])
        need = -(-work // rate)
        if need <= stop - now:
            return now + need
        work -= rate * (stop - now)
        now = stop
        if loading and now == end[i]:
            i += 1


def run_experts(now: int, column: int, count: int, slots: int, f: Fixed, t: Tables, m: Timeline) -> int:
    """One launch over `count` experts of a layer to which `slots` token slots are routed; its end."""
    flop_ps = t.flop_ps[column * f.flop_stride + slots]
    read_ps = t.read_ps[column * f.read_stride + count]
    excess = soft_excess(read_ps, flop_ps, t) if len(t.soft_shares) > 0 else 0
    if f.contended and max(m.at[LINK_FREE], m.at[CPU_UNTIL]) > now:
        work = t.read_work[column * f.read_stride + count] + excess * f.rate
        return launch(now, work, flop_ps + excess, f, m.at, m.begin, m.end)
    return now + f.launch_ps + (read_ps if read_ps > flop_ps else flop_ps) + excess


def soft_excess(memory_ps: int, compute_ps: int, t: Tables) -> int:
    """What a soft maximum adds to the larger of the two (physics/grouped.py)."""
    low, high = min(memory_ps, compute_ps), max(memory_ps, compute_ps)
    if low == 0:
        return 0
    return (high // 1024) * t.soft_shares[low * 1024 // high] // 1024


def load(now: int, lasts: int, f: Fixed, m: Timeline) -> int:
    """Queue the transfer of one expert on the link; its end."""
    start = m.at[LINK_FREE] if m.at[LINK_FREE] > now else now
    end = start + lasts
    m.at[LINK_FREE] = end
    m.at[LINK_BUSY] += end - start
    if f.contended:
        m.begin[m.at[TAIL]] = start
        m.end[m.at[TAIL]] = end
        m.at[TAIL] += 1
    return end


def run_layer(now: int, event: int, column: int, shared: int, f: Fixed, t: Tables, w: Work, m: Timeline) -> int:
    """Parts (b) to (e) of one MoE layer; their end."""
    first, last, begin = w.ptr[event], w.ptr[event + 1], m.at[LOADED]
    end, slots = begin, w.slot_ptr[event + 1] - w.slot_ptr[event]
    while end < len(w.loads) and w.loads[end] < last:
        slots -= w.tokens[w.loads[end]]
        end += 1
    m.at[LOADED] = end
    hits, cpu_end = last - first - (end - begin), now
    if len(w.cpu_ps) > 0:
        hits -= w.cpu_count[event]
        slots -= w.cpu_slots[event]
        cpu_end += w.cpu_ps[event]
        m.at[CPU_UNTIL] = cpu_end
    busy = m.at[LINK_FREE]  # what this event has not issued arrives by then
    issued = begin
    if f.overlap or begin == end:
        issued = issue(now, event, begin, end, begin, 0, hits, f, w, m)  # (b)
    now = run_shared(now, shared, f, t, m)  # (c)
    late = find_late(now, first, last, w, m) if busy > now else 0
    for j in range(late):
        slots -= w.tokens[m.late[j]]
    if hits > late:
        now = run_experts(now, column, hits - late, slots, f, t, m)  # (d)
    for j in range(late + end - begin):  # (e)
        if issued < end:
            issued = issue(now, event, begin, end, issued, ended(j, late, hits, m), hits, f, w, m)
        i = m.late[j] if j < late else w.loads[begin + j - late]
        arrives = m.arrival[w.obj[i]] if j < late else m.due[j - late]
        if arrives > now:
            m.at[STALLED] += arrives - now
            now = arrives
        now = run_experts(now, column, 1, w.tokens[i], f, t, m)
    if cpu_end > now:
        m.at[ON_CPU] += cpu_end - now
        now = cpu_end
    return now


def run_shared(now: int, shared: int, f: Fixed, t: Tables, m: Timeline) -> int:
    """(c): the shared experts, where there are any; their end."""
    if f.contended and t.shared_ps[shared] > 0 and max(m.at[LINK_FREE], m.at[CPU_UNTIL]) > now:
        return launch(now, t.shared_work[shared], t.shared_flop_ps[shared], f, m.at, m.begin, m.end)
    return now + t.shared_ps[shared]


def issue(
    now: int, event: int, begin: int, end: int, issued: int, done: int, hits: int, f: Fixed, w: Work, m: Timeline
) -> int:
    """Issue the loads begin … end-1 of the event that may go now, in order, and its prefetches directly behind the last.

    `issued` is the next one, `done` how many experts have ended in computed order; the next one after this.
    """
    while issued < end:
        before = w.wait[w.loads[issued]] if f.overlap else hits + issued - begin
        if before > done:
            return issued
        m.due[issued - begin] = load(now, w.load_ps[issued], f, m)
        issued += 1
    if len(w.issued):
        prefetch(now, event, f, w, m)
    return issued


def prefetch(now: int, event: int, f: Fixed, w: Work, m: Timeline) -> None:
    """Issue the prefetches of the event."""
    for j in range(w.guess_ptr[event], w.guess_ptr[event + 1]):
        if w.issued[j]:
            m.arrival[w.guess_obj[j]] = load(now, w.guess_ps[j], f, m)


def find_late(now: int, first: int, last: int, w: Work, m: Timeline) -> int:
    """How many hits have not arrived; in m.late by arrival (the order of issue). Only prefetches can be on their way for so long:
    what an event loads has arrived, and is computed, when it ends."""
    rank, late = 0, 0
    for i in range(first, last):
        if w.hit[i]:
            if m.arrival[w.obj[i]] > now:
                at = late
                while at > 0 and m.arrival[w.obj[m.late[at - 1]]] > m.arrival[w.obj[i]]:
                    m.late[at] = m.late[at - 1]
                    m.rank[at] = m.rank[at - 1]
                    at -= 1
                m.late[at] = i
                m.rank[at] = rank
                late += 1
            rank += 1
    return late


def ended(j: int, late: int, hits: int, m: Timeline) -> int:
    """How many experts have ended, in computed order with no gap, when the first j of (e) have."""
    done = hits + j - late
    for other in range(j, late):
        done = min(done, m.rank[other])
    return done
