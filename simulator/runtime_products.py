"""Time of matrix products under an engine: dense ones by their rows, those of routed experts by how many experts are touched and how
many token slots are computed, since the tables of a launch know no more.

A product of n rows takes max(one read of its weights, its bare FLOPs, min(the law of tiles, n / rows_per_read reads)). For experts each of
these is a law of the whole pass, and the pass follows the one that this rule picks for all its experts together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.model import Part
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.physics.kernels import TILE, filled_flops, product_s, tile_bytes

# Laws of a launch over experts: each touched expert is read once; again for every few rows; by tiles of which each touched expert fills
# one or less; by more tiles.
READ, AGAIN, TILES, WIDE_TILES = range(4)
LAWS = 4


@dataclass(frozen=True)
class Products:
    """What an engine's products reach on a machine."""

    read_rate: float  # bytes/s of products of few rows
    flop_rate: float  # FLOP/s of products of many
    tile_rate: float  # bytes/s at which tiles read; 0: never the limit
    half_rows: float  # rows at which half of the FLOPs are wasted
    rows_per_read: float  # rows that one more read of the weights serves

    def dense_s(self, part: Part, rows: int) -> float:
        """A product of `rows` rows."""
        if not part.params:
            return 0.0
        flops = float(rows * part.flops_per_token)
        tiles = filled_flops(flops, rows, self.half_rows) / self.flop_rate + self._tiles_s(flops, rows, part)
        return product_s(rows, part.bytes / self.read_rate, flops / self.flop_rate, tiles, self.rows_per_read)

    def experts_s(self, part: Part, count: int, law: int) -> float:
        """What depends on how many experts are touched: their weights, and what kernels waste on few rows of each."""
        if law == READ:
            return count * part.bytes / self.read_rate
        if law == AGAIN:
            return 0.0
        wasted = count * part.flops_per_token * self.half_rows / self.flop_rate
        return wasted + (count * part.bytes / self.tile_rate if law == TILES and self.tile_rate else 0.0)

    def slots_s(self, part: Part, slots: Any, law: int) -> Any:
        """What depends on how many token slots are computed; of one number of them, or of an array."""
        flops = slots * part.flops_per_token * 1.0
        if law == READ:
            return 0.0 * flops
        if law == AGAIN:
            return np.maximum(slots / self.rows_per_read * part.bytes / self.read_rate, flops / self.flop_rate)
        weight = part.bytes / part.params if law == WIDE_TILES else 0.0
        tiles = tile_bytes(flops, TILE, weight) / self.tile_rate if self.tile_rate else 0.0
        return flops / self.flop_rate + tiles

    def _tiles_s(self, flops: float, rows: int, part: Part) -> float:
        return tile_bytes(flops, rows, part.bytes / part.params) / self.tile_rate if self.tile_rate else 0.0

    def law(self, asked: Iterable[tuple[Part, int, int]]) -> int:
        """Which law a pass follows that asks for so many experts of these parts with so many token slots."""
        parts = list(asked)

        def total(law: int) -> float:
            return sum(
                self.experts_s(part, count, law) + float(self.slots_s(part, slots, law)) for part, count, slots in parts
            )

        read, again, tiles, wide = map(total, range(LAWS))
        if read >= min(again, max(tiles, wide)):
            return READ
        if again <= max(tiles, wide):
            return AGAIN
        return TILES if tiles >= wide else WIDE_TILES


def asked_of(trace: Trace, passes: Iterable[int]) -> tuple[Ints, Ints]:
    """Of each MoE layer, summed over passes: experts that a pass asks for, and token slots."""
    counts, slots = np.zeros(trace.n_layers, np.int64), np.zeros(trace.n_layers, np.int64)
    column = np.arange(trace.n_layers)[None, :, None]
    for number in passes:
        ids = trace.expert_ids[trace.pass_ptr[number] : trace.pass_ptr[number + 1]]
        touched = np.zeros((trace.n_layers, trace.n_experts + 1), bool)
        touched[np.broadcast_to(column, ids.shape), ids] = True  # -1, an unused slot, is the column behind the experts
        counts += touched[:, : trace.n_experts].sum(axis=1)
        slots += (ids >= 0).sum(axis=(0, 2))
    return counts, slots
