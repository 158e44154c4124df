"""The reference clock: one SimPy process plays decided events through a compute stream and a FIFO link, in integer picoseconds.

An MoE layer goes (a) attention, norms, router; (b) decisions, loads issued; (c) shared experts; (d) the hits that have arrived when
(c) ends, as one launch; (e) late hits in order of their loads' issue, then this event's loads in issue order, one launch each when it
has arrived (docs/design.md, "Timeline of a layer").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain, pairwise

import numpy as np
import simpy

from simmoe.simulator.costs import Chain, Costs, Piece
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.lower.durations import Loading, on_cpu
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.run import Clocks, Spans

Rates = tuple[int, int]  # bytes per ms outside and inside a transfer


class Machine:
    """The compute unit and the link to the experts' home, as two clocks."""

    def __init__(self, costs: Costs, spans: Spans | None) -> None:
        self.costs, self.spans = costs, spans
        self.link_free = 0  # when the link has finished all that was issued
        self.cpu_until = 0  # when the CPU has read its experts out of the unit's own memory, unified only
        self.transfers: deque[tuple[int, int]] = deque()  # (start, end) of what may slow the memory, unified only
        self.arrival: dict[int, int] = {}  # object -> when its latest load arrives
        self.link_busy = 0
        self.slowed = 0  # compute time added by transfers into the same memory

    def load(self, obj: int, lasts: int, now: int) -> None:
        """Queue the transfer of one expert on the link."""
        start = max(now, self.link_free)
        self.link_free = self.arrival[obj] = start + lasts
        self.link_busy += lasts
        if self.costs.contended:
            self.transfers.append((start, self.link_free))
        if self.spans is not None:
            self.spans.transfer(obj, start, lasts)

    def on_cpu(self, now: int, lasts: int) -> int:
        """The CPU computes beside the unit; its end."""
        if self.costs.contended and lasts:
            self.cpu_until = now + lasts
        return now + lasts

    def decided(self, now: int) -> None:
        if self.spans is not None:
            self.spans.decisions.append(now)

    def run(self, start: int, launches: Chain) -> int:
        """End of launches that start at `start`; every transfer that can overlap them has been issued."""
        if self.spans is None and self.cpu_until <= start and (not self.transfers or self.link_free <= start):
            return start + launches.ps
        end = start
        for piece in launches.pieces:
            begin, end = end, self._run_piece(end, piece)
            if self.spans is not None:
                self.spans.launch(piece.name, begin, end - begin)
        self.slowed += end - start - launches.ps
        return end

    def _run_piece(self, start: int, piece: Piece) -> int:
        """The walk over the pieces of the memory's rate, against the FLOP time."""
        launched, costs = start + self.costs.launch_ps, self.costs
        while self.transfers and self.transfers[0][1] <= launched:
            self.transfers.popleft()
        rates = [(costs.rate, costs.slow_rate)]
        if self.cpu_until > launched:
            rates.append(costs.beside_cpu)
        return max(walk(launched, piece.work, self.transfers, rates, self.cpu_until), launched + piece.flop_ps)


