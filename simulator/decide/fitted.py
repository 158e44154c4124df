"""Room for each MoE layer by what it makes of it: quotas that have the most hits in a text together."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd

import numpy as np

from simmoe.simulator.arrays import Ints

STEPS = 2**15  # of a budget, at most: sizes are rounded up to whole ones


@dataclass(frozen=True, eq=False)
class Fitted:
    """A scope: a quota for each layer, fitted to the hits that it would have had in a text."""

    said: str  # as the user wrote it
    hits: Ints  # [layers, experts + 1] of LRU in the text with so many slots for the layer
    made: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[int, list[Ints]]] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.said

    def rooms(self, expert_bytes: Ints, left: Ints, budget_bytes: int) -> list[int]:
        """Bytes of each layer: at least a slot where the device has experts, at most one for each of these, in all at most the budget.

        By dynamic programming over the layers, exact up to the rounding of sizes. Slots that bring no more hits go to the last layers.
        left: experts of each layer that the device has. The budget holds a slot of each of these.
        """
        sizes, slots = tuple(expert_bytes.tolist()), tuple(left.tolist())
        step, chosen = self._chosen(sizes, slots)
        more = budget_bytes - sum(size for size, n in zip(sizes, slots) if n)
        steps, rooms = min(more // step, len(chosen[0]) - 1), [0] * len(sizes)
        for layer in reversed(range(len(sizes))):
            slot = int(chosen[layer][steps])
            rooms[layer] = slot * sizes[layer]
            steps -= _steps(max(slot - 1, 0) * sizes[layer], step)
        return rooms

    def _chosen(self, sizes: tuple[int, ...], slots: tuple[int, ...]) -> tuple[int, list[Ints]]:
        """Bytes of a step, and of each layer the slots that it has where it and those before it have so many steps together, beside the
        first slot of each, which every budget holds."""
        if (sizes, slots) not in self.made:
            total, step = (
                sum(size * max(n - 1, 0) for size, n in zip(sizes, slots)),
                gcd(*(size for size, n in zip(sizes, slots) if n)),
            )
            step = step if total <= step * STEPS else -(-total // STEPS)
            best: Ints = np.zeros(_steps(total, step) + len(sizes) + 1, np.int64)
            chosen = list[Ints]()
            for hits, size, n in zip(self.hits, sizes, slots):
                best, took = _with(best, [(_steps(size * slot, step), int(hits[slot + 1])) for slot in range(n)])
                chosen.append(took)
            self.made[sizes, slots] = step, chosen
        return self.made[sizes, slots]


def _steps(size: int, step: int) -> int:
    """Rounded up."""
    return -(-size // step)


def _with(best: Ints, options: list[tuple[int, int]]) -> tuple[Ints, Ints]:
    """The most hits within each number of steps with one layer more, and how many slots it has then. best: without the layer; options:
    steps and hits of 1, 2, … slots, none where the device has nothing of the layer."""
    if not options:
        return best, np.zeros(len(best), np.int64)
    most, took = best + options[0][1], np.ones(len(best), np.int64)
    for slot, (cost, hits) in enumerate(options[1:], 2):
        found = best[: max(len(best) - cost, 0)] + hits
        better = found >= most[cost:]
        most[cost:][better], took[cost:][better] = found[better], slot
    return most, took
