"""The referee: follows the decisions of a scenario and says what of them no machine may do. It knows none of the machine's text."""

from __future__ import annotations

from collections.abc import Iterator

from simmoe.kit.scenarios import Scenario
from simmoe.simulator.nouns.decisions import Decisions


def broken(case: Scenario, made: Decisions) -> Iterator[str]:
    """What the decisions of a scenario break, in the order of its events."""
    if made.used.max(initial=0) > case.budget_bytes:
        yield f"{made.used.max()} B are resident"
    slots = _Slots(case, made)
    for event in range(case.requests.n_events):
        yield from slots.play(event)
    if slots.used != list(zip(made.fresh.tolist(), made.fresh_by.tolist())):
        yield "the hits on what prefetches brought are others than those that are written down"


class _Slots:
    """What is resident, followed event by event."""

    def __init__(self, case: Scenario, made: Decisions) -> None:
        self.case, self.made, self.layers = case, made, len(case.expert_bytes)
        self.experts = case.requests.n_objects // self.layers
        self.resident: dict[
            int, int
        ] = {}  # object -> the guess that brought it, if no event has requested it since, else -1
        self.buffers: dict[int, dict[int, int]] = {}  # layer -> objects that wait for its next event -> the guess
        self.used: list[tuple[int, int]] = []  # (request, the guess that brought what it hits)
        self.leaves: dict[int, list[int]] = {}  # who leaves for each request, and for -1 - each guess
        for o, cause in zip(made.evicted.tolist(), made.evicted_for.tolist()):
            self.leaves.setdefault(cause, []).append(o)
        self.by = dict(zip(made.stands.tolist(), made.stands_by.tolist()))
        served = (made.loads, made.cpu, made.dropped, made.stands, made.low)
        self.ways = [set(one.tolist()) for one in served]  # requests that each way serves
        self.ways[0] -= self.ways[-1]  # a low copy is loaded and forgotten: it takes no slot

    def play(self, event: int) -> Iterator[str]:
        requests = self.case.requests
        asked = {i: int(requests.obj[i]) for i in range(int(requests.ptr[event]), int(requests.ptr[event + 1]))}
        if event in self.case.cold_at:
            self.resident.clear()
            self.buffers.clear()
        self._promote(event, asked)
        hit = {i for i in asked if self.made.hit[i]}
        if hit != {i for i, o in asked.items() if o in self.resident}:
            yield f"a hit of event {event} was not resident, or a resident was no hit"
        for i, o in asked.items():
            if self.resident.get(o, -1) >= 0:
                self.used.append((i, self.resident[o]))
                self.resident[o] = -1
            if (i in hit) + sum(i in way for way in self.ways) != 1:
                yield f"expert {o} of event {event} is served in no way or in two"
        yield from self._stand_ins(event, asked)
        pinned = {*asked.values(), *(self.by[i] for i in asked if i in self.by)}
        for i, o in asked.items():
            if i in self.ways[0]:
                yield from self._make_room(event, i, o, pinned)
                self.resident[o] = -1
        yield from self._guesses(event, pinned)
        held = sum(map(self._size, self.resident))
        over = [o for o in self.resident if self._held(o) > self._room(o)]
        if held != self.made.used[event] or over:
            yield f"{held} B are resident at the end of event {event}, {self.made.used[event]} B by the count"

    def _promote(self, event: int, asked: dict[int, int]) -> None:
        """What waits in a buffer for this event and is requested takes a slot, where what the event does not request can leave."""
        waiting = self.buffers.pop(int(self.case.requests.event_layer[event]), {})
        requested = set(asked.values())
        for i, o in asked.items():
            if o in waiting and o not in self.resident:
                out = self.leaves.get(i, [])
                while self._held(o) + self._size(o) > self._room(o) and out and out[0] not in requested:
                    self.resident.pop(out.pop(0), None)
                if self._held(o) + self._size(o) <= self._room(o):
                    self.resident[o] = waiting[o]

    def _stand_ins(self, event: int, asked: dict[int, int]) -> Iterator[str]:
        for i, o in asked.items():
            by = self.by.get(i)
            if by is not None and (by // self.experts != o // self.experts or self.resident.get(by, 0) >= 0):
                yield f"expert {by} stands in for {o} in event {event}, and is of another layer, not resident or may still be on its way"

    def _guesses(self, event: int, pinned: set[int]) -> Iterator[str]:
        guesses, made = self.case.guesses, self.made
        for j in range(int(guesses.ptr[event]), int(guesses.ptr[event + 1])):
            o = int(guesses.obj[j])
            here = self.buffers.setdefault(o // self.experts, {}) if guesses.buffered else self.resident
            kept = 0 if guesses.buffered else sum(self._size(one) for one in pinned & self._group(o))
            fits = guesses.buffered or kept + self._size(o) <= self._room(o)
            if bool(made.issued[j]) != (o not in self.resident and o not in here and fits):
                yield f"guess {j} of event {event}, expert {o}, is loaded though it must not be, or not though it could be"
            if made.issued[j]:
                if not guesses.buffered:
                    yield from self._make_room(event, -1 - j, o, pinned)
                    pinned.add(o)
                here[o] = j

    def _make_room(self, event: int, cause: int, o: int, pinned: set[int]) -> Iterator[str]:
        for out in self.leaves.get(cause, []):
            mine = self._group(o)
            if out not in mine:
                yield f"expert {out}, which leaves in event {event}, is not resident in the group that needs room"
            elif out in pinned and (cause < 0 or mine - pinned):
                yield f"expert {out} leaves in event {event}, which pins it, while another could"
            self.resident.pop(out, None)
        if self._held(o) + self._size(o) > self._room(o):
            yield f"expert {o} takes a slot in event {event} for which there is no room"

    def _group(self, o: int) -> set[int]:
        """Residents that share a room with the expert."""
        return {one for one in self.resident if self.case.scope == "global" or one // self.experts == o // self.experts}

    def _held(self, o: int) -> int:
        return sum(map(self._size, self._group(o)))

    def _size(self, o: int) -> int:
        return int(self.case.expert_bytes[o // self.experts])

    def _room(self, o: int) -> int:
        if self.case.scope == "global":
            return self.case.budget_bytes
        return (
            self.case.budget_bytes * self._size(o) // int(self.case.expert_bytes.sum()) // self._size(o) * self._size(o)
        )
