"""Which bytes enter and leave a memory when: what decisions reserve and free, for an executor that models occupancy.

When the decisions of an event are made, its victims leave, and what it requests out of a buffer moves into a slot. A victim that the event
itself requests, or that stands in for what it requests, leaves when the load that takes its room is issued. A load reserves its slot when
it is issued.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.counts import event_of_cause, peak_buffer_bytes
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.groups import next_of_its_layer
from simmoe.simulator.decide.versions import forgotten_bytes, load_objects
from simmoe.simulator.nouns.decisions import Decisions, Guesses

UNKNOWN = 2**63 - 1  # bytes
Bytes = dict[int, list[tuple[int, int]]]  # event or load -> (scope group, bytes)


@dataclass(frozen=True)
class Occupancy:
    """Bytes by scope group (its share of the experts' memory), and in the buffers for guesses beside it. Low copies are in the last group:
    their pool, or what forgets them when the next event is decided."""

    rooms: tuple[int, ...]  # capacity of each group
    begins: tuple[int, ...]  # resident in each group before the first pass
    emptied: set[int]  # events at whose start all slots are given up
    group: list[int]  # [objects]
    size: list[int]  # [objects]
    load_obj: list[int]  # [loads]
    guess_obj: list[int]  # [guesses]
    leave: Bytes  # event -> victims that leave at its decisions
    own: Bytes  # load -> victims of its own event, which leave when it is issued
    promoted: Bytes  # event -> what moves out of a buffer into a slot
    buffer_room: int  # capacity of the buffers; 0 = guesses go into slots
    held: dict[int, int]  # event -> bytes of buffers that end before it
    buffered: int = 0  # bytes in buffers before the first pass

    @classmethod
    def of(cls, requests: Requests, decisions: Decisions, guesses: Guesses, expert_bytes: Ints) -> Occupancy:
        n, groups = requests.n_objects, len(decisions.rooms)
        versions, rooms = n if decisions.group is None else len(decisions.group), decisions.rooms
        size = np.repeat(expert_bytes, versions // len(expert_bytes)).tolist()
        group = (np.arange(n) * groups // n if decisions.group is None else decisions.group).tolist()
        event = event_of_cause(requests, guesses, decisions.evicted_for)
        asked = requests.event_of_request * versions + requests.obj
        asked[decisions.low] += versions - n
        beside = requests.event_of_request[decisions.stands] * versions + decisions.stands_by
        own = np.isin(event * versions + decisions.evicted, np.concatenate((asked, beside)))
        load_of = dict(zip(decisions.loads.tolist(), range(len(decisions.loads))))

        def moved(where: Ints, obj: Ints) -> Bytes:
            found: dict[int, dict[int, int]] = defaultdict(dict)
            for at, o in zip(where.tolist(), obj.tolist()):
                found[at][group[o]] = found[at].get(group[o], 0) + size[o]
            return {at: list(bytes_by_group.items()) for at, bytes_by_group in found.items()}

        earlier, emptied = decisions.buffered, set(decisions.emptied.tolist())
        fresh = decisions.fresh if guesses.buffered else decisions.fresh[:0]
        fresh = fresh if earlier is None else np.concatenate((earlier.promoted, fresh))
        leave = moved(event[~own], decisions.evicted[~own])
        if versions > n and not decisions.pooled:
            forgotten = forgotten_bytes(requests, decisions, expert_bytes[len(expert_bytes) // 2 :])
            rooms = (*rooms[:-1], int(forgotten.max(initial=0)))
            for at in np.flatnonzero(forgotten).tolist():
                if at + 1 not in emptied:
                    leave.setdefault(at + 1, []).append((groups - 1, int(forgotten[at])))
        issuing = np.array([load_of[i] for i in decisions.evicted_for[own].tolist()], np.int64)
        return cls(
            rooms, decisions.begins, emptied, group, size, load_objects(requests, decisions).tolist(), guesses.obj.tolist(), leave,
            moved(issuing, decisions.evicted[own]), moved(requests.event_of_request[fresh], requests.obj[fresh]),
            peak_buffer_bytes(requests, decisions, guesses, expert_bytes[: len(expert_bytes) * n // versions]),
            _held(requests, decisions, guesses, size),
            0 if earlier is None else sum(size[o] for o in earlier.obj.tolist()),
        )  # fmt: skip

    @classmethod
    def begun(
        cls, rooms: tuple[int, ...], begins: tuple[int, ...], sizes: Ints, buffered: bool, low: bool = False,
        group_of: Ints | None = None,
    ) -> Occupancy:  # fmt: skip
        """Before the first pass of a run whose passes are not known yet. What its buffers will hold at most is not known either. low: the
        second half of the objects are low copies. group_of: as Decisions.group."""
        groups, n = len(rooms) - low, len(sizes) // (1 + low)
        group = (np.arange(n) * groups // n if group_of is None else group_of).tolist() + [groups] * (n * low)
        room = UNKNOWN if buffered else 0
        rooms = (*rooms[:groups], *(pool or UNKNOWN for pool in rooms[groups:]))  # no pool: forgotten with their event
        return cls(rooms, begins, set(), group, sizes.tolist(), [], [], {}, {}, {}, room, {})

    def extend(self, more: Occupancy, event: int, load: int, guess: int) -> None:
        """What a pass adds whose numbers begin at that event, load and guess. Rooms and capacities stay."""
        self.emptied.update(at + event for at in more.emptied)
        self.load_obj.extend(more.load_obj)
        self.guess_obj.extend(more.guess_obj)
        for mine, other, begin in (
            (self.leave, more.leave, event), (self.own, more.own, load), (self.promoted, more.promoted, event),
        ):  # fmt: skip
            mine.update({at + begin: moved for at, moved in other.items()})
        for at, count_bytes in more.held.items():
            self.held[at + event] = self.held.get(at + event, 0) + count_bytes


def _held(requests: Requests, decisions: Decisions, guesses: Guesses, size: list[int]) -> dict[int, int]:
    """Bytes of buffers by the event before which they end: that behind the one that they are for."""
    if not guesses.buffered:
        return {}
    issued = np.flatnonzero(decisions.issued)
    event, obj = np.repeat(np.arange(requests.n_events), np.diff(guesses.ptr))[issued], guesses.obj[issued]
    held: dict[int, int] = defaultdict(int)
    for end, o in zip((next_of_its_layer(requests, event, obj) + 1).tolist(), obj.tolist()):
        held[end] += size[o]
    if decisions.buffered is not None:
        for until, o in zip(decisions.buffered.until.tolist(), decisions.buffered.obj.tolist()):
            held[until + 1] += size[o]
    return dict(held)
