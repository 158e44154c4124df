"""Which bytes enter and leave a memory when: what decisions reserve and free, for an executor that models occupancy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.counts import peak_buffer_bytes
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.groups import next_of_its_layer
from simmoe.simulator.lower.durations import thrown_out
from simmoe.simulator.nouns.decisions import Decisions, Guesses


@dataclass(frozen=True)
class Occupancy:
    """Bytes by scope group (its share of the experts' memory) and in the buffers for guesses beside it."""

    rooms: tuple[int, ...]  # capacity of each group
    begins: tuple[int, ...]  # resident in each group before the first pass
    emptied: frozenset[int]  # events at whose start all slots are given up
    group: list[int]  # [objects]
    size: list[int]  # [objects]
    load_obj: list[int]  # [loads]
    load_frees: list[int]  # [loads] bytes of the victims that make room for each
    guess_obj: list[int]  # [guesses]
    guess_frees: list[int]  # [guesses]
    promoted: dict[
        int, list[tuple[int, int]]
    ]  # event -> (object, bytes of its victims) that move out of a buffer into a slot
    buffer_room: int  # capacity of the buffers; 0 = guesses go into slots
    held: dict[int, int]  # event -> bytes of buffers that end before it

    @classmethod
    def of(cls, requests: Requests, decisions: Decisions, guesses: Guesses, expert_bytes: Ints) -> Occupancy:
        n_experts, groups = requests.n_objects // len(expert_bytes), len(decisions.rooms)
        size = np.repeat(expert_bytes, n_experts)
        demand, guess = thrown_out(decisions, len(requests.obj), len(guesses.obj), size[decisions.evicted])
        promoted: dict[int, list[tuple[int, int]]] = {}
        held: dict[int, int] = {}
        if guesses.buffered:
            for i in decisions.fresh.tolist():
                promoted.setdefault(int(requests.event_of_request[i]), []).append(
                    (int(requests.obj[i]), int(demand[i]))
                )
            issued = np.flatnonzero(decisions.issued)
            event, obj = np.repeat(np.arange(requests.n_events), np.diff(guesses.ptr))[issued], guesses.obj[issued]
            for end, o in zip((next_of_its_layer(requests, event, obj) + 1).tolist(), obj.tolist()):
                held[end] = held.get(end, 0) + int(size[o])
        return cls(
            decisions.rooms, decisions.begins, frozenset(decisions.emptied.tolist()),
            (np.arange(requests.n_objects) * groups // requests.n_objects).tolist(), size.tolist(),
            requests.obj[decisions.loads].tolist(), demand[decisions.loads].tolist(), guesses.obj.tolist(), guess.tolist(), promoted,
            peak_buffer_bytes(requests, decisions, guesses, expert_bytes), held,
        )  # fmt: skip
