"""Costs where every device runs the whole model but for its experts, on the sequences that are its own: data-parallel attention.

Sequence s belongs to device s mod N, which holds its KV cache. Times by cause are those of the first device.
"""

from __future__ import annotations

from functools import cached_property
from typing import Self

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.costs import Chain, Piece
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.layout import Layout
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.pass_sizes import PassSize, pass_sizes
from simmoe.simulator.several import SeveralCosts


def owner_of(trace: Trace, devices: int) -> Ints:
    """int64 [rows]: the device that has the row's sequence."""
    owner: Ints = trace.sequence.astype(np.int64) % devices
    return owner


class DataParallelCosts(SeveralCosts):
    """Costs by place; a share is what one device has of a pass, numbered pass * devices + device."""

    def __init__(self, hw: Hardware, model: ModelShape, trace: Trace, layout: Layout, *, graphs: bool = False) -> None:
        super().__init__(hw, model, trace, layout, graphs=graphs)
        self.owner: Ints = owner_of(trace, layout.devices)

    @cached_property
    def shares(self) -> list[PassSize]:
        """[shares] PassSize of each; of one without rows all is 0."""
        return self._shares_of(self.trace)

    def _shares_of(self, trace: Trace) -> list[PassSize]:
        """Of the passes of a trace whose rows belong to `owner`: each share with rows is counted as a pass."""
        nothing = PassSize(0, 0, (0,) * len(self.spans), (0,) * len(self.spans))
        found = [nothing] * (trace.n_passes * self.devices)
        share = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr)) * self.devices + self.owner
        rows, (there, counts) = np.argsort(share, kind="stable"), np.unique(share, return_counts=True)
        part = trace.taken(rows, np.concatenate(([0], np.cumsum(counts))), trace.phase[there // self.devices])
        for one, size in zip(there.tolist(), pass_sizes(part, self.spans)):
            found[one] = size
        return found

    def pass_by_pass(self) -> Self:
        other = super().pass_by_pass()
        other.shares = []
        return other

    def meet(self, size: PassSize, trace: Trace) -> None:
        """The owners are those of the rows of the pass."""
        self.owner = owner_of(trace, self.devices)
        self.shares += self._shares_of(trace)

    def pieces(self, size: PassSize) -> list[Piece]:
        """A device without rows launches nothing."""
        made = super().pieces(size)
        return made if size.tokens else [Piece(piece.name, 0, 0, 0) for piece in made]

    def shared(self, column: int, tokens: int) -> Chain:
        costs, layer = self._at(column)
        return costs.shared(layer, tokens) if tokens else Chain(0, ())

    def chains(self, number: int) -> list[Chain]:
        pieces, device = self.pieces(self.shares[number]), number % self.devices
        gaps = [[pieces[i] for i in gap] for gap in self.all_gaps[device :: self.devices]]
        return [Chain(sum(piece.ps for piece in gap), tuple(gap)) for gap in gaps]

    def path_size(self, number: int) -> PassSize:
        return self.shares[number * self.devices]

    def _shared_ps(self, tokens: int) -> int:
        return sum(self.shared(column * self.devices, tokens).ps for column in range(self.trace.n_layers))

    @cached_property
    def dense_ps(self) -> Ints:
        each = {size: sum(self.parts_ps(size).values()) for size in set(self.shares[:: self.devices])}
        return np.array([each[size] for size in self.shares[:: self.devices]], np.int64)
