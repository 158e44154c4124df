"""How long an operation lasts once its start is known: the laws of one resource, for the recurrence of serve.py.

Text for the compiler: int64 scalars, flat arrays, loops. Times are absolute picoseconds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from simmoe.simulator.lower.records import Fixed, Tables, Work
from simmoe.simulator.nouns.run import WITHDRAWN

# Fields of Clock.at.
BUSY, SLOWED, STALLED, EXPERTS, ON_CPU, HEAD, TAIL, CPU_UNTIL, LINK_FREE, HOST = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
BESIDE_CPU, SLOW_BESIDE_CPU, LAW, QUEUE = 10, 11, 12, 13
FIELDS = 14
EVER = 9223372036854775807  # errors.LATEST_PS, as text for the compiler


class Clock(NamedTuple):
    """Where the resources stand, and the log."""

    at: Any  # [14] link busy, slowed, stalled, experts computed, CPU waited for; first and last known transfer, when the CPU has
    #          read (contended only) and the link is free (where transfers are known); host waited for; rates beside the CPU;
    #          Tables.law of the pass; the first guess that may be withdrawn
    free: Any  # [resources] when each has served all that was emitted for it
    ready: Any  # [resources] when its last READY started
    arrival: Any  # [guesses] when what each of them brings arrives
    fate: Any  # [guesses] 1 = still on its way when the event that hit it computed its hits; 2 = withdrawn
    issued_ps: Any  # [guesses] when its transfer was issued; this and the next four are empty where none is withdrawn
    started_ps: Any  # [guesses] when its first hop starts, unless it is withdrawn
    link_ps: Any  # [guesses] when the link was free before it
    up_ps: Any  # [guesses] when the hop before the link was
    busy_ps: Any  # [guesses] how long the link was busy before it
    begin: Any  # [transfers] when each begins to slow a reader of its memory; empty where no reader is slowed
    end: Any  # [transfers] when it ceases to
    start_ps: Any  # [passes]
    end_ps: Any  # [passes]
    stall_ps: Any  # [passes]
    slowed_ps: Any  # [passes]
    cpu_ps: Any  # [passes]
    experts_ps: Any  # [passes]
    host_ps: Any  # [passes]


def run_gap(start: int, size: int, gap: int, f: Fixed, t: Tables, e: Clock) -> int:
    """Launches with no decision between them; their end."""
    kind, ends = t.gap_kind[gap], start
    if not f.contended or max(e.at[LINK_FREE], e.at[CPU_UNTIL]) <= start:
        ends += t.gap_ps[size * f.gap_kinds + kind]
    else:
        for i in range(t.piece_ptr[kind], t.piece_ptr[kind + 1]):
            at, begins = size * f.columns + t.piece[i], ends
            work, flop_ps = t.piece_work[at], t.piece_flop_ps[at]
            if t.piece_ps[at] > 0:  # a pass may have no draft
                ends = launch(begins, f.launch_ps, work, flop_ps, f.rate, f.slow_rate, e.at, e.begin, e.end)
                e.at[SLOWED] += ends - begins - t.piece_ps[at]
    return ends


def run_shared(start: int, shared: int, f: Fixed, t: Tables, e: Clock) -> int:
    """The shared experts of a layer, of which there are some; their end."""
    ends = start + t.shared_ps[shared]
    if f.contended and max(e.at[LINK_FREE], e.at[CPU_UNTIL]) > start:
        work, flop_ps = t.shared_work[shared], t.shared_flop_ps[shared]
        ends = launch(start, f.launch_ps, work, flop_ps, f.rate, f.slow_rate, e.at, e.begin, e.end)
        e.at[SLOWED] += ends - start - t.shared_ps[shared]
    return ends


def run_experts(start: int, column: int, count: int, slots: int, f: Fixed, t: Tables, e: Clock) -> int:
    """One launch over `count` experts of a layer to which `slots` token slots are routed; its end."""
    row = e.at[LAW] + column
    at = row * f.read_stride + count
    alone = t.each_ps[at]
    if slots != count:  # an expert has several
        alone = experts_ps(row, at, column, slots, t)
    e.at[EXPERTS] += alone * t.on_path[column]
    ends = start + alone
    if f.contended and max(e.at[LINK_FREE], e.at[CPU_UNTIL]) > start:
        flop_ps = t.flop_ps[t.flop_at[row] + slots]
        excess = alone - t.launch_ps[column] - max(t.read_ps[at], flop_ps)
        work = t.read_work[at] + excess * f.rate
        ends = launch(start, f.launch_ps, work, flop_ps + excess, f.rate, f.slow_rate, e.at, e.begin, e.end)
        e.at[SLOWED] += ends - start - alone
    return ends


def experts_ps(row: int, at: int, column: int, slots: int, t: Tables) -> int:
    """What such a launch takes while nothing slows it."""
    read_ps, flop_ps = t.read_ps[at], t.flop_ps[t.flop_at[row] + slots]
    excess = 0
    if len(t.soft_shares) > 0:
        extra = t.extra_ps[column]
        excess = soft_excess(read_ps - extra, flop_ps - extra, t.soft_shares, t.soft_at[column])
    return t.launch_ps[column] + max(read_ps, flop_ps) + excess


def soft_excess(memory_ps: int, compute_ps: int, soft_shares: Any, begin: int) -> int:
    """What a soft maximum adds to the larger of the two (physics/grouped.py), in products that stay far below 2**63; its shares stand from
    `begin` on."""
    low, high, excess = min(memory_ps, compute_ps), max(memory_ps, compute_ps), 0
    if low > 0:
        step = low * 1024 // high
        rest, share = low * 1024 - step * high, soft_shares[begin + step]
        slope = soft_shares[begin + min(step + 1, 1024)] - share
        excess = (high >> 20) * share + (rest >> 20) * slope
        excess += ((high & 1048575) * share + (rest & 1048575) * slope) >> 20
    return excess


def settle_cpu(start: int, event: int, f: Fixed, w: Work, e: Clock) -> int:
    """What the CPU computes of an event in unified memory, before any transfer has been emitted for the event; its end."""
    ends = start + w.cpu_ps[event]
    e.at[BESIDE_CPU] = f.rate_beside_fast_cpu
    e.at[SLOW_BESIDE_CPU] = f.slow_beside_cpu
    if w.cpu_moves[event] or e.at[LINK_FREE] > start:
        ends = start + w.cpu_slow_ps[event]
        e.at[BESIDE_CPU] = f.rate_beside_cpu
    e.at[CPU_UNTIL] = ends
    return ends


def run_cpu(start: int, event: int, f: Fixed, w: Work, e: Clock) -> int:
    """What the CPU of a discrete machine computes of an event, when all transfers that can overlap it are known; its end."""
    ends = start + w.cpu_ps[event]
    if e.at[LINK_FREE] > start:
        work, flop_ps = w.cpu_work[event], w.cpu_flop_ps[event]
        ends = launch(start, f.cpu_launch_ps, work, flop_ps, f.cpu_rate, f.cpu_slow_rate, e.at, e.begin, e.end)
    return ends


def launch(
    now: int, launch_ps: int, work: int, flop_ps: int, rate: int, slow_rate: int, at: Any, begin: Any, end: Any
) -> int:  # fmt: skip
    """One launch while transfers may slow its memory: the walk over the pieces of its rate, against the FLOP time; its end."""
    start = now + launch_ps
    while at[HEAD] < at[TAIL] and end[at[HEAD]] <= start:
        at[HEAD] += 1
    return max(walk(start, work, rate, slow_rate, at, begin, end), start + flop_ps)


def walk(now: int, work: int, rate: int, slow_rate: int, at: Any, begin: Any, end: Any) -> int:
    """When `work` is read from `now` on; a rate is only multiplied by times that it cannot overflow with."""
    i, reading = at[HEAD], True
    while reading:
        loading = i < at[TAIL] and begin[i] <= now
        here = slow_rate if loading else rate
        stop = EVER if i == at[TAIL] else end[i] if loading else begin[i]
        if at[CPU_UNTIL] > now:
            here = at[SLOW_BESIDE_CPU] if loading else at[BESIDE_CPU]
            stop = min(stop, at[CPU_UNTIL])
        need = -(-work // here)
        if need <= stop - now:
            now += need
            reading = False
        else:
            work -= here * (stop - now)
            now = stop
            if loading and now == end[i]:
                i += 1
    return now


def first_hop(number: int, after: int, up_ps: Any, f: Fixed, e: Clock) -> int:
    """A transfer over the hop before the link; when the link may send on what has come."""
    came = max(e.free[f.upstream], after)
    e.free[f.upstream] = came + up_ps[number]
    return came + f.first_bytes_ps if f.pipelined else e.free[f.upstream]


def moved(link: int, number: int, after: int, ps: Any, up_ps: Any, reads_ps: Any, f: Fixed, e: Clock) -> int:
    """A transfer, over the hop before the link first where there is one; its end.

    Pipelined, the link sends on what has come, and needs no less than its latency behind the last bytes. The transfer slows the unit's
    memory for its whole time on the link, a memory before the link while bytes leave it.
    """
    came, through = after, 0
    if len(up_ps) > 0 and up_ps[number] > 0:
        came = first_hop(number, after, up_ps, f, e)
        through = e.free[f.upstream] + f.latency_ps * f.pipelined
    start = max(e.free[link], came)
    ends = max(start + ps[number], through)
    e.free[link] = ends
    e.at[BUSY] += ends - start
    if len(e.begin) > 0:
        e.at[LINK_FREE] = ends
        reads = ends - start if f.contended else reads_ps[number]
        remember(start if f.contended else start + f.latency_ps, reads, e.at, e.begin, e.end)
    return ends


def note_before(link: int, guess: int, after: int, f: Fixed, w: Work, e: Clock) -> None:
    """What is taken back when the transfer of a guess, which is about to be issued, is withdrawn; and when it starts."""
    e.issued_ps[guess] = after
    e.link_ps[guess] = e.free[link]
    e.up_ps[guess] = e.free[f.upstream]
    e.busy_ps[guess] = e.at[BUSY]
    free = e.free[f.upstream] if len(w.guess_up_ps) > 0 else e.free[link]
    e.started_ps[guess] = max(free, after)


def take_back(link: int, begin: int, end: int, f: Fixed, w: Work, e: Clock) -> None:
    """The clock as it was before the transfers of the guesses begin … end-1, of which none has started, were issued."""
    e.free[link] = e.link_ps[begin]
    e.free[f.upstream] = e.up_ps[begin]
    e.at[BUSY] = e.busy_ps[begin]
    if len(e.begin) > 0:
        e.at[LINK_FREE] = e.link_ps[begin]
        for guess in range(begin, end):
            if w.issued[guess] and e.fate[guess] != WITHDRAWN:
                e.at[TAIL] -= 1


def remember(begins: int, lasts: int, at: Any, begin: Any, end: Any) -> None:
    """A transfer that slows who reads its memory meanwhile."""
    begin[at[TAIL]] = begins
    end[at[TAIL]] = begins + lasts
    at[TAIL] += 1
