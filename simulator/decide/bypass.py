"""Decisions of Belady's MIN with bypass, the bound of policies/eviction/belady_bypass.py: it keeps what it likes of each event."""

from __future__ import annotations

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.curves import BYPASS, Curves, Group
from simmoe.simulator.decide.fitted import Fitted
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.groups import spans
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.start import COLD, started
from simmoe.simulator.nouns.decisions import Decisions


def bypass(
    requests: Requests, expert_bytes: Ints, budget_bytes: int, *, scope: str | Fitted, cold_at: Ints | None = None, start: str = COLD,
    player: Player | None = None,
) -> Decisions:  # fmt: skip
    """What is resident is counted in slots of the smallest expert of each group. An expert that is not kept gives its slot up for its own
    next load, and no load waits for room, so each group has the room of all its experts."""
    phase = np.zeros(int(requests.event_pass[-1]) + 1, np.int64)
    curves = Curves(requests, phase, expert_bytes, scope, cold_at=cold_at, player=player)
    rooms = curves.rooms([budget_bytes])[:, 0].tolist()
    sizes = np.repeat(expert_bytes, requests.n_objects // len(expert_bytes))
    every, start = np.ones(len(sizes), bool), start if cold_at is None else COLD
    limits, present = started(sizes, every, rooms, budget_bytes, start)
    hit, again = np.ones(len(requests.obj), bool), np.zeros(len(requests.obj), bool)
    step = np.zeros(requests.n_events + 1, np.int64)  # change of the resident bytes at each event
    for group, room, here in zip(curves.groups, rooms, present):
        if len(here) == 0:
            least = group.least(BYPASS)
            hit[group.part.request] = least <= room // group.slot(BYPASS)
            again[group.part.request] = least <= len(group.size)
            _count(group, room, curves.starts, step)
    loads = np.flatnonzero(~hit)
    reloads = loads[again[loads]]
    none = np.zeros(0, np.int64)
    used = np.cumsum(step[:-1]) + sum(limits.begins)
    full = tuple(int(size.sum()) for size in np.split(sizes, len(rooms)))
    limits = limits._replace(rooms=full, emptied=curves.starts[1:-1])
    return Decisions(
        hit, np.zeros(len(hit), np.int32), none == 1, loads, none, requests.obj[reloads], reloads, used, none, none,
        max(budget_bytes - sum(rooms), 0) if scope != "global" else 0, *limits,
    )  # fmt: skip


def _count(group: Group, room: int, starts: Ints, step: Ints) -> None:
    """Adds up what is resident: all that was ever requested, up to the room."""
    part, slot = group.part, group.slot(BYPASS)
    first = np.concatenate(([0], np.cumsum(group.least(BYPASS) > len(group.size))))[part.ptr]
    for end, begin, stop in spans(part, starts):
        held = slot * np.minimum(first[begin + 1 : stop + 1] - first[begin], room // slot)
        step[part.events[begin:stop]] += np.diff(held, prepend=0)
        step[end] -= held[-1]
