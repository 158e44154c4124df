"""The discrete-event executor: SimPy models every resource as a process, every memory's occupancy as a Container.

It serves the same operations as the recurrence, written down pass by pass, and gives the same times to the picosecond. A resource serves
its operations in order; an operation waits for what it follows; a launch is planned again whenever a transfer into its memory starts or
ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from types import ModuleType
from typing import Any

import numpy as np
import simpy

from simmoe.simulator.binding import bound
from simmoe.simulator.costs import Chain, Costs
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import LATEST_PS, too_long
from simmoe.simulator.lower import layer, oplist
from simmoe.simulator.lower.durations import Loading
from simmoe.simulator.lower.occupancy import Occupancy
from simmoe.simulator.lower.oplist import LATE, MOVE, ONE, READY, RUN, SEND, WAIT, Ops
from simmoe.simulator.lower.tables import notes_of, tables_of, work_of
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.run import Clocks, Spans

Process = Generator[simpy.Event, Any, None]


def simulate(
    costs: Costs,
    requests: Requests,
    decisions: Decisions,
    guesses: Guesses,
    loads: Loading,
    timeline: ModuleType,
    spans: Spans | None = None,
) -> Clocks:
    """Times of every pass; `spans` records each launch and transfer. Raises UserError when the clock would overflow."""
    lists = Player().arrays
    fixed, tables = tables_of(costs, requests)
    work, notes = lists(work_of(costs, requests, decisions, guesses, loads)), lists(notes_of(costs, requests))
    tables, lower = lists(tables), bound(layer, timeline, oplist).lower_pass
    env, log = World(), list[tuple[int, ...]]()
    machine = Machine(env, costs, work, Occupancy.of(requests, decisions, guesses, costs.model.expert_bytes), spans)

    def passes() -> Process:
        for number in range(len(costs.sizes)):
            start, ops = env.ps, Ops()
            last = lower(number, 0, fixed, tables, work, notes, ops)
            end = machine.issue(ops)[last]
            if not end.ended:
                yield end.wait(env)
            if env.ps > LATEST_PS:
                raise too_long()
            log.append((start, env.ps, *machine.logged()))

    env.process(passes())
    env.run()
    return Clocks(*np.array(log, np.int64).T, machine.link_busy)  # type: ignore[call-arg]


class World(simpy.Environment):
    """Simulated time is a whole number of picoseconds."""

    @property
    def ps(self) -> int:
        now = self.now
        assert isinstance(now, int), "a float or a NumPy scalar has leaked into the clock"
        return now


class Op:
    """An operation in a queue."""

    __slots__ = ("after", "ended", "event", "kind", "other", "what")

    def __init__(self, kind: int, after: Op | None, what: tuple[Any, ...], other: Op | None) -> None:
        self.kind, self.after, self.what = kind, after, what
        self.other = other  # the transfer of a ONE, what a WAIT waits for
        self.ended = False
        self.event: simpy.Event | None = None  # its end, made when somebody waits

    def wait(self, env: World) -> simpy.Event:
        if self.event is None:
            self.event = env.event()
        return self.event

    def end(self) -> None:
        self.ended = True
        if self.event is not None:
            self.event.succeed()


class Queue:
    """What a resource still has to serve; empty, its process sleeps."""

    def __init__(self, env: World) -> None:
        self.env, self.ops, self.awake = env, deque[Any](), env.event()

    def put(self, op: Any) -> None:
        self.ops.append(op)
        if not self.awake.triggered:
            self.awake.succeed()

    def sleep(self) -> simpy.Event:
        self.awake = self.env.event()
        return self.awake


class Machine:
    """The resources: compute units, links, the memories behind them."""

    def __init__(self, env: World, costs: Costs, work: Any, occupancy: Occupancy, spans: Spans | None) -> None:
        self.env, self.costs, self.work, self.spans = env, costs, work, spans
        self.queues: dict[int, Queue] = {}
        self.guesses: dict[int, Op] = {}  # guess -> its transfer
        self.taken: set[int] = set()  # guesses that a READY found arrived, until their LATE
        self.stall = self.slowed = self.cpu_wait = self.experts = self.host_wait = self.link_busy = 0
        self.bus, self.memory = Bus(env, costs), Memory(env, occupancy)

    def logged(self) -> tuple[int, int, int, int, int]:
        """What the pass has logged: stalls, slowed, CPU waited for, experts, host waited for; the next pass starts at zero."""
        found = self.stall, self.slowed, self.cpu_wait, self.experts, self.host_wait
        self.stall = self.slowed = self.cpu_wait = self.experts = self.host_wait = 0
        return found

    def issue(self, ops: Ops) -> list[Op]:
        """Every operation goes to the queue of its resource, and what it reserves to that of the memory."""
        made = [Op(WAIT, None, (), None)]
        made[0].ended = True
        decided: dict[int, list[int]] = {}
        for event, row in ops.decided.items():
            decided.setdefault(row, []).append(event)
        for kind, resource, after, what in zip(ops.kind[1:], ops.resource[1:], ops.after[1:], ops.what[1:]):
            other = made[what[-1]] if kind in (ONE, WAIT) else None
            op = Op(kind, made[after], what, other)
            made.append(op)
            if kind == MOVE:
                self.memory.move(op, *what)
                if what[0] == "guess":
                    self.guesses[what[1]] = op
            elif kind == RUN and len(made) - 1 in decided:
                for event in decided[len(made) - 1]:
                    self.memory.decided(op, event)
                self.moment(op)
            self.queue(resource).put(op)
        return made

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
        served = {RUN: self.run, READY: self.ready, ONE: self.one, LATE: self.late, WAIT: self.wait, SEND: self.send}
        while True:
            if not queue.ops:
                yield queue.sleep()
            op = queue.ops.popleft()
            if not op.after.ended:
                yield op.after.wait(env)
            if op.kind == MOVE:
                yield env.timeout(self.begin_move(op))
                self.bus.transfers(-1)
            else:
                yield from served[op.kind](op)
            op.end()

    def begin_move(self, op: Op) -> int:
        """A transfer takes up its link; how long it will."""
        what, number = op.what
        lasts = self.work.load_ps[number] if what == "load" else self.work.guess_ps[number]
        if self.spans is not None:
            obj = self.work.obj[self.work.loads[number]] if what == "load" else self.work.guess_obj[number]
            self.spans.transfer(obj, self.env.ps, lasts)
        self.link_busy += lasts
        self.bus.transfers(+1)
        return int(lasts)

    def run(self, op: Op) -> Process:
        what, number, *column = op.what
        if what == "cpu":
            self.bus.cpu(True)
            yield self.env.timeout(self.work.cpu_ps[number])
            self.bus.cpu(False)
        elif what == "host":
            lasts = self.costs.hw.device.host_wait_ps
            self.host_wait += lasts
            yield self.env.timeout(lasts)
        elif what == "gap":
            yield from self.launches(self.costs.chains(number)[column[0]])
        else:
            yield from self.launches(self.costs.shared(column[0], self.costs.sizes[number].tokens))

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
        chain = self.costs.experts(column, count, slots)
        self.experts += chain.ps * self.costs.on_path(column)
        yield from self.launches(chain)

    def launches(self, chain: Chain) -> Process:
        """Launches that follow each other; longer than their own time where the memory is shared."""
        start = self.env.ps
        if self.spans is None:
            yield from self.bus.launches(chain)
        else:
            for piece in chain.pieces:
                begin = self.env.ps
                yield from self.bus.launches(Chain(piece.ps, (piece,)))
                self.spans.launch(piece.name, begin, self.env.ps - begin)
        self.slowed += self.env.ps - start - chain.ps


class Bus:
    """What readers of the unit's memory take from each other."""

    def __init__(self, env: World, costs: Costs) -> None:
        self.env, self.costs = env, costs
        self.active, self.cpu_reads = 0, False
        self.reader: simpy.Process | None = None  # that reads the memory now

    def transfers(self, change: int) -> None:
        self.active += change
        self.changed()

    def cpu(self, reads: bool) -> None:
        self.cpu_reads = reads
        self.changed()

    def changed(self) -> None:
        if self.reader is not None:
            reader, self.reader = self.reader, None
            reader.interrupt()

    def launches(self, chain: Chain) -> Process:
        """Launches that follow each other: launch_ps, then the longer of reading the bytes and computing. They are planned as if nothing
        changed, and planned again when something does."""
        env = self.env
        if not self.costs.contended:
            yield env.timeout(chain.ps)
            return
        left = [(self.costs.launch_ps, piece.work, piece.flop_ps) for piece in chain.pieces]
        rate = self.rate()
        lasts = chain.ps if rate == self.costs.rate else sum(_lasts(one, rate) for one in left)
        while left:
            start = env.ps
            self.reader = env.active_process
            try:
                yield env.timeout(lasts)
                self.reader = None
                return
            except simpy.Interrupt:
                left = _rest(left, env.ps - start, rate)
                rate = self.rate()
                lasts = sum(_lasts(one, rate) for one in left)

    def rate(self) -> int:
        """Bytes per ms that the unit reads now."""
        costs, loading = self.costs, self.active > 0
        if self.cpu_reads:
            return costs.beside_cpu[loading]
        return costs.slow_rate if loading else costs.rate