def walk(now: int, work: int, transfers: Iterable[tuple[int, int]], rates: Sequence[Rates], cpu_until: int = 0) -> int:
    """When `work` is read from `now` on. rates[0] outside and inside the transfers (start, end), rates[1] before `cpu_until`."""
    for end, rate in _pieces(now, transfers, rates, cpu_until):
        if work <= rate * (end - now):
            return now + -(-work // rate)
        work -= rate * (end - now)
        now = end
    return now + -(-work // rates[0][0])


def _pieces(
    now: int, transfers: Iterable[tuple[int, int]], rates: Sequence[Rates], cpu_until: int
) -> Iterator[tuple[int, int]]:
    """(end, rate) of each stretch of one rate, up to where nothing slows the memory any more."""
    for start, end in chain(transfers, [(cpu_until, cpu_until)]):
        for stop, loading in ((start, 0), (end, 1)):
            if now < cpu_until < stop:
                yield cpu_until, rates[1][loading]
                now = cpu_until
            if now < stop:
                yield stop, rates[now < cpu_until][loading]
                now = stop


class Layer:
    """Parts (b) to (e) of one MoE layer in one pass: what is still to be issued and what has still to be computed."""

    def __init__(
        self,
        machine: Machine,
        column: int,
        requests: list[tuple[int, int, bool, int]],
        loads_ps: list[int],
        prefetch: list[tuple[int, int]],
        cpu_ps: int,
        overlap: bool,
    ) -> None:
        """`requests`: (object, token slots, hit, wait) in request order, without those that keep the CPU busy for `cpu_ps`;
        `loads_ps` of those that are loaded; `prefetch`: (object, time on the link)."""
        self.machine, self.column, self.cpu_ps, self.overlap = machine, column, cpu_ps, overlap
        self.slots = {o: tokens for o, tokens, _, _ in requests}
        self.hits = [o for o, _, hit, _ in requests if hit]
        missing = ((o, wait) for o, _, hit, wait in requests if not hit)
        self.loads = [(o, wait, ps) for (o, wait), ps in zip(missing, loads_ps, strict=True)]
        self.order = self.hits + [o for o, _, _ in self.loads]  # computed order
        self.prefetch = prefetch
        self.issued = 0  # loads issued so far
        self.ended: set[int] = set()  # experts whose launch has ended

    def issue(self, now: int) -> None:
        """Issue the loads that may go now, in order; prefetches directly behind the last of them."""
        while self.issued < len(self.loads):
            o, wait, lasts = self.loads[self.issued]
            before = wait if self.overlap else len(self.hits) + self.issued
            if not self.ended.issuperset(self.order[:before]):
                return
            self.machine.load(o, lasts, now)
            self.issued += 1
        for o, lasts in self.prefetch:
            self.machine.load(o, lasts, now)
        self.prefetch = []

    def run_arrived(self, start: int) -> int:
        """(d): one launch over the hits that have arrived; its end."""
        arrival = self.machine.arrival
        ready = self.hits if self.machine.link_free <= start else [o for o in self.hits if arrival.get(o, 0) <= start]
        self.ended.update(ready)
        if not ready:
            return start
        return self.machine.run(
            start, self.machine.costs.experts(self.column, len(ready), sum(self.slots[o] for o in ready))
        )

    def late(self) -> list[int]:
        """(e): late hits in order of their loads' issue, which on a FIFO link is the order of arrival, then the loads."""
        hits = [o for o in self.hits if o not in self.ended]
        return sorted(hits, key=self.machine.arrival.__getitem__) + self.order[len(self.hits) :]

    def run_late(self, o: int, now: int) -> int:
        """One launch when the load of `o` has arrived; its end."""
        self.ended.add(o)
        start = max(now, self.machine.arrival[o])
        return self.machine.run(start, self.machine.costs.experts(self.column, 1, self.slots[o]))


def simulate(
    costs: Costs,
    requests: Requests,
    decisions: Decisions,
    guesses: Guesses,
    loads: Loading,
    *,
    overlap: bool = True,
    spans: Spans | None = None,
) -> Clocks:
    """Times of every pass. `spans` records each launch and transfer."""
    env = simpy.Environment()
    machine, clocks = Machine(costs, spans), Clocks()
    env.process(_passes(env, machine, _layers(machine, requests, decisions, guesses, loads, overlap), clocks))
    env.run()
    clocks.link_busy_ps = machine.link_busy
    return clocks


def _layers(
    machine: Machine, requests: Requests, decisions: Decisions, guesses: Guesses, loads: Loading, overlap: bool
) -> Iterator[Layer]:
    """The Layer of every event in turn."""
    rows = list(zip(requests.obj.tolist(), requests.tokens.tolist(), decisions.hit.tolist(), decisions.wait.tolist()))
    issued, elsewhere = decisions.issued.tolist(), set(decisions.cpu.tolist())
    wanted, lasts = list(zip(guesses.obj.tolist(), loads.guess_ps.tolist())), loads.demand_ps.tolist()
    loaded = pairwise(np.searchsorted(decisions.loads, requests.ptr).tolist())
    cpu_ps = on_cpu(machine.costs, requests, decisions)[2].tolist() or [0] * requests.n_events
    spans = zip(
        pairwise(requests.ptr.tolist()), loaded, pairwise(guesses.ptr.tolist()), requests.event_layer.tolist(), cpu_ps
    )
    for (first, last), (begin, end), (low, high), column, busy in spans:
        prefetch = [wanted[j] for j in range(low, high) if issued[j]]
        asked = [rows[i] for i in range(first, last) if i not in elsewhere] if elsewhere else rows[first:last]
        yield Layer(machine, column, asked, lasts[begin:end], prefetch, busy, overlap)


def _passes(
    env: simpy.Environment, machine: Machine, layers: Iterator[Layer], clocks: Clocks
) -> Generator[simpy.Event, None, None]:
    costs, now = machine.costs, 0  # now == env.now, as an int
    for number, size in enumerate(costs.sizes):
        begin, slowed, stalled, on_the_cpu = now, machine.slowed, 0, 0
        *before, after = costs.chains(number)
        for column, gap in enumerate(before):
            start, now = now, machine.run(now, gap)  # (a), behind the dense layers before it
            yield env.timeout(now - start)
            layer = next(layers)
            machine.decided(now)
            cpu_end = machine.on_cpu(now, layer.cpu_ps)
            if layer.overlap or not layer.loads:
                layer.issue(now)  # (b)
            start, now = now, layer.run_arrived(machine.run(now, costs.shared(column, size.tokens)))  # (c), (d)
            yield env.timeout(now - start)
            for o in layer.late():  # (e)
                layer.issue(now)
                stalled += max(machine.arrival[o] - now, 0)
                start, now = now, layer.run_late(o, now)
                yield env.timeout(now - start)
            layer.issue(now)
            if cpu_end > now:
                yield env.timeout(cpu_end - now)
                on_the_cpu += cpu_end - now
                now = cpu_end
        start, now = now, machine.run(now, after)
        yield env.timeout(now - start)
        assert now == env.now
        clocks.add(begin, now, stalled, machine.slowed - slowed, on_the_cpu)
