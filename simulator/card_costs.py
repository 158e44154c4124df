"""Costs under an engine that deals whole layers to several cards, as llama.cpp does by default (--split-mode layer).

The cards work one after the other: each layer costs what it costs on the card that has it. Where the next layer is another card's, the
hidden states of the pass are sent there, as 32-bit numbers (ggml keeps activations so).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Self

from simmoe.simulator.arrays import Ints
from simmoe.simulator.costs import Chain, Piece
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware, Tier
from simmoe.simulator.nouns.model import Layer, ModelShape
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.pass_sizes import PassSize
from simmoe.simulator.physics.link import transfer_ps
from simmoe.simulator.runtime_costs import RuntimeCosts
from simmoe.simulator.runtime_products import LAWS

NUMBER_BYTES = 4
MESSAGE = "messages between cards"
CARD = "card "  # word of a layer here, with the number of the card that has it


class CardCosts(RuntimeCosts):
    """Costs of every pass of a trace on several cards. What is nobody's, such as the CPU, is asked of the first one."""

    def __init__(
        self, hw: Hardware, model: ModelShape, trace: Trace, runtime: Runtime, owners: Sequence[int], **how: Any
    ) -> None:
        """owners: the card of each layer, and of the output. how: as of RuntimeCosts. Raises UserError."""
        layers = [replace(one, features=(*one.features, f"{CARD}{card}")) for one, card in zip(model.layers, owners)]
        model = replace(model, layers=tuple(layers))
        super().__init__(hw.alone(0), model, trace, runtime, **how)
        if not model.width:
            raise UserError(
                f"the model {model.name} states no width (numbers of a hidden state), which cards hand to each other; add it to the file"
            )
        self.owners, self.fabric, self.links = tuple(owners), hw.fabric, hw.links
        alone = [hw.alone(number) for number in range(len(hw.devices))]
        first = [next(n for n, other in enumerate(alone) if _same(one, other)) for one in alone]
        made = {n: RuntimeCosts(alone[n], model, trace, runtime, **how) for n in dict.fromkeys(first)}
        for costs in made.values():
            costs.rate = self.rate  # work is counted at one rate
        self.unlike, self.cards = list(made.values()), [made[n] for n in first]
        self.laws = LAWS ** len(self.unlike)
        self.gaps = [(self.n_pieces,) * sent + gap for sent, gap in zip(self._sent(), self.gaps)]
        self.n_pieces += 1  # the message, behind the head

    def draft(self, ps: Ints) -> None:
        super().draft(ps)
        for costs in self.unlike:
            costs.sizes = self.sizes  # a law is asked for by size

    def pass_by_pass(self) -> Self:
        other = super().pass_by_pass()
        begun = {costs: costs.pass_by_pass() for costs in self.unlike}
        other.unlike, other.cards = list(begun.values()), [begun[costs] for costs in self.cards]
        return other

    def meet(self, size: PassSize, trace: Trace) -> None:
        for costs in self.unlike:
            costs.meet(size, trace)

    def _sent(self) -> list[int]:
        """Messages before each MoE layer since the one before, and behind the last."""
        ends = [0, *self.model.moe_layers, len(self.model.layers)]
        changes = [one != other for one, other in pairwise(self.owners)]
        return [sum(changes[begin:end]) for begin, end in pairwise(ends)]

    def _of(self, layer: Layer) -> RuntimeCosts:
        word = next(word for word in layer.features if word.startswith(CARD))
        return self.cards[int(word.removeprefix(CARD))]

    def _at(self, column: int) -> RuntimeCosts:
        return self._of(self.expert_layers[column])

    def message_ps(self, rows: int) -> int:
        """Time in which the hidden states of so many rows reach the next card."""
        count_bytes = rows * self.model.width * NUMBER_BYTES
        return 0 if self.fabric is None else transfer_ps(count_bytes, self.fabric.bytes_per_s, self.fabric.latency_ps)

    def pieces(self, size: PassSize) -> list[Piece]:
        if size not in self._pieces:
            kinds = [piece for layer in self.kinds for piece in self._of(layer).dense_pieces(layer, size)]
            message = self._launch_of(MESSAGE, self.message_ps(size.tokens))
            self._pieces[size] = [
                *kinds,
                self.cards[self.owners[-1]].head_piece(size),
                message,
                *self.draft_pieces(size),
            ]
        return self._pieces[size]

    def parts_of_cards(self, number: int, counts: Ints, slots: Ints) -> dict[int, int]:
        """How long each card that has a part of pass `number` takes for it, messages left out. counts, slots: distinct experts of each MoE
        layer, and (token, slot) pairs."""
        size = self.sizes[number]
        of_kind = {layer: sum(piece.ps for piece in self._of(layer).dense_pieces(layer, size)) for layer in self.kinds}
        parts, law = dict.fromkeys(self.owners, 0), self.law(size)
        for layer, card in zip(self.model.layers, self.owners):
            parts[card] += of_kind[layer]
        for column, number in enumerate(self.model.moe_layers):
            parts[self.owners[number]] += self.shared(column, size.tokens).ps
            if counts[column]:
                parts[self.owners[number]] += self.experts(column, int(counts[column]), int(slots[column]), law).ps
        parts[self.owners[-1]] += self.cards[self.owners[-1]].head_piece(size).ps
        return parts

    def dense_fixed_ps(self, layer: Layer) -> float:
        return RuntimeCosts.dense_fixed_ps(self._of(layer), layer)

    def experts_fixed_ps(self, column: int) -> int:
        return self._at(column).experts_fixed_ps(column)

    def law(self, size: PassSize) -> int:
        """Of each kind of card, as the digits of one number."""
        return sum(costs.law(size) * LAWS**place for place, costs in enumerate(self.unlike))

    def _law_at(self, column: int, law: int) -> int:
        for _ in range(self.unlike.index(self._at(column))):
            law //= LAWS
        return law % LAWS

    def read_work(self, column: int, count: int, law: int = 0) -> int:
        return self._at(column).read_work(column, count, self._law_at(column, law))

    def compute_ps(self, column: int, token_slots: int, law: int = 0) -> int:
        return self._at(column).compute_ps(column, token_slots, self._law_at(column, law))

    def compute_row(self, column: int, most_slots: int, law: int = 0) -> Ints:
        return self._at(column).compute_row(column, most_slots, self._law_at(column, law))

    def shared(self, column: int, tokens: int) -> Chain:
        return self._at(column).shared(column, tokens)

    def carry_ps(self, column: int, count: int) -> int:
        return self._at(column).carry_ps(column, count)


def _same(one: Hardware, other: Hardware) -> bool:
    """Whether two cards compute alike."""
    return _bare(one) == _bare(other)


def _bare(hw: Hardware) -> tuple[ComputeUnit, Tier, Any]:
    unit, memory = replace(hw.device, name="", memory=""), replace(hw.device_memory, name="")
    return unit, memory, replace(hw.link, dst="")
