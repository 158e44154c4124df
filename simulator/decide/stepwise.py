"""Event by event: a rule that reads what a load takes must know what a second tier before the link holds at that moment.

The scope groups are played together, in the order of the run's events; after each event the second tier is played by the same residency,
on the event's loads and then on its prefetches (simulator/decide/tiers.py plays the same once more when all is decided).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from types import ModuleType
from typing import NamedTuple

import numpy as np

from simmoe.simulator.arrays import Ints, small
from simmoe.simulator.decide import residency as machine
from simmoe.simulator.decide.groups import Part, spans
from simmoe.simulator.decide.hooks import Known, Told
from simmoe.simulator.decide.player import Player, Playing, Task
from simmoe.simulator.decide.residency import Verdicts


class SecondTier(NamedTuple):
    """A memory before the link, and what it changes."""

    capacity_bytes: int
    eviction: ModuleType
    near_ps: Ints  # [objects] time of a load that it answers
    present: Ints = np.zeros(0, np.int64)  # objects that it holds before the first event


class Step(NamedTuple):
    """One event of a scope group, and the span between two starts that it belongs to."""

    event: int  # of the run
    group: int
    number: int  # of the event within the group
    begin: int
    stop: int


def stepwise(tasks: list[Task], tier: SecondTier, player: Player, most_events: int | None = None) -> list[Verdicts]:
    """Play the groups of a run, or their first events after each start; the law of occupancy is checked before each emptying."""
    groups, near = [Playing(task, player) for task in tasks], _Near(tasks, tier, player)
    for o in tier.present.tolist():
        near.now(o, int(tier.near_ps[o]), groups)
    steps = sorted(step for number, task in enumerate(tasks) for step in _steps(number, task, most_events))
    for _, mine in groupby(steps, key=lambda step: step.event):
        loads: list[tuple[int, int]] = []  # (request, object), then (guess, object), in the numbering of the run
        guesses: list[tuple[int, int]] = []
        for step in mine:
            group = groups[step.group]
            if step.number == step.begin:
                group.start()
            before = int(group.c.count[machine.LOADS])
            group.play(step.number, step.number + 1)
            loads += _loaded(group, before)
            guesses += _prefetched(group, step.number)
            if step.number + 1 == step.stop:
                group.stop(step.begin, step.stop)
        for _, o in (*sorted(loads), *sorted(guesses)):
            near.read(o, groups)
    return [group.verdicts() for group in groups]


def _steps(number: int, task: Task, most_events: int | None) -> Iterator[Step]:
    for _, begin, stop in spans(task.part, task.starts):
        stop = min(stop, begin + (most_events or stop))
        yield from (Step(int(task.part.events[one]), number, one, begin, stop) for one in range(begin, stop))


def _loaded(group: Playing, before: int) -> list[tuple[int, int]]:
    part, last = group.task.part, int(group.c.count[machine.LOADS])
    return [(int(part.request[i]), part.low + int(part.obj[i])) for i in group.v.loads[before:last]]


def _prefetched(group: Playing, event: int) -> list[tuple[int, int]]:
    part = group.task.part
    mine = range(part.guess_ptr[event], part.guess_ptr[event + 1])
    return [(int(part.guess[j]), part.low + int(part.guess_obj[j])) for j in mine if group.v.issued[j]]


class _Near:
    """The second tier while it is played: each load is an event of its own, written into the stream when it happens."""

    def __init__(self, tasks: list[Task], tier: SecondTier, player: Player) -> None:
        size = np.concatenate([task.size for task in tasks])
        reads = sum(len(task.part.obj) + len(task.part.guess_obj) for task in tasks)
        starts = np.array([0, reads])
        part = _one_by_one(reads, len(size))
        self.tier, self.size, self.starts = tier, size.tolist(), [task.part.low for task in tasks[1:]]
        self.far_ps = np.concatenate([task.rule.load_ps for task in tasks[:1] if task.rule]).tolist()
        kept = np.minimum(size, tier.capacity_bytes)
        none = np.zeros(0, np.int64)
        self.slots = Playing(
            Task(part, tier.eviction, kept, tier.capacity_bytes, starts, none, tier.present, None, 0, Told(), Known()),
            player,
        )
        self.slots.start()
        self.done = 0

    def read(self, o: int, groups: list[Playing]) -> None:
        """A load of `o` passes the tier; what it keeps from now on is loaded in less time, what leaves it in more."""
        if self.size[o] > self.tier.capacity_bytes:
            return
        q, number, count = self.slots.q, self.done, self.slots.c.count
        q.obj[number] = q.use_obj[number] = o
        evicted = int(count[machine.EVICTIONS])
        self.slots.play(number, number + 1)
        self.done += 1
        self.now(o, int(self.tier.near_ps[o]), groups)
        for out in self.slots.v.evicted[evicted : int(count[machine.EVICTIONS])]:
            self.now(int(out), self.far_ps[out], groups)

    def now(self, o: int, load_ps: int, groups: list[Playing]) -> None:
        """A load of `o` takes so long from now on."""
        group = groups[int(np.searchsorted(self.starts, o, side="right"))]
        if len(group.m.load_ps):
            group.m.load_ps[o - group.task.part.low] = load_ps


def _one_by_one(reads: int, n_objects: int) -> Part:
    """Events of one object each, which are not known yet."""
    ptr, obj, none = small(np.arange(reads + 1)), small(np.zeros(reads, np.int64)), np.zeros(0, np.int64)
    one = small(np.arange(reads))
    return Part(
        one,
        0,
        n_objects,
        True,
        ptr,
        obj,
        None,
        lambda: (ptr, obj),
        small(np.zeros(reads + 1, np.int64)),
        small(none),
        none,
        none,
    )