Left = tuple[int, int, int]  # of a launch: time until it reads, work, FLOP time


def _lasts(one: Left, rate: int) -> int:
    launch_ps, work, flop_ps = one
    return launch_ps + max(-(-work // rate), flop_ps)


def _rest(left: list[Left], elapsed: int, rate: int) -> list[Left]:
    """What is left of launches that have run for `elapsed` at `rate`; whole rates times whole picoseconds leave nothing to round."""
    for number, one in enumerate(left):
        lasts = _lasts(one, rate)
        if elapsed < lasts:
            launch_ps, work, flop_ps = one
            reading = max(elapsed - launch_ps, 0)
            begun = (max(launch_ps - elapsed, 0), max(work - rate * reading, 0), max(flop_ps - reading, 0))
            return [begun, *left[number + 1 :]]
        elapsed -= lasts
    return []


class Memory:
    """Occupancy of the experts' memory, a Container for each scope group, and of the buffers beside it.

    Reservations are made in the order of the decisions, when what they follow has ended. None may ever wait for room: decisions that
    exceed the budget, or free what is not there, end the run.
    """

    def __init__(self, env: World, occupancy: Occupancy) -> None:
        self.env, self.occupancy = env, occupancy
        self.slots = [  # SimPy knows no capacity of 0: half a byte holds nothing
            simpy.Container(env, room or 0.5, begin) for room, begin in zip(occupancy.rooms, occupancy.begins)
        ]
        self.buffers = simpy.Container(env, occupancy.buffer_room) if occupancy.buffer_room else None
        self.queue = Queue(env)
        env.process(self.serve())

    def move(self, op: Op, what: str, number: int) -> None:
        """The transfer `op` reserves a slot when it is issued."""
        self.queue.put((op.after, what, number))

    def decided(self, op: Op, event: int) -> None:
        """Decisions of `event` are made when `op` has ended."""
        o = self.occupancy
        if event in o.leave or event in o.emptied or event in o.promoted or event in o.held:
            self.queue.put((op, "event", event))

    def serve(self) -> Process:
        while True:
            if not self.queue.ops:
                yield self.queue.sleep()
            after, what, number = self.queue.ops.popleft()
            if not after.ended:
                yield after.wait(self.env)
            self.reserve(what, number)

    def reserve(self, what: str, number: int) -> None:
        """What load, guess or event `number` takes and gives up."""
        o = self.occupancy
        if what == "load":
            self.leave(o.own.get(number, ()))
            self.enter(o.load_obj[number])
        elif what == "guess" and self.buffers is not None:
            self.change(self.buffers, o.size[o.guess_obj[number]])
        elif what == "guess":
            self.enter(o.guess_obj[number])
        else:
            for container in self.slots if number in o.emptied else ():
                self.change(container, -container.level)
            self.leave(o.leave.get(number, ()))
            for group, count_bytes in o.promoted.get(number, ()):
                self.change(self.slots[group], count_bytes)
            if self.buffers is not None:
                self.change(self.buffers, -o.held.get(number, 0))

    def leave(self, victims: Iterable[tuple[int, int]]) -> None:
        for group, count_bytes in victims:
            self.change(self.slots[group], -count_bytes)

    def enter(self, obj: int) -> None:
        self.change(self.slots[self.occupancy.group[obj]], self.occupancy.size[obj])

    def change(self, container: simpy.Container, count_bytes: int | float) -> None:
        if count_bytes:
            done = container.put(count_bytes) if count_bytes > 0 else container.get(-count_bytes)
            if not done.triggered:
                raise AssertionError(
                    f"{abs(count_bytes):,} B {'do not fit beside' if count_bytes > 0 else 'are not among'} {container.level:,} of "
                    f"{container.capacity:,} B; please report this run"
                )
