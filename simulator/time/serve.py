"""The recurrence: an operation is served where it is emitted, and its handle is the time of its end.

One text, interpreted (`plain`) or compiled (`fast`). Each resource serves its operations in the order in which they are emitted, as a CUDA
stream or a copy queue does. Times are absolute picoseconds.
"""

from __future__ import annotations

from simmoe.simulator.lower.layer import lower_pass
from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work
from simmoe.simulator.nouns.run import WAS_LATE, WITHDRAWN
from simmoe.simulator.time.rates import (
    BUSY,
    EXPERTS,
    HOST,
    LAW,
    ON_CPU,
    QUEUE,
    SLOWED,
    STALLED,
    Clock,
    moved,
    note_before,
    run_cpu,
    run_experts,
    run_gap,
    run_shared,
    settle_cpu,
    take_back,
)


def run_passes(begin: int, end: int, now: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock) -> int:
    """Play the passes begin … end-1 behind `now`; the end of the last one that could be played (Fixed.latest)."""
    for number in range(begin, end):
        if now <= f.latest:
            e.start_ps[number] = now
            e.at[STALLED] = 0
            e.at[SLOWED] = 0
            e.at[ON_CPU] = 0
            e.at[EXPERTS] = 0
            e.at[HOST] = 0
            now = lower_pass(number, now, f, t, w, s, e)
            e.end_ps[number] = now
            e.stall_ps[number] = e.at[STALLED]
            e.slowed_ps[number] = e.at[SLOWED]
            e.cpu_ps[number] = e.at[ON_CPU]
            e.experts_ps[number] = e.at[EXPERTS]
            e.host_ps[number] = e.at[HOST]
    return now


def op_gap(
    unit: int, number: int, size: int, column: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock
) -> int:
    ends = run_gap(max(e.free[unit], after), size, column * f.devices + unit, f, t, e)
    e.at[LAW] = t.law[size]
    e.free[unit] = ends
    return ends


def op_shared(
    unit: int, number: int, size: int, column: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock
) -> int:
    ends, shared = after, size * f.places + column
    if t.shared_ps[shared] > 0:
        ends = run_shared(max(e.free[unit], after), shared, f, t, e)
        e.free[unit] = ends
    return ends


def op_move(link: int, load: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock) -> int:
    return moved(link, load, after, w.load_ps, w.load_up_ps, w.load_reads_ps, f, e)


def op_fetch(link: int, guess: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock) -> int:
    if len(w.guess_for) > 0:
        note_before(link, guess, after, f, w, e)
    ends = moved(link, guess, after, w.guess_ps, w.guess_up_ps, w.guess_reads_ps, f, e)
    e.arrival[guess] = ends
    return ends


def op_withdraw(
    unit: int, link: int, event: int, late: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock
) -> int:  # fmt: skip
    """What has not started now are the last transfers of the link's queue, prefetches all of them: every other one is waited for in the
    layer that issues it. So they are taken back, and those that stay are issued again, as if the others had never been."""
    now = max(e.free[unit], after)
    begin = e.at[QUEUE]
    end = w.guess_ptr[event]
    while begin < end and (w.issued[begin] == 0 or e.fate[begin] == WITHDRAWN or e.started_ps[begin] <= now):
        begin += 1
    e.at[QUEUE] = begin
    if begin < end:
        take_back(link, begin, end, f, w, e)
        for guess in range(begin, end):
            if w.issued[guess] and e.fate[guess] != WITHDRAWN:
                stays = w.guess_for[guess] > event
                for j in range(late):
                    stays = stays or s.by[j] == guess
                if stays:
                    op_fetch(link, guess, e.issued_ps[guess], f, t, w, s, e)
                else:
                    e.fate[guess] = WITHDRAWN
    for j in range(late):
        if e.fate[s.by[j]] == WITHDRAWN:
            e.fate[s.by[j]] = 0
            op_fetch(link, s.by[j], now, f, t, w, s, e)
    return now


def op_ready(
    unit: int, event: int, column: int, hits: int, slots: int, late: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock
) -> int:  # fmt: skip
    start = max(e.free[unit], after)
    ends = start
    for j in range(late):
        if e.arrival[s.by[j]] <= start:
            hits += 1
            slots += w.tokens[s.late[j]]
    if hits > 0:
        ends = run_experts(start, column, hits, slots, f, t, e)
        e.free[unit] = ends
    if late > 0:
        e.ready[unit] = start
    return ends


def op_one(
    unit: int, column: int, i: int, guess: int, load: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock
) -> int:  # fmt: skip
    start = max(e.free[unit], after)
    ends, runs, arrives = start, True, load
    if guess >= 0:
        arrives = e.arrival[guess]
        runs = arrives > e.ready[unit]
    if runs:
        if guess >= 0:
            e.fate[guess] = WAS_LATE
        if arrives > start:
            e.at[STALLED] += (arrives - start) * t.on_path[column]
            start = arrives
        ends = run_experts(start, column, 1, w.tokens[i], f, t, e)
        e.free[unit] = ends
    return ends


def op_cpu_first(event: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock) -> int:
    ends = after
    if w.cpu_ps[event] > 0:
        ends = settle_cpu(max(e.free[f.cpu], after), event, f, w, e)
        e.free[f.cpu] = ends
    return ends


def op_cpu_last(event: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock) -> int:
    ends = after
    if w.cpu_ps[event] > 0:
        ends = run_cpu(max(e.free[f.cpu], after), event, f, w, e)
        e.free[f.cpu] = ends
    return ends


def op_carry(link: int, event: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock) -> int:
    ends = after
    if w.carry_ps[event] > 0:
        ends = max(e.free[link], after) + w.carry_ps[event]
        e.free[link] = ends
        e.at[BUSY] += w.carry_ps[event]
    return ends


def op_carried(
    unit: int, event: int, column: int, carry: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock
) -> int:
    ends = after
    if w.carry_ps[event] > 0:
        start = max(e.free[unit], after)
        e.at[STALLED] += max(carry - start, 0) * t.on_path[column]
        ends = run_experts(max(start, carry), column, w.cpu_count[event], w.cpu_slots[event], f, t, e)
        e.free[unit] = ends
    return ends


def op_host(unit: int, event: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock) -> int:
    ends = max(e.free[unit], after) + f.host_wait_ps
    e.at[HOST] += f.host_wait_ps
    e.free[unit] = ends
    return ends


def op_send(link: int, lasts: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock) -> int:
    ends = after
    if lasts > 0:
        ends = max(e.free[link], after) + lasts
        e.free[link] = ends
    return ends


def op_wait(unit: int, other: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Clock) -> int:
    start = max(e.free[unit], after)
    ends = max(start, other)
    e.at[ON_CPU] += ends - start
    e.free[unit] = ends
    return ends
