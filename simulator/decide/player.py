"""Plays one scope group through one policy, interpreted; what the policy NEEDS is prepared here."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide import hooks as policy
from simmoe.simulator.decide import residency as machine
from simmoe.simulator.decide.groups import NEVER, Part, spans
from simmoe.simulator.decide.residency import Slots, Stream, Verdicts

HOOKS = ("init", "miss", "insert", "use", "victim", "remove")


class Player:
    """Runs `machine.play`, interpreted: on lists, where the same text is 1.5 times faster than on arrays."""

    def arrays(self, group: Any) -> Any:
        """A tuple of flat arrays, named or not, as the player wants it."""
        lists = [array.tolist() for array in group]
        return type(group)(*lists) if hasattr(group, "_fields") else tuple(lists)

    def bind(self, eviction: ModuleType, prefetching: bool = True) -> Callable[..., None]:
        """`machine.play` with the hooks of `eviction` in place of those of simulator/decide/hooks.py."""
        scope = {**vars(machine), **{name: getattr(eviction, name) for name in HOOKS if hasattr(eviction, name)}}
        for function in (
            machine.play,
            machine.demand,
            machine.note_fresh,
            machine.fetched,
            machine.computed,
            machine.prefetch,
            machine.promote,
            machine.buffer,
            machine.admit,
            machine.evict,
        ):
            scope[function.__name__] = FunctionType(function.__code__, scope, function.__name__)
        play: Callable[..., None] = scope["play"]
        return play


def play_part(
    part: Part, eviction: ModuleType, size: Ints, room: int, starts: Ints, on_cpu: npt.NDArray[np.bool_] | None,
    seed: int, player: Player,
) -> Verdicts:  # fmt: skip
    """Play one group; the slots and the policy's state start empty at each of the events `starts`, but for the last."""
    n, buffered, count = len(size), len(size) * (len(part.guess_for) > 0), np.zeros(4, np.int64)
    extras, following = _extras(part, eviction, size, seed)
    flags = np.zeros(0, np.int8) if on_cpu is None else on_cpu[part.request].astype(np.int8)
    pointers = (part.use_ptr, part.use_obj, part.guess_ptr, part.guess_obj, part.guess_for)
    q = player.arrays(Stream(part.ptr, part.obj, following, *pointers, flags))
    room_for = _verdicts(part)
    v, x = player.arrays(room_for), player.arrays(extras)
    init, play = getattr(eviction, "init", policy.init), player.bind(eviction, len(part.guess_obj) > 0)
    for _, begin, stop in spans(part, starts):
        count[machine.USED] = 0
        brought = np.zeros(n * (len(part.guess_obj) > 0), np.int64)
        c = player.arrays(Slots(np.zeros(n, np.int8), np.zeros(n, np.int8), np.full(buffered, NEVER), brought, count))
        play(begin, stop, q, v, c, room, player.arrays(init(n, room, x)), x)
        count = np.array(c.count)
    made = Verdicts(*(np.asarray(mine, array.dtype) for mine, array in zip(v, room_for)))
    evictions, loads, fresh = (int(count[field]) for field in (machine.EVICTIONS, machine.LOADS, machine.FRESH))
    return made._replace(
        loads=made.loads[:loads], evicted=made.evicted[:evictions], evicted_for=made.evicted_for[:evictions],
        fresh=made.fresh[:fresh], fresh_by=made.fresh_by[:fresh],
    )  # fmt: skip


def _verdicts(part: Part) -> Verdicts:
    """Room for the verdicts of a part; there are at most as many evictions as loads. Memory that is not written costs nothing."""
    requests, guesses = len(part.obj), len(part.guess_obj)
    return Verdicts(
        np.empty(requests, np.int8), np.empty(requests + 1, np.uint32), np.zeros(requests, np.int32),
        np.zeros(guesses, np.int8), np.empty(requests + guesses, np.int32), np.empty(requests + guesses, np.int32),
        np.empty(len(part.events), np.int64), np.empty(guesses, np.uint32), np.empty(guesses, np.uint32),
    )  # fmt: skip


def _extras(part: Part, eviction: ModuleType, size: Ints, seed: int) -> tuple[policy.Extras, Ints]:
    """What the policy NEEDS, and the next event of each request (empty when nobody asks)."""
    needs, loads = getattr(eviction, "NEEDS", ()), len(part.obj) + len(part.guess_obj)
    following: Ints = np.zeros(0, np.int64)
    first: Ints = following
    if "next_use" in needs:
        following, first = part.future
    high, low = splitmix64(seed, loads) if "random" in needs else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    return policy.Extras(size, np.array([len(part.events)]), first, high, low), following


def splitmix64(seed: int, n: int) -> tuple[Ints, Ints]:
    """Outputs 0 … n-1 of SplitMix64 (Steele, Lea, Flood 2014), as upper and lower 32 bits."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed % 2**64) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(32)).astype(np.int64), (z & np.uint64(0xFFFFFFFF)).astype(np.int64)
