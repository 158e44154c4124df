"""What each part of a forward pass costs on a machine: a launch, then the slower of reading its bytes and computing its FLOPs.

The roofline of Williams, Waterman and Patterson (CACM 2009) with a hard maximum. Time is integer picoseconds; rates are whole bytes
per millisecond and work is bytes * 10**9, so that rate * picoseconds is exactly the work done.
"""

from __future__ import annotations

from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np

from simmoe.simulator.errors import UserError
from simmoe.simulator.types import Hardware, Layer, Link, ModelShape, Part, Trace

WORK_PER_BYTE = 10**9
PS_PER_S = 10**12


class Piece(NamedTuple):
    """One launch on the compute unit."""

    name: str
    ps: int  # duration, launch included, while no transfer slows the memory down
    work: int  # bytes read * 10**9
    flop_ps: int  # time of its FLOPs alone


class Chain(NamedTuple):
    """Launches that follow each other with no decision between them."""

    ps: int
    pieces: tuple[Piece, ...]


class PassSize(NamedTuple):
    """What the cost of a pass depends on, beside its routing."""

    tokens: int
    sequences: int  # rows of the LM head
    kv_positions: int  # positions of KV cache read, summed over sequences
    attended: int  # (token, position) pairs


def transfer_ps(count_bytes: int, link: Link) -> int:
    """Duration of one transfer: latency + ⌈bytes · 10¹² / rate⌉."""
    return link.latency_ps + -(-count_bytes * PS_PER_S // link.bytes_per_s)


class Costs:
    """Costs of every pass of a trace; the same for every cache policy and budget, so that runs can share one."""

    def __init__(self, hw: Hardware, model: ModelShape, trace: Trace) -> None:
        fit_geometry(model, trace)
        self.hw, self.model, self.trace = hw, model, trace
        unit = hw.device
        self.launch_ps = unit.launch_ps
        self.rate = unit.bytes_per_s // 1000  # bytes per ms
        self.flops_per_s = _flops_per_s(hw, model)
        self.contended = hw.unified
        self.slow_rate = self.rate
        if hw.unified:
            left = hw.device_memory.bytes_per_s // 1000 - hw.dram_bytes_per_loaded_byte * (hw.link.bytes_per_s // 1000)
            self.slow_rate = min(self.rate, left)
            if left <= 0:
                raise UserError(
                    f"{hw.name}: loads at {hw.link.bytes_per_s:,} B/s × {hw.dram_bytes_per_loaded_byte} leave nothing of the "
                    f"{hw.device_memory.bytes_per_s:,} B/s of {hw.device.memory}; a slower link or a faster memory is needed"
                )
        self.transfer_ps = [transfer_ps(int(b), hw.link) for b in model.expert_bytes]
        self.moe_layers = [model.layers[i] for i in model.moe_layers]
        self.kinds = list(dict.fromkeys(model.layers))  # layers of one shape cost the same
        self.gaps = _gaps(model.layers, self.kinds)
        self._chains: dict[PassSize, list[Chain]] = {}
        self._experts: dict[tuple[int, int, int], Chain] = {}
        self._shared: dict[tuple[int, int], Chain] = {}

    def piece(self, name: str, count_bytes: int, flops: int) -> Piece:
        work, flop_ps = count_bytes * WORK_PER_BYTE, -(-flops * PS_PER_S // self.flops_per_s)
        return Piece(name, self.launch_ps + max(-(-work // self.rate), flop_ps), work, flop_ps)

    def weights(self, name: str, part: Part, rows: int) -> Piece:
        return self.piece(name, part.bytes, rows * part.flops_per_token)

    def experts(self, column: int, count: int, token_slots: int) -> Chain:
        """One launch over `count` experts of an MoE layer to which `token_slots` (token, slot) pairs are routed."""
        key = (column, count, token_slots)
        if key not in self._experts:
            part = self.moe_layers[column].expert
            piece = self.piece("experts", count * part.bytes, token_slots * part.flops_per_token)
            self._experts[key] = Chain(piece.ps, (piece,))
        return self._experts[key]

    def shared(self, column: int, tokens: int) -> Chain:
        """The shared experts of an MoE layer; an empty chain where there are none."""
        key = (column, tokens)
        if key not in self._shared:
            part = self.moe_layers[column].shared
            self._shared[key] = _chain([self.weights("shared", part, tokens)] if part.bytes else [])
        return self._shared[key]

    def pieces(self, size: PassSize) -> list[Piece]:
        """Launches of one layer of each kind, and the head last; `gaps` refers to them by index."""
        kinds = [piece for layer in self.kinds for piece in self._dense_pieces(layer, size)]
        return [*kinds, self.weights("head", self.model.head, size.sequences)]

    def chains(self, number: int) -> list[Chain]:
        """For pass `number`: launches before the decisions of each MoE layer, and (last) those after the last MoE layer."""
        size = self.sizes[number]
        if size not in self._chains:
            pieces = self.pieces(size)
            built = {gap: _chain([pieces[i] for i in gap]) for gap in dict.fromkeys(self.gaps)}
            self._chains[size] = [built[gap] for gap in self.gaps]
        return self._chains[size]

    def parts_ps(self, size: PassSize) -> dict[str, int]:
        """Uncontended time of a pass by part, routed experts left out."""
        total = dict.fromkeys(("attention", "ffn", "shared", "head"), 0)
        pieces = self.pieces(size)
        for i in chain.from_iterable(self.gaps):
            total[pieces[i].name] += pieces[i].ps
        total["shared"] = sum(self.shared(column, size.tokens).ps for column in range(self.trace.n_layers))
        return total

    def _dense_pieces(self, layer: Layer, size: PassSize) -> list[Piece]:
        """Attention, and the FFN of a dense layer."""
        part = layer.attention
        attention = self.piece(
            "attention",
            part.bytes + size.kv_positions * layer.kv_bytes_per_position,
            size.tokens * part.flops_per_token + size.attended * layer.flops_per_position,
        )
        return [attention] if layer.n_experts else [attention, self.weights("ffn", layer.ffn, size.tokens)]

    @cached_property
    def sizes(self) -> list[PassSize]:
        """PassSize of every pass."""
        trace = self.trace
        starts, tokens = trace.pass_ptr[:-1], np.diff(trace.pass_ptr)
        seen = trace.position.astype(np.int64) + 1
        number = np.repeat(np.arange(trace.n_passes), tokens)
        order = np.lexsort((seen, trace.sequence, number))
        last = np.ones(len(order), bool)  # the largest position of each (pass, sequence)
        last[:-1] = (np.diff(number[order]) != 0) | (np.diff(trace.sequence[order]) != 0)
        sequences = np.bincount(number[order][last], minlength=trace.n_passes)
        kv = np.bincount(number[order][last], seen[order][last], minlength=trace.n_passes).astype(np.int64)
        attended = np.add.reduceat(seen, starts)
        return [PassSize(*row) for row in zip(tokens.tolist(), sequences.tolist(), kv.tolist(), attended.tolist())]


def _chain(pieces: list[Piece]) -> Chain:
    return Chain(sum(p.ps for p in pieces), tuple(pieces))


def _gaps(layers: tuple[Layer, ...], kinds: list[Layer]) -> list[tuple[int, ...]]:
    """Indices into Costs.pieces of the launches up to the decisions of each MoE layer, and (last) of those behind the last one."""
    index, columns = 0, {}
    for kind in kinds:
        columns[kind] = range(index, index := index + (1 if kind.n_experts else 2))
    gaps: list[tuple[int, ...]] = []
    gap: list[int] = []
    for layer in layers:
        gap += columns[layer]
        if layer.n_experts:
            gaps.append(tuple(gap))
            gap = []
    return [*gaps, (*gap, index)]


def _flops_per_s(hw: Hardware, model: ModelShape) -> int:
    rates = hw.device.flops_per_s
    if model.compute not in rates:
        raise UserError(
            f"{hw.name}: {hw.device.name} states no FLOP rate for {model.compute}, in which {model.name} at format {model.format} "
            f"computes; stated: {', '.join(rates)}; choose another --format or add units.{hw.device.name}.flops.{model.compute}"
        )
    return rates[model.compute]


def fit_geometry(model: ModelShape, trace: Trace) -> None:
    """Raises UserError when the trace was not recorded on a model of this shape."""
    moe = model.moe_layers
    if trace.n_layers != len(moe):
        raise UserError(
            f"the trace has {trace.n_layers} MoE layers but the model {model.name} has {len(moe)}; name the model with --model"
        )
    for column, layer in enumerate(moe):
        if model.layers[layer].n_experts != trace.n_experts:
            raise UserError(
                f"the trace has {trace.n_experts} experts per layer but layer {layer} of the model {model.name} has "
                f"{model.layers[layer].n_experts}; name the model with --model"
            )
        if int(trace.layer_index[column]) != layer:
            raise UserError(
                f"column {column} of the trace is model layer {trace.layer_index[column]} but the MoE layer there of {model.name} is "
                f"{layer}; name the model with --model"
            )
    if trace.top_k > trace.n_experts:
        raise UserError(f"the trace has top_k {trace.top_k} of {trace.n_experts} experts")
