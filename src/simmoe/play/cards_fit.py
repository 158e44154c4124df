"""What cards refuse to which an engine deals layers, and what makes a model fit on them: another split, or blocks whose experts are the
CPU's."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from simmoe import policies
from simmoe.play.cards import FLAG, CardsMemory
from simmoe.simulator.errors import UserError

if TYPE_CHECKING:
    from simmoe.play.workload import Workload


def refuse(workload: Workload, placement: str | None, timeline: str) -> None:
    """Raises UserError for what cards cannot honour to which an engine deals whole layers."""
    said = f"{workload.runtime and workload.runtime.name} deals whole layers to the cards of {workload.hw.name}"
    unit = (
        getattr(policies.load("placement", placement.partition("=")[0].partition(":")[0]), "UNIT", None)
        if placement
        else None
    )
    if unit in ("proportions", "devices"):
        raise UserError(
            f"--placement {placement} gives experts to devices, and {said}: leave it out, or give them in shares with {FLAG}"
        )
    if getattr(policies.load("timeline", timeline), "SEVERAL_DEVICES", False):
        raise UserError(
            f"--timeline {timeline} is of devices that compute a layer together, and {said}, one after the other: leave it out"
        )


def ways_to_hold(workload: Workload, memory: CardsMemory) -> str:
    """Which cards are short, and what makes all fit: another split of the layers, else the fewest blocks on the CPU. Empty where nothing
    does."""
    if split := split_that_fits(workload, memory.left):
        return f"short are {memory.shortest}; --tensor-split {split} fits"
    if workload.hw.cpu is None or (found := least_over_cards(workload)) is None:
        return ""
    blocks, split = found
    how = f" with {FLAG} {split}" if split else ""
    return f"short are {memory.shortest}; the least N that fits is --placement n_cpu_moe={blocks}{how}"


def least_over_cards(workload: Workload) -> tuple[int, str | None] | None:
    """The fewest blocks whose experts the CPU has to take so that the cards hold all others, and the split with which they do; None in its
    place for the split that is said, or of itself. None where no number does."""
    memory = workload.memory
    assert isinstance(memory, CardsMemory)
    low, high = workload.cpu_blocks, len(workload.model.layers)

    def split_of(blocks: int) -> str | None:
        mine = memory.with_blocks(blocks)
        if workload.knobs.tensor_split is not None or mine.whole:
            return "" if mine.whole else None
        return split_that_fits(workload, mine.left)

    if split_of(high) is None:
        return None
    while low < high:  # more blocks on the CPU never leave a card less room, but for the matrix that is carried
        middle = (low + high) // 2
        low, high = (low, middle) if split_of(middle) is not None else (middle + 1, high)
    return low, split_of(low) or None


def split_that_fits(workload: Workload, left: tuple[int, ...] | None, last: bool = False) -> str | None:
    """A split with which each card holds what is left to it: every card from the first on takes as many layers as it holds, the last one
    the rest; or, from the last card on, the first one. None where there is none."""
    cards = len(workload.hw.devices)
    counts, rest = [0] * cards, len(workload.model.layers) + 1 - workload.cpu_blocks
    *most, end = reversed(range(cards)) if last else range(cards)

    def too_many(card: int, n: int) -> bool:
        return not _holds(workload, left, [*counts[:card], n, *counts[card + 1 :]], card, end)

    for card in most:  # one layer more never leaves a card more room
        held = bisect_left(range(rest + 1), True, key=partial(too_many, card)) - 1
        if held < 0:
            return None
        counts[card], rest = held, rest - held
    return None if too_many(end, rest) else "/".join(map(str, [*counts[:end], rest, *counts[end + 1 :]]))


def _holds(workload: Workload, left: tuple[int, ...] | None, counts: Sequence[int], card: int, end: int) -> bool:
    """Whether a card holds its layers where the cards have so many, and the one at the end all others."""
    others = len(workload.model.layers) + 1 - workload.cpu_blocks - sum(counts)
    dealt_so = workload.split("/".join(str(n + others * (i == end)) for i, n in enumerate(counts))).memory
    assert isinstance(dealt_so, CardsMemory)
    one = replace(dealt_so, left=left).each[card]
    return not one.short_by(one.left_bytes)
