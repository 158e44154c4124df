"""The discrete-event executor: SimPy models every resource as a process, every memory's occupancy as a Container.

It serves the same operations as the recurrence, written down pass by pass, and gives the same times to the picosecond. A resource serves
its operations in order; an operation waits for what it follows; a launch is planned again whenever a transfer into or out of its memory
starts or ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from types import ModuleType
from typing import Any

import numpy as np
import simpy

from simmoe.simulator.binding import bound
from simmoe.simulator.costs import Chain, Costs, Piece
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import LATEST_PS, too_long
from simmoe.simulator.lower import layer, oplist
from simmoe.simulator.lower.durations import Loading
from simmoe.simulator.lower.occupancy import Occupancy
from simmoe.simulator.lower.oplist import FIRST_HOP, LATE, MOVE, ONE, READY, RUN, SEND, WAIT, Ops
from simmoe.simulator.lower.tables import notes_of, tables_of, work_of
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.run import Clocks, Spans
from simmoe.simulator.time.loop import Loop

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
    work, notes = (
        lists(work_of(costs, requests, decisions, guesses, loads)),
        lists(notes_of(requests.widest, costs.devices)),
    )
    tables, lower = lists(tables), bound(layer, timeline, oplist).lower_pass
    env, log = World(), list[tuple[int, ...]]()
    machine = Machine(env, costs, work, Occupancy.of(requests, decisions, guesses, costs.model.expert_bytes), spans)

    def passes() -> Process:
        for number in range(len(costs.sizes)):
            ops = Ops()
            last = lower(number, 0, fixed, tables, work, notes, ops)
            yield from machine.play(ops, last, log)

    env.process(passes())
    env.run()
    return Clocks(*np.array(log, np.int64).T, machine.link_busy)  # type: ignore[call-arg]


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
    return Clocks(*np.array(log, np.int64).T, machines[0].link_busy)  # type: ignore[call-arg]


class World(simpy.Environment):
    """Simulated time is a whole number of picoseconds."""

    @property
    def ps(self) -> int:
        now = self.now
        assert isinstance(now, int), "a float or a NumPy scalar has leaked into the clock"
        return now


class Op:
    """An operation in a queue."""

    __slots__ = ("after", "came", "ended", "ends_ps", "event", "kind", "other", "what")

    def __init__(self, kind: int, after: Op | None, what: tuple[Any, ...], other: Op | None) -> None:
        self.kind, self.after, self.what = kind, after, what
        self.other = other  # the transfer of a ONE, what a WAIT waits for, the first hop of a MOVE
        self.came: simpy.Event | None = None  # the first bytes of a first hop
        self.ends_ps = 0  # when a first hop ends, once it has started
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
            other = made[what[-1]] if kind in (ONE, WAIT) or (kind == MOVE and len(what) == 3) else None
            op = Op(kind, made[after], what, other)
            made.append(op)
            if kind == MOVE:
                if other is None:
                    self.memory.move(op, what[0].removeprefix(FIRST_HOP), what[1])
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
        served = {
            MOVE: self.move, SEND: self.send, RUN: self.run, READY: self.ready, ONE: self.one, LATE: self.late, WAIT: self.wait
        }  # fmt: skip
        while True:
            if not queue.ops:
                yield queue.sleep()
            op = queue.ops.popleft()
            if not op.after.ended:
                yield op.after.wait(env)
            yield from served[op.kind](op)
            op.end()

    def move(self, op: Op) -> Process:
        """A transfer, or the first of its two hops."""
        (what, number, *_), traffic, work = op.what, self.traffic, self.work
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
            obj = work.obj[work.loads[number]] if what == "load" else work.guess_obj[number]
            self.spans.transfer(obj, self.env.ps, lasts)
        self.link_busy += lasts
        traffic.begin_move(reads)
        yield self.env.timeout(int(lasts))
        traffic.end_move()

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
            yield from self.launches(self.costs.chains(number)[column[0]])
        else:
            yield from self.launches(self.costs.shared(column[0], self.costs.sizes[number].tokens))

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


class Traffic:
    """What moves through the memories now, and the rates at which that lets the unit and the CPU read."""

    def __init__(self, env: World, costs: Costs, with_cpu: bool) -> None:
        """with_cpu: the CPU computes experts in this run."""
        self.env, self.costs = env, costs
        self.slow_cpu = with_cpu and not costs.contended and costs.cpu.shares_memory  # while bytes leave its memory
        self.pipelined = costs.hw.link.upstream is not None and costs.hw.link.upstream.pipelined
        self.under_way = 0  # transfers that have started, on whichever hop
        self.moving = 0  # transfers on the link
        self.leaving = 0  # transfers whose bytes leave the memory before the link now
        self.cpu_rate = "not"  # how the CPU reads unified memory: not, alone, as beside loads
        self.unit, self.cpu = Bus(env, self.unit_rate), Bus(env, self.cpu_left)

    def begin_move(self, reads_ps: int) -> None:
        """A transfer takes up the link; behind the latency, bytes leave the memory before the link for `reads_ps`."""
        self.moving += 1
        self.unit.changed()
        if self.slow_cpu:
            self.env.process(self.leave(reads_ps))

    def end_move(self) -> None:
        self.moving -= 1
        self.under_way -= 1
        self.unit.changed()

    def leave(self, reads_ps: int) -> Process:
        yield self.env.timeout(self.costs.hw.link.latency_ps)
        for change, lasts in ((+1, reads_ps), (-1, 0)):
            self.leaving += change
            self.cpu.changed()
            yield self.env.timeout(lasts)

    def cpu_reads(self, how: str) -> None:
        self.cpu_rate = how
        self.unit.changed()

    def unit_rate(self) -> int:
        """Bytes per ms that the unit of a unified machine reads now."""
        costs, loading = self.costs, self.moving > 0
        if self.cpu_rate == "not":
            return costs.slow_rate if loading else costs.rate
        outside, inside, fast = costs.cpu.gpu_rates(costs.rate)
        return fast if self.cpu_rate == "alone" else inside if loading else outside

    def cpu_left(self) -> int:
        """Bytes per ms that the CPU of a discrete machine reads now."""
        cpu = self.costs.cpu
        return cpu.beside_loads if self.leaving else cpu.rate


class Bus:
    """A memory, read at a rate that may change meanwhile."""

    def __init__(self, env: World, rate: Callable[[], int]) -> None:
        self.env, self.rate = env, rate  # bytes per ms now
        self.reader: simpy.Process | None = None  # that reads the memory now

    def changed(self) -> None:
        if self.reader is not None:
            reader, self.reader = self.reader, None
            reader.interrupt()

    def read(self, left: list[Left]) -> Process:
        """Launches that follow each other: a fixed time, then the longer of reading the bytes and computing. They are planned as if
        nothing changed, and planned again when something does."""
        env = self.env
        while left:
            start, rate = env.ps, self.rate()
            self.reader = env.active_process
            try:
                yield env.timeout(sum(_lasts(one, rate) for one in left))
                self.reader = None
                return
            except simpy.Interrupt:
                left = _rest(left, env.ps - start, rate)


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
