"""What memories hold, in the discrete-event executor: a SimPy Container for each scope group and for the buffers."""

from __future__ import annotations

from collections.abc import Iterable

import simpy

from simmoe.simulator.lower.occupancy import Occupancy
from simmoe.simulator.time.queues import Op, Process, Queue, World


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
        self.buffers = (
            simpy.Container(env, occupancy.buffer_room, occupancy.buffered) if occupancy.buffer_room else None
        )
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
