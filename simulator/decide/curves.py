"""Whole curves: what a policy hits at every size of the memory for experts, or at those that are asked for.

LRU and, where all experts of a scope group have one size, Belady's MIN with and without bypass take one pass over the trace for all sizes
(simulator/decide/stacks.py). Rooms below the largest event, and all other policies, are played at each size that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np

from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.decide.decisions import NOTHING_TOLD, left_to_device, no_guesses, quotas
from simmoe.simulator.decide.fitted import Fitted
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.groups import Part, parts_of, spans
from simmoe.simulator.decide.hooks import Told
from simmoe.simulator.decide.player import Player, Task, known_of, play_part
from simmoe.simulator.decide.stacks import ALIKE, HEAD, NEVER

LRU, MIN, BYPASS = "lru", "belady", "belady_bypass"  # policies that one pass answers


class Tally(NamedTuple):
    """At each budget: hits and loaded bytes, by phase (prefill, decode)."""

    hits: Ints  # [budgets, 2]
    bytes: Ints  # [budgets, 2]


class Curves:
    """The curves of one workload in one scope; what one pass has found is kept."""

    def __init__(
        self, requests: Requests, phase: Ints, expert_bytes: Ints, scope: str | Fitted, *, cold_at: Ints | None = None, seed: int = 0,
        player: Player | None = None,
    ) -> None:  # fmt: skip
        """phase: int [passes], 0 prefill, 1 decode. cold_at: events at whose start the slots are empty."""
        self.requests, self.expert_bytes, self.scope, self.seed = requests, expert_bytes, scope, seed
        self.player, n_layers = player or Player(), len(expert_bytes)
        self.n_experts = requests.n_objects // n_layers
        self.left = left_to_device(None, n_layers, self.n_experts)
        groups = 1 if scope == "global" else n_layers
        self.starts = np.array([0, *([] if cold_at is None else cold_at[cold_at > 0].tolist()), requests.n_events])
        parts = parts_of(requests, no_guesses(requests), groups)
        sizes = np.repeat(expert_bytes, self.n_experts)
        self.groups = [Group(part, sizes[part.low : part.low + part.n_objects], self) for part in parts]
        self.kinds, kind = np.unique(expert_bytes, return_inverse=True)  # bytes
        column = (
            phase.astype(np.uint8)[requests.event_pass] * np.uint8(len(self.kinds))
            + kind.astype(np.uint8)[requests.event_layer]
        )
        each = np.diff(requests.ptr)
        asked = np.bincount(column, weights=each, minlength=2 * len(self.kinds))  # whole numbers below 2**53
        self.asked = asked.astype(np.int64).reshape(2, -1)  # requests by phase and size
        self.column = [self._column_of(part, column, each) for part in parts]

    def _column_of(self, part: Part, column: Ints, each: Ints) -> Ints | int:
        """The column (phase and size) of each request of a group, or the one that they all have."""
        some = np.flatnonzero(np.bincount(column[part.events]))
        if len(some) == 1:
            return int(some[0])
        return np.repeat(column[part.events], np.diff(part.ptr))

    def rooms(self, budgets: Sequence[int]) -> Ints:
        """int64 [groups, budgets]: bytes of each group at rising budgets. Raises UserError."""
        if self.scope == "global":
            quotas(self.expert_bytes, self.left, budgets[0], self.scope)
            return np.array([budgets], np.int64)
        return np.array([quotas(self.expert_bytes, self.left, one, self.scope) for one in budgets], np.int64).T

    @property
    def least_budget(self) -> int:
        """The least budget that works."""
        if self.scope == "global":
            return int(self.expert_bytes.max())
        return int(self.expert_bytes.sum())

    def every_budget(self) -> list[int]:
        """The budgets at which a whole slot more fits, from the least one that works; empty where experts of several sizes share a
        group: every byte may count there."""
        if self.scope != "layer":
            size = int(self.expert_bytes[0]) * bool((self.expert_bytes == self.expert_bytes[0]).all())
            return [size * n for n in range(self.least_budget // size, self.requests.n_objects + 1)] if size else []
        each, n = self.expert_bytes.tolist(), self.n_experts
        total = sum(each) * n
        steps = {-(-slots * size * total // (size * n)) for size in set(each) for slots in range(1, n + 1)}
        return sorted(step for step in steps if step >= self.least_budget)

    def at(self, eviction: ModuleType, name: str, budgets: Sequence[int], told: Told = NOTHING_TOLD) -> Tally:
        """Hits and bytes of the policy at each budget, rising. name: says whether one pass answers. told: as `decide` takes it."""
        hits = np.zeros((len(budgets), self.asked.size), np.int64)
        for group, column, mine in zip(self.groups, self.column, self.rooms(budgets)):
            some, where = np.unique(mine, return_inverse=True)
            hits += group.hits(eviction, name, some, column, self.asked.size, told)[where.reshape(-1)]
        by_size = hits.reshape(-1, *self.asked.shape)
        return Tally(by_size.sum(2), ((self.asked - by_size) * self.kinds).sum(2))


def fitted_to(said: str, text: Requests, n_layers: int, player: Player | None = None) -> Fitted:
    """Quotas fitted to a text: what LRU hits in each of its layers with so many slots, as if no event asked for more."""
    phase, n = np.zeros(int(text.event_pass[-1]) + 1, np.int64), text.n_objects // n_layers
    groups = Curves(text, phase, np.ones(n_layers, np.int64), "layer", player=player).groups
    return Fitted(said, np.array([np.bincount(one.least(LRU), minlength=n + 2)[: n + 1].cumsum() for one in groups]))


class Group:
    """One scope group, and what one pass has found of it."""

    def __init__(self, part: Part, size: Ints, of: Curves) -> None:
        self.part, self.size, self.of = part, size, of
        self.one_size = int(size[0]) if (size == size[0]).all() else 0  # 0 = there are several
        self.reach = dict[str, Ints]()
        ends = part.ptr * np.int64(self.one_size)
        if not self.one_size:
            ends = np.concatenate(([0], np.cumsum(size[part.obj])))[part.ptr]
        events = np.diff(ends)  # bytes
        asking = events > 0
        self.largest_event, smallest = int(events.max(initial=0)), int(events[asking].min(initial=NEVER))
        column = of.requests.event_layer[part.events[asking]]
        self.swept = smallest if (column[1:] != column[:-1]).all() else 0

    def slot(self, name: str) -> int:
        """Bytes of the slots in which one pass counts; 0 where it counts bytes. MIN with bypass has slots of the smallest object."""
        return int(self.size.min()) if name == BYPASS else self.one_size

    def one_pass(self, name: str) -> bool:
        """Whether one pass says what the policy hits in every room, or in every room that holds the largest event."""
        return name in (LRU, BYPASS) or (name == MIN and bool(self.one_size))

    def answered(self, name: str, rooms: Ints) -> Flags:
        """bool [rooms]: one pass says what the policy hits there."""
        if not self.one_pass(name):
            return np.zeros(len(rooms), bool)
        exact: Flags = rooms >= (0 if name == BYPASS else self.largest_event)
        return exact

    def to_play(self, name: str, rooms: Ints) -> Flags:
        """bool [rooms]: must be played. A room that no event leaves anything else in (`swept` bytes at most) hits nothing: two events
        after each other are of two layers."""
        must: Flags = ~self.answered(name, rooms) & (rooms > self.swept)
        return must

    def hits(
        self, eviction: ModuleType, name: str, rooms: Ints, column: Ints | int, columns: int, told: Told = NOTHING_TOLD
    ) -> Ints:
        """int64 [rooms, columns]: hits in each room, rising, of the requests of each column; `column` is that of each, or of all."""
        table = np.zeros((len(rooms), columns), np.int64)
        quick = self.answered(name, rooms)
        if quick.any():
            table[quick] = self._found(name, rooms[quick], column, columns)
        for number in np.flatnonzero(self.to_play(name, rooms)):
            hit = self.played(eviction, int(rooms[number]), told)
            where = column if isinstance(column, int) else column[hit]
            np.add.at(table[number], where, hit.sum() if isinstance(column, int) else 1)
        return table

    def _found(self, name: str, rooms: Ints, column: Ints | int, columns: int) -> Ints:
        """The same, as one pass has found it."""
        least, steps = self.least(name), len(self.size) + 2
        slot = self.slot(name)
        if not slot:
            least, steps = np.searchsorted(rooms, least), len(rooms) + 1
        if isinstance(column, int):
            table = np.zeros((steps, columns), np.int64)
            table[:, column] = np.bincount(least, minlength=steps)
        else:
            table = np.bincount(least * columns + column, minlength=steps * columns).reshape(steps, columns)
        rising = table.cumsum(0)
        chosen: Ints = rising[np.minimum(rooms // slot, steps - 2)] if slot else rising[:-1]
        return chosen

    def least(self, name: str) -> Ints:
        """int64 [requests]: the least room in which each is a hit: slots of `slot(name)` bytes, and one more than there are objects
        where no room is enough; or bytes, and NEVER."""
        if name not in self.reach:
            found = np.empty(len(self.part.obj), np.int64)
            for _, begin, stop in spans(self.part, self.of.starts):
                self._pass(name, begin, stop, found)
            if self.slot(name):
                np.minimum(found, len(self.size) + 1, out=found)
            self.reach[name] = found
        return self.reach[name]

    def _pass(self, name: str, begin: int, stop: int, found: Ints) -> None:
        """One pass over events behind which the slots are emptied."""
        part, n, arrays, text = self.part, len(self.size), self.of.player.arrays, self.of.player.stacks()
        ptr, obj, use_ptr, use_obj, reach = arrays((part.ptr, part.obj, part.use_ptr, part.use_obj, found))
        if name == LRU:
            unit = np.ones(n, np.int64) if self.one_size else self.size
            text.reach_lru(
                begin, stop, ptr, obj, use_ptr, use_obj, *arrays((unit,)), reach, *arrays(_axis(n, bool(self.one_size)))
            )
        else:
            run = text.reach_min if name == MIN else text.reach_bypass
            state = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n + 1, np.int64), np.zeros(4, np.int64)
            run(begin, stop, ptr, obj, use_ptr, use_obj, *arrays((part.future[0],)), reach, *arrays(state))
        if reach is not found:
            found[part.ptr[begin] : part.ptr[stop]] = reach[part.ptr[begin] : part.ptr[stop]]

    def played(self, eviction: ModuleType, room: int, told: Told) -> Ints:
        """bool [requests]: the hits in one room, played."""
        none = np.zeros(0, np.int64)
        known = known_of(eviction, self.of.requests, self.part)
        task = Task(
            self.part,
            eviction,
            self.size,
            room,
            self.of.starts,
            np.zeros(0, np.int8),
            none,
            None,
            self.of.seed,
            told,
            known,
        )
        hit: Ints = play_part(task, self.of.player).hit.view(np.bool_)
        return hit


def _axis(n: int, alike: bool) -> tuple[Ints, ...]:
    """The empty axis of stamps for n objects: place, owner, taken, after, count."""
    rows, count = 32 * ((4 * n + 63) // 1024 + 1), np.zeros(4, np.int64)
    count[HEAD], count[ALIKE] = 1, alike
    return (
        np.zeros(n, np.uint32),
        np.zeros(32 * rows, np.uint32),
        np.zeros(rows, np.int64),
        np.zeros(rows, np.int64),
        count,
    )
