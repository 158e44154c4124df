"""How long an operation lasts once its start is known: the laws of one resource, for the recurrence of serve.py.

Text for the compiler: int64 scalars, flat arrays, loops. Times are absolute picoseconds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from simmoe.simulator.lower.records import Fixed, Tables

# Fields of Clock.at.
BUSY, SLOWED, STALLED, EXPERTS, ON_CPU, HEAD, TAIL, CPU_UNTIL, LINK_FREE, HOST = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
EVER = 9223372036854775807  # errors.LATEST_PS, as text for the compiler


class Clock(NamedTuple):
    """Where the resources stand, and the log."""

    at: Any  # [10] link busy, slowed, stalled, experts computed, CPU waited for; first and last known transfer, when the CPU has
    #          read and the link is free (contended only); host waited for
    free: Any  # [resources] when each has served all that was emitted for it
    ready: Any  # [resources] when its last READY started
    arrival: Any  # [guesses] when what each of them brings arrives
    begin: Any  # [transfers] start of each transfer, contended only
    end: Any  # [transfers]
    start_ps: Any  # [passes]
    end_ps: Any  # [passes]
    stall_ps: Any  # [passes]
    slowed_ps: Any  # [passes]
    cpu_ps: Any  # [passes]
    experts_ps: Any  # [passes]
    host_ps: Any  # [passes]


def run_gap(start: int, size: int, column: int, f: Fixed, t: Tables, e: Clock) -> int:
    """Launches with no decision between them; their end."""
    kind, ends = t.gap_kind[column], start
    if not f.contended or max(e.at[LINK_FREE], e.at[CPU_UNTIL]) <= start:
        ends += t.gap_ps[size * f.gap_kinds + kind]
    else:
        for i in range(t.piece_ptr[kind], t.piece_ptr[kind + 1]):
            at = size * f.columns + t.piece[i]
            ends = launch(ends, t.piece_ps[at], t.piece_work[at], t.piece_flop_ps[at], f, e.at, e.begin, e.end)
    return ends


def run_shared(start: int, shared: int, f: Fixed, t: Tables, e: Clock) -> int:
    """The shared experts of a layer, of which there are some; their end."""
    ends = start + t.shared_ps[shared]
    if f.contended and max(e.at[LINK_FREE], e.at[CPU_UNTIL]) > start:
        ends = launch(
            start, t.shared_ps[shared], t.shared_work[shared], t.shared_flop_ps[shared], f, e.at, e.begin, e.end
        )
    return ends


def run_experts(start: int, column: int, count: int, slots: int, f: Fixed, t: Tables, e: Clock) -> int:
    """One launch over `count` experts of a layer to which `slots` token slots are routed; its end."""
    flop_ps = t.flop_ps[column * f.flop_stride + slots]
    read_ps = t.read_ps[column * f.read_stride + count]
    excess = soft_excess(read_ps, flop_ps, t.soft_shares, t.soft_at[column]) if len(t.soft_shares) > 0 else 0
    alone = t.launch_ps[column] + (read_ps if read_ps > flop_ps else flop_ps) + excess
    e.at[EXPERTS] += alone * t.on_path[column]
    ends = start + alone
    if f.contended and max(e.at[LINK_FREE], e.at[CPU_UNTIL]) > start:
        work = t.read_work[column * f.read_stride + count] + excess * f.rate
        ends = launch(start, alone, work, flop_ps + excess, f, e.at, e.begin, e.end)
    return ends


def soft_excess(memory_ps: int, compute_ps: int, soft_shares: Any, begin: int) -> int:
    """What a soft maximum adds to the larger of the two (physics/grouped.py)."""
    low, high = min(memory_ps, compute_ps), max(memory_ps, compute_ps)
    if low == 0:
        return 0
    return (high // 1024) * soft_shares[begin + low * 1024 // high] // 1024


def launch(now: int, alone: int, work: int, flop_ps: int, f: Fixed, at: Any, begin: Any, end: Any) -> int:
    """One launch while transfers may slow the memory: the walk over the pieces of its rate, against the FLOP time; its end.

    `alone` is how long it takes when nothing does.
    """
    start = now + f.launch_ps
    while at[HEAD] < at[TAIL] and end[at[HEAD]] <= start:
        at[HEAD] += 1
    ends = max(walk(start, work, f, at, begin, end), start + flop_ps)
    at[SLOWED] += ends - now - alone
    return ends


def walk(now: int, work: int, f: Fixed, at: Any, begin: Any, end: Any) -> int:
    """When `work` is read from `now` on; a rate is only multiplied by times that it cannot overflow with."""
    i, reading = at[HEAD], True
    while reading:
        loading = i < at[TAIL] and begin[i] <= now
        rate = f.slow_rate if loading else f.rate
        stop = EVER if i == at[TAIL] else end[i] if loading else begin[i]
        if at[CPU_UNTIL] > now:
            rate = f.slow_beside_cpu if loading else f.rate_beside_cpu
            stop = min(stop, at[CPU_UNTIL])
        need = -(-work // rate)
        if need <= stop - now:
            now += need
            reading = False
        else:
            work -= rate * (stop - now)
            now = stop
            if loading and now == end[i]:
                i += 1
    return now


def moved(start: int, lasts: int, f: Fixed, e: Clock) -> int:
    """A transfer; its end."""
    ends = start + lasts
    e.at[BUSY] += lasts
    if f.contended:
        e.at[LINK_FREE] = ends
        e.begin[e.at[TAIL]] = start
        e.end[e.at[TAIL]] = ends
        e.at[TAIL] += 1
    return ends
