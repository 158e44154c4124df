"""Several cards under an engine that deals whole layers to them: which card has which layer, and what each holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np

from simmoe.play.memory import Memory
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import NO_PART, ModelShape
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.simulator.units import nbytes

ENGINES = ("llama.cpp", "ik_llama.cpp")
FLAG = "--tensor-split"


def check(hw: Hardware, runtime: Runtime | None, split: str | None) -> None:
    """Raises UserError where layers are dealt that nothing deals, or to other cards than there are."""
    cards = len(hw.devices)
    if split is not None and cards == 1:
        raise UserError(
            f"{FLAG} {split} deals layers to several cards, and {hw.name} has one; leave it out, or name GPU+GPU"
        )
    if runtime is None or cards == 1:
        return
    if runtime.engine not in ENGINES or runtime.streams:
        raise UserError(
            f"--runtime {runtime.name} is simulated on one device, and {hw.name} has several: name a machine of one, or llama_cpp_cuda, "
            "which deals whole layers to them; without a runtime there are --timeline expert_parallel and tensor_parallel"
        )
    if split is not None:
        shares(split, cards)


def shares(split: str, cards: int) -> tuple[float, ...]:
    """Proportions such as 3/1, one for each card. Raises UserError."""
    parts, example = split.split("/"), "/".join("1" * cards)
    known = all(re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?|\.[0-9]{1,15}", part) for part in parts)
    if not known or not sum(map(float, parts)):
        raise UserError(f"{FLAG} {split!r} names no proportions; write {FLAG} {example}")
    if len(parts) != cards:
        raise UserError(f"{FLAG} {split} names {len(parts)} cards, and the machine has {cards}; write {FLAG} {example}")
    return tuple(map(float, parts))


def dealt(hw: Hardware, layers: int, cpu_blocks: int, split: str | None) -> tuple[int, ...]:
    """The card of each layer, and of the output as one more layer, as llama.cpp deals them: in the proportions of the split, by default
    of the cards' memories, in single precision (it goes by what is free of them). The layers of the CPU count as the first card's."""
    cards = len(hw.devices)
    memories = [hw.alone(card).device_memory.capacity_bytes for card in range(cards)]
    ends = np.array([*accumulate(memories if split is None else shares(split, cards))], np.float32)
    ends /= ends[-1]
    dealt_out = layers + 1 - cpu_blocks
    at = np.arange(dealt_out, dtype=np.float32) / np.float32(dealt_out)
    return (0,) * cpu_blocks + tuple(np.searchsorted(ends, at, side="right").tolist())


def share_of(model: ModelShape, owners: Sequence[int], card: int) -> ModelShape:
    """What a card has of a model: its layers, and the output, which is dealt as one more."""
    mine = tuple(layer for layer, owner in zip(model.layers, owners) if owner == card)
    head = model.head if owners[-1] == card else NO_PART
    return replace(model, layers=mine, head=head, embedding=model.embedding if card == 0 else NO_PART)


@dataclass(frozen=True)
class CardsMemory(Memory):
    """The memories of several cards together; what does not fit is said of the card that it is short on."""

    cards: tuple[Memory, ...] = ()
    owners: tuple[int, ...] = ()

    @property
    def each(self) -> list[Memory]:
        """Of each card, with what the placement left to it."""
        if self.left is None:
            return list(self.cards)
        owners = [self.owners[layer] for layer in self.model.moe_layers]
        of = [[left for left, owner in zip(self.left, owners) if owner == card] for card in range(len(self.cards))]
        return [replace(card, left=tuple(left)) for card, left in zip(self.cards, of)]

    @property
    def usable_bytes(self) -> int:
        return sum(card.usable_bytes for card in self.each)

    @property
    def engine_bytes(self) -> int:
        return sum(card.engine_bytes for card in self.each)

    @property
    def holds_bytes(self) -> int:
        return sum(card.holds_bytes for card in self.each)

    def short_by(self, budget_bytes: int) -> int:
        """A budget of all experts is short by what each card is; of fewer, the cards are taken together."""
        if budget_bytes < self.left_bytes:
            return super().short_by(budget_bytes)
        return sum(card.short_by(card.left_bytes) for card in self.each)

    def with_blocks(self, blocks: int) -> CardsMemory:
        """The same with the experts of the first so many blocks on the CPU."""
        every = [(layer, self.model.layers[layer].n_experts) for layer in self.model.moe_layers]
        return replace(self, left=tuple(0 if layer < blocks else n for layer, n in every))

    def least_blocks(self, budget_bytes: int) -> int | None:
        """The fewest blocks whose experts the CPU has to take so that each card holds all others, and all together so many bytes."""
        tried = ((n, self.with_blocks(n)) for n in range(len(self.model.layers) + 1))
        return next((n for n, left in tried if left.whole and left.left_bytes <= budget_bytes), None)

    @property
    def whole(self) -> bool:
        """Whether each card holds all that is left to it."""
        return not any(card.short_by(card.left_bytes) for card in self.each)

    @property
    def shortest(self) -> str:
        """Which cards are short, and by how much."""
        pairs = [(card, short) for card in self.each if (short := card.short_by(card.left_bytes))]
        return ", ".join(f"{card.hw.name} by {nbytes(short)} of {nbytes(card.usable_bytes)}" for card, short in pairs)

    def told(self, budget_bytes: int) -> list[dict[str, Any]]:
        """Name, layers and memory of each card: all that is left to it is resident, or nothing (the bound)."""
        found = []
        for number, (name, card) in enumerate(zip(self.hw.devices, self.each)):
            mine = [layer for layer, owner in enumerate(self.owners[:-1]) if owner == number]
            layers = f"{mine[0]}-{mine[-1]}" if mine else "none"
            found.append(
                {"name": name, "layers": layers, "memory_bytes": card.split(card.left_bytes if budget_bytes else 0)}
            )
        return found

    def require(self, budget_bytes: int, page_cache_bytes: int = 0, emptied: bool = False) -> None:
        for card in self.each:
            card.require_device(min(card.left_bytes, max(card.holds_bytes, card.least_bytes)))
        self.require_others(budget_bytes, page_cache_bytes, emptied)
