"""The discrete-event executor: SimPy models every resource as a process, every memory's occupancy as a Container.

It serves the same operations as the recurrence, written down pass by pass, and gives the same times to the picosecond. A resource serves
its operations in order; an operation waits for what it follows; a launch is planned again whenever a transfer into or out of its memory
starts or ends.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from types import ModuleType
from typing import Any

import numpy as np
import simpy

from simmoe.simulator.arrays import Ints
from simmoe.simulator.binding import bound
from simmoe.simulator.costs import Chain, Costs, Piece
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.stretches import whole
from simmoe.simulator.errors import LATEST_PS, too_long
from simmoe.simulator.lower import layer, oplist
from simmoe.simulator.lower.durations import Loading, Loads
from simmoe.simulator.lower.occupancy import Occupancy
from simmoe.simulator.lower.oplist import (
    AGAIN,
    CARRIED,
    FIRST_HOP,
    LATE,
    MOVE,
    ONE,
    READY,
    RUN,
    SEND,
    WAIT,
    WITHDRAW,
    Ops,
)
from simmoe.simulator.lower.tables import notes_of, tables_of, work_of
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.run import WAS_LATE, WITHDRAWN, Clocks, Spans
from simmoe.simulator.time.loop import Loop
from simmoe.simulator.time.memory import Memory
from simmoe.simulator.time.queues import Op, Process, Queue, World
from simmoe.simulator.time.traffic import Traffic


def simulate(
    costs: Costs,
    requests: Requests,
    decisions: Decisions,
    guesses: Guesses,
    loads: Loading | Loads,
    timeline: ModuleType,
    spans: Spans | None = None,
) -> Clocks:
    """Times of every pass; `spans` records each launch and transfer. Raises UserError when the clock would overflow."""
    lists = Player().arrays
    fixed, tables = tables_of(costs, requests)
    work, notes = (
        lists(work_of(costs, requests, decisions, guesses, loads.within(whole(requests, decisions, guesses)))),
        lists(notes_of(requests.widest, costs.devices)),
    )
    tables, lower = lists(tables), bound(layer, timeline, oplist).lower_pass
    env, log = World(), list[tuple[int, ...]]()
    machine = Machine(env, costs, work, Occupancy.of(requests, decisions, guesses, costs.decided_bytes), spans)

    def passes() -> Process:
        for number in range(len(costs.sizes)):
            ops = Ops()
            last = lower(number, 0, fixed, tables, work, notes, ops)
            yield from machine.play(ops, last, log)

    env.process(passes())
    env.run()
    return Clocks(*np.array(log, np.int64).T, machine.link_busy, machine.fate())  # type: ignore[call-arg]


def serve_loop(loop: Loop, spans: Spans | None = None) -> Clocks:
    """Times of every pass of a clock-driven run. Raises UserError when the clock would overflow."""
    lower, env, log = bound(layer, loop.timeline, oplist).lower_pass, World(), list[tuple[int, ...]]()
    machines: list[Machine] = []  # one, from the first pass on

    def passes() -> Process:
        while (start := loop.begin(env.ps)) is not None:
            if start > LATEST_PS:
                raise too_long()
            if start > env.ps:  # the schedule waits for an arrival
                yield env.timeout(start - env.ps)
            lowered, ops = loop.lowered, Ops()
            if not machines:
                assert lowered.occupancy is not None
                machines.append(Machine(env, loop.costs, lowered.work.now, lowered.occupancy, spans))
            last = lower(loop.passes, 0, lowered.fixed, lowered.tables.now, lowered.work.now, lowered.notes, ops)
            yield from machines[0].play(ops, last, log)
            loop.end()

    env.process(passes())
    env.run()
    return Clocks(*np.array(log, np.int64).T, machines[0].link_busy, machines[0].fate())  # type: ignore[call-arg]


class Machine:
    """The resources: compute units, links, the memories behind them."""

    def __init__(self, env: World, costs: Costs, work: Any, occupancy: Occupancy, spans: Spans | None) -> None:
        self.env, self.costs, self.work, self.spans = env, costs, work, spans
        self.queues: dict[int, Queue] = {}
        self.guesses: dict[int, Op] = {}  # guess -> its transfer
        self.taken: set[int] = set()  # guesses that a READY found arrived, until their LATE
        self.waiting: dict[int, list[Op]] = {}  # guess -> its transfer, that has not started, by hops
        self.again: dict[int, list[Op]] = {}  # guess -> the transfer that takes the place of a withdrawn one
        self.withdrawn: set[int] = set()
        self.was_late: set[int] = set()
        self.stall = self.slowed = self.cpu_wait = self.experts = self.host_wait = self.link_busy = 0
        self.law = 0  # what launches over routed experts cost in this pass
        self.traffic, self.memory = Traffic(env, costs, len(work.cpu_ps) > 0), Memory(env, occupancy)

    def logged(self) -> tuple[int, int, int, int, int]:
        """What the pass has logged: stalls, slowed, CPU waited for, experts, host waited for; the next pass starts at zero."""
        found = self.stall, self.slowed, self.cpu_wait, self.experts, self.host_wait
        self.stall = self.slowed = self.cpu_wait = self.experts = self.host_wait = 0
        return found

    def play(self, ops: Ops, last: int, log: list[tuple[int, ...]]) -> Process:
        """A pass, until its operation `last` has ended."""
        start = self.env.ps
        end = self.issue(ops)[last]
        if not end.ended:
            yield end.wait(self.env)
        if self.env.ps > LATEST_PS:
            raise too_long()
        log.append((start, self.env.ps, *self.logged()))

    def issue(self, ops: Ops) -> list[Op]:
        """Every operation goes to the queue of its resource, and what it reserves to that of the memory."""
        made = [Op(WAIT, None, (), None)]
        made[0].ended = True
        decided: dict[int, list[int]] = {}
        for event, row in ops.decided.items():
            decided.setdefault(row, []).append(event)
        for kind, resource, after, what in zip(ops.kind[1:], ops.resource[1:], ops.after[1:], ops.what[1:]):
            other = made[what[-1]] if kind in (ONE, WAIT, CARRIED) or (kind == MOVE and len(what) == 3) else None
            op = Op(kind, made[after], what, other)
            made.append(op)
            if kind == MOVE and what[0] != "carry":
                self.issue_move(op)
            elif kind == RUN and len(made) - 1 in decided:
                for event in decided[len(made) - 1]:
                    self.memory.decided(op, event)
                self.moment(op)
            self.queue(resource).put(op)
        return made

    def issue_move(self, op: Op) -> None:
        """A transfer of a load or a guess, or the first of its two hops."""
        what, number = op.what[0].removeprefix(FIRST_HOP), op.what[1]
        if what == AGAIN:
            op.skipped = True  # unless the guess is withdrawn
            self.again.setdefault(number, []).append(op)
        elif op.other is None:
            self.memory.move(op, what, number)
        if what == "guess":
            self.waiting.setdefault(number, []).append(op)
            self.guesses[number] = op

    def fate(self) -> Ints:
        """What time did to each guess."""
        found = np.zeros(len(self.work.issued), np.int8)
        found[list(self.was_late)], found[list(self.withdrawn)] = WAS_LATE, WITHDRAWN
        return found

    def moment(self, op: Op) -> None:
        """Decisions are made when `op` has ended."""
        if self.spans is not None:
            moments = self.spans.decisions
            op.wait(self.env).callbacks.append(lambda _: moments.append(self.env.ps))

    def queue(self, resource: int) -> Queue:
        if resource not in self.queues:
            self.queues[resource] = Queue(self.env)
            self.env.process(self.serve(self.queues[resource]))
        return self.queues[resource]

    def serve(self, queue: Queue) -> Process:
        """A resource: one operation after the other, each when what it follows has ended."""
        env = self.env
        served = {
            MOVE: self.move, SEND: self.send, RUN: self.run, READY: self.ready, ONE: self.one, LATE: self.late, WAIT: self.wait,
            CARRIED: self.carried, WITHDRAW: self.withdraw,
        }  # fmt: skip
        while True:
            if not queue.ops:
                yield queue.sleep()
            op = queue.ops.popleft()
            if not op.after.ended:
                yield op.after.wait(env)
            if not op.skipped:
                yield from served[op.kind](op)
            op.end()

    def move(self, op: Op) -> Process:
        """A transfer, or the first of its two hops."""
        (what, number, *_), traffic, work = op.what, self.traffic, self.work
        if what == "carry":
            yield from self.carry(number)
            return
        if what.endswith("guess"):
            self.waiting.pop(number, None)
        if what.startswith(FIRST_HOP):
            yield from self.first_hop(
                op, work.load_up_ps[number] if what.endswith("load") else work.guess_up_ps[number]
            )
            return
        of = (work.load_ps, work.load_reads_ps) if what == "load" else (work.guess_ps, work.guess_reads_ps)
        lasts, reads = of[0][number], of[1][number] if traffic.slow_cpu else 0
        if op.other is None:
            traffic.under_way += 1
        elif traffic.pipelined:
            lasts = yield from self.sent_on(op.other, lasts)
        if self.spans is not None:
            obj = self.memory.occupancy.load_obj[number] if what == "load" else work.guess_obj[number]
            self.spans.transfer(obj, self.env.ps, lasts)
        self.link_busy += lasts
        traffic.begin_move(reads)
        yield self.env.timeout(int(lasts))
        traffic.end_move()

    def withdraw(self, op: Op) -> Process:
        """Guesses of earlier events that have not started and are of no more use leave the queues; what they took the place of is brought
        when it is hit after all."""
        event, hit = op.what
        yield from self.env.last()
        for guess in [one for one in self.waiting if one < self.work.guess_ptr[event]]:
            if self.work.guess_for[guess] <= event and guess not in hit:
                self.withdrawn.add(guess)
                for move in self.waiting.pop(guess):
                    move.skipped = True
        for guess in self.withdrawn.intersection(hit):
            self.withdrawn.remove(guess)
            for move in self.again[guess]:
                move.skipped = False
            self.guesses[guess] = self.again[guess][-1]

    def carry(self, event: int) -> Process:
        """What the CPU has of an event, for one pass; no CPU computes meanwhile."""
        lasts = int(self.work.carry_ps[event])
        self.link_busy += lasts
        if self.spans is not None:
            self.spans.carry(event, self.env.ps, lasts)
        yield self.env.timeout(lasts)

    def carried(self, op: Op) -> Process:
        column, count, slots, _ = op.what
        assert op.other is not None
        yield from self.arrived(op.other, column)
        yield from self.expert_launch(column, count, slots)

    def first_hop(self, op: Op, lasts: int) -> Process:
        """From the store to the memory before the link."""
        env, up = self.env, self.costs.hw.link.upstream
        assert up is not None
        self.traffic.under_way += 1
        op.ends_ps = env.ps + lasts
        if op.came is None:
            op.came = env.event()
        yield env.timeout(up.latency_ps)
        op.came.succeed()
        if op.ends_ps > env.ps:
            yield env.timeout(op.ends_ps - env.ps)

    def sent_on(self, first: Op, lasts: int) -> Generator[simpy.Event, Any, int]:
        """The link waits for the first bytes of a hop; how long it then takes: never less than until its last bytes are through."""
        if first.came is None:
            first.came = self.env.event()
        if not first.came.triggered:
            yield first.came
        return int(max(lasts, first.ends_ps + self.costs.hw.link.latency_ps - self.env.ps))

    def run(self, op: Op) -> Process:
        what, number, *column = op.what
        if what == "cpu":
            yield from self.on_cpu(number)
        elif what == "host":
            lasts = self.costs.hw.device.host_wait_ps
            self.host_wait += lasts
            yield self.env.timeout(lasts)
        elif what == "gap":
            self.law = self.costs.law(self.costs.shares[number])
            yield from self.launches(self.costs.chains(number)[column[0]])
        else:
            yield from self.launches(self.costs.shared(column[0], self.costs.shares[number].tokens))

    def on_cpu(self, event: int) -> Process:
        """What the CPU computes of an event. In unified memory settled when it starts, elsewhere slowed while bytes leave its memory."""
        env, work, traffic, unit = self.env, self.work, self.traffic, self.costs.cpu.unit
        if not self.costs.contended:
            yield from traffic.cpu.read([(unit.launch_ps, work.cpu_work[event], work.cpu_flop_ps[event])])
            return
        yield env.timeout(0)  # a transfer that ends at this very picosecond has ended
        slow = traffic.under_way > 0 or work.cpu_moves[event]
        traffic.cpu_reads("as beside loads" if slow else "alone")
        yield env.timeout(work.cpu_slow_ps[event] if slow else work.cpu_ps[event])
        traffic.cpu_reads("not")

    def ready(self, op: Op) -> Process:
        column, count, slots, late = op.what
        if late:
            yield self.env.timeout(0)  # a transfer that ends at this very picosecond has arrived
            here = [(n, guess) for n, guess in late if self.guesses[guess].ended]
            self.taken.update(guess for _, guess in here)
            count, slots = count + len(here), slots + sum(n for n, _ in here)
        if count:
            yield from self.expert_launch(column, count, slots)

    def one(self, op: Op) -> Process:
        column, slots, _ = op.what
        assert op.other is not None
        yield from self.arrived(op.other, column)
        yield from self.expert_launch(column, 1, slots)

    def late(self, op: Op) -> Process:
        column, slots, guess = op.what
        if guess in self.taken:
            self.taken.remove(guess)
        else:
            self.was_late.add(guess)
            yield from self.arrived(self.guesses[guess], column)
            yield from self.expert_launch(column, 1, slots)

    def arrived(self, transfer: Op, place: int) -> Process:
        """The unit stalls until a transfer has ended."""
        if not transfer.ended:
            start = self.env.ps
            yield transfer.wait(self.env)
            self.stall += (self.env.ps - start) * self.costs.on_path(place)

    def wait(self, op: Op) -> Process:
        """The unit waits for another one."""
        assert op.other is not None
        if not op.other.ended:
            start = self.env.ps
            yield op.other.wait(self.env)
            self.cpu_wait += self.env.ps - start

    def send(self, op: Op) -> Process:
        yield self.env.timeout(op.what[0])

    def expert_launch(self, column: int, count: int, slots: int) -> Process:
        chain = self.costs.experts(column, count, slots, self.law)
        self.experts += chain.ps * self.costs.on_path(column)
        yield from self.launches(chain)

    def launches(self, chain: Chain) -> Process:
        """Launches that follow each other; longer than their own time where the memory is shared."""
        start = self.env.ps
        if self.spans is None:
            yield from self.launched(chain.pieces, chain.ps)
        else:
            for piece in chain.pieces:
                begin = self.env.ps
                yield from self.launched((piece,), piece.ps)
                self.spans.launch(piece.name, begin, self.env.ps - begin)
        self.slowed += self.env.ps - start - chain.ps

    def launched(self, pieces: Iterable[Piece], alone_ps: int) -> Process:
        """Launches that follow each other, which take `alone_ps` while nothing slows them."""
        if self.costs.contended:
            launch_ps = self.costs.launch_ps
            yield from self.traffic.unit.read([(launch_ps, piece.work, piece.flop_ps) for piece in pieces])
        else:
            yield self.env.timeout(alone_ps)
