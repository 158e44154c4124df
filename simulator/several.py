"""Costs on a machine with several devices: each part of a pass on the device that runs it.

A place is a pair of MoE layer and device, numbered layer * devices + device. With one device places are MoE layers.
"""

from __future__ import annotations

from collections.abc import Sequence

from simmoe.simulator.costs import Chain, Costs, Piece
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.layout import Layout
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.pass_sizes import PassSize
from simmoe.simulator.physics.link import transfer_ps

ACTIVATION_BYTES = 2  # of one number that devices hand on: 16 bit


class SeveralCosts(Costs):
    """Costs by place: what a device computes for an MoE layer, and which device runs the launches between the decisions."""

    def __init__(self, hw: Hardware, model: ModelShape, trace: Trace, layout: Layout, *, graphs: bool = False) -> None:
        super().__init__(hw, model, trace, graphs=graphs)
        require_width(model)
        self.layout, self.devices, self.homes = layout, layout.devices, layout.gaps
        self.each = [Costs(hw.alone(number), model, trace, graphs=graphs) for number in range(layout.devices)]
        self.places = trace.n_layers * layout.devices
        one, base = self.n_pieces, self.gaps
        self.n_pieces = one * layout.devices
        self.gaps_of_all = [tuple(i + one * device for i in gap) for gap in base for device in range(layout.devices)]
        self.gaps = [tuple(i + one * device for i in gap) for gap, device in zip(base, layout.gaps)]

    @property
    def all_gaps(self) -> list[tuple[int, ...]]:
        return self.gaps_of_all

    def _at(self, place: int) -> tuple[Costs, int]:
        """The costs of the device of a place, and its MoE layer."""
        column, device = divmod(place, self.layout.devices)
        return self.each[device], column

    def experts(self, column: int, count: int, token_slots: int, law: int = 0) -> Chain:
        costs, layer = self._at(column)
        return costs.experts(layer, count, token_slots, law)

    def read_work(self, column: int, count: int, law: int = 0) -> int:
        costs, layer = self._at(column)
        return costs.read_work(layer, count, law)

    def on_path(self, column: int) -> int:
        layer, device = divmod(column, self.layout.devices)
        return int(device == self.layout.gaps[layer])

    def experts_launch(self, column: int) -> tuple[int, int, Sequence[int]]:
        return self._at(column)[0].experts_launch(column)

    def rate_of(self, column: int) -> int:
        return self._at(column)[0].rate

    def compute_ps(self, column: int, token_slots: int, law: int = 0) -> int:
        costs, layer = self._at(column)
        return costs.compute_ps(layer, token_slots, law)

    def shared(self, column: int, tokens: int) -> Chain:
        """Shared experts run where the layer does."""
        costs, layer = self._at(column)
        here = column % self.layout.devices == self.layout.gaps[layer]
        return costs.shared(layer, tokens) if here else Chain(0, ())

    def pieces(self, size: PassSize) -> list[Piece]:
        return [piece for costs in self.each for piece in costs.pieces(size)]

    def sent_ps(self, rows: int) -> int:
        fabric = self.hw.fabric
        if not rows or fabric is None:
            return 0
        return transfer_ps(rows * self.model.width * ACTIVATION_BYTES, fabric.bytes_per_s, fabric.latency_ps)


def require_width(model: ModelShape) -> None:
    """Raises UserError for a model of which it is not known how much devices hand to each other."""
    if not model.width:
        raise UserError(
            f"the model {model.name} states no width (numbers of a hidden state), which devices hand to each other; add it to the file"
        )
