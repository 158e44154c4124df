"""What each part of a forward pass costs on a machine: the laws of simulator/physics applied to its figures and a model's sizes.

Time is integer picoseconds; rates are whole bytes per millisecond and work is bytes * 10**9, so that rate * picoseconds is exactly
the work done. What a launch takes beyond the slower of its bytes and its FLOPs (a soft maximum, the fixed cost of a fused kernel) is
added to both its work and its FLOP time, so that the clocks know one rule: launch_ps + max(read, compute).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import NamedTuple, Self

import numpy as np

from simmoe.simulator.arrays import Ints, ints
from simmoe.simulator.cpu_costs import CpuCosts, flops_per_s
from simmoe.simulator.errors import UserError
from simmoe.simulator.link_time import layer_hops_ps, link_bytes_per_s, load_ps, reads_ps
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import Layer, ModelShape, Part
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.pass_sizes import PassSize, pass_sizes
from simmoe.simulator.physics.attention import attention_bytes, attention_flops
from simmoe.simulator.physics.gemm import flops_ps, soft_excess_ps
from simmoe.simulator.physics.grouped import looked_up_ps, soft_shares
from simmoe.simulator.physics.launch import launch_ps
from simmoe.simulator.physics.unified import contended_rate

WORK_PER_BYTE = 10**9


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


class Costs:
    """Costs of every pass of a trace; the same for every cache policy and budget, so that runs can share one."""

    laws = 1  # what a launch over routed experts costs may depend on its pass in so many ways
    alike = 1  # devices that all do the same, of which one is timed (simulator/tensor_parallel.py)
    may_carry = False  # what the CPU has may be carried over the link in some passes, and computed on the device

    def __init__(self, hw: Hardware, model: ModelShape, trace: Trace, *, graphs: bool = False) -> None:
        """graphs: launches are replayed from CUDA graphs."""
        fit_geometry(model, trace)
        self.hw, self.model, self.trace = hw, model, trace
        self.links = hw.links  # over which something may be loaded or carried
        unit = hw.device
        self.launch_ps = launch_ps(unit.launch_ps, unit.graph_launch_ps, graphs)
        grouped = unit.grouped_launch_ps
        self.grouped_extra_ps = 0 if grouped is None else max(0, grouped - self.launch_ps)
        self.soft_shares = soft_shares(unit.grouped_softness)
        self.rate = unit.bytes_per_s // 1000  # bytes per ms
        self.flops_per_s = flops_per_s(hw, unit, model)
        self.contended = hw.unified
        self.slow_rate = self.rate
        if hw.unified:
            memory, load = hw.device_memory.bytes_per_s // 1000, link_bytes_per_s(hw) // 1000
            self.slow_rate = contended_rate(self.rate, memory, load, hw.dram_bytes_per_loaded_byte)
            if self.slow_rate <= 0:
                raise UserError(
                    f"{hw.name}: loads at {hw.link.bytes_per_s:,} B/s × {hw.dram_bytes_per_loaded_byte} leave nothing of the "
                    f"{hw.device_memory.bytes_per_s:,} B/s of {hw.device.memory}; a slower link or a faster memory is needed"
                )
        self.moe_layers = [model.layers[i] for i in model.moe_layers]
        self.devices = 1
        self.places = trace.n_layers  # (MoE layer, device) pairs (simulator/several.py)
        # Of each place whose experts a launch may read; behind them, in the same order, those where it reads low copies.
        self.expert_layers = [*self.moe_layers, *(replace(a, expert=b) for a, b in zip(self.moe_layers, model.low))]
        self.transfer_ps = (
            [load_ps(int(b), hw) for b in model.version_bytes]
            if hw.link.pinned_capacity_bytes is None
            else self.hops_ps[1].tolist()
        )
        self.owner: Ints | None = (
            None  # [rows] the device that runs all but its experts, where that is of each sequence one
        )
        self.homes: tuple[int, ...] = (0,) * (trace.n_layers + 1)  # device that runs what stands before each MoE layer
        self.kinds = list(dict.fromkeys(model.layers))  # layers of one shape cost the same
        self.spans = list(dict.fromkeys(cache.span for layer in self.kinds for cache in layer.caches))
        self.gaps = _gaps(model.layers, self.kinds)
        self.n_pieces = self.gaps[-1][-1] + 1  # the head is the last
        self.draft_ps = np.zeros(0, np.int64)  # [passes] before each; empty without a draft
        self._weights: dict[tuple[str, int, int], Piece] = {}
        self._pieces: dict[PassSize, list[Piece]] = {}
        self._chains: dict[PassSize, list[Chain]] = {}
        self._experts: dict[tuple[int, int, int, int], Chain] = {}
        self._shared: dict[tuple[int, int], Chain] = {}
        self._all_shared: dict[int, int] = {}

    def draft(self, ps: Ints) -> None:
        """Puts what a draft takes before each pass, int64 [passes], in front of the first launch of the pass. Where it takes anything, it
        takes a launch at least."""
        self.draft_ps = np.where(ps > 0, np.maximum(ps, self.launch_ps), 0)
        self.sizes = [size._replace(draft_ps=n) for size, n in zip(self.sizes, self.draft_ps.tolist())]
        self.gaps[0] = (self.n_pieces, *self.gaps[0])
        self.n_pieces += 1

    def draft_pieces(self, size: PassSize) -> list[Piece]:
        """Loads do not slow it: a stated time is what it is."""
        ps = size.draft_ps
        return [Piece("draft", ps, 0, max(ps - self.launch_ps, 0))] if len(self.draft_ps) else []

    def piece(self, name: str, count_bytes: int, flops: int) -> Piece:
        work, flop_ps = count_bytes * WORK_PER_BYTE, flops_ps(flops, self.flops_per_s)
        excess = soft_excess_ps(-(-work // self.rate), flop_ps, self.hw.device.softness)
        return self._launch(name, work + excess * self.rate, flop_ps + excess)

    def _launch(self, name: str, work: int, flop_ps: int) -> Piece:
        return Piece(name, self.launch_ps + max(-(-work // self.rate), flop_ps), work, flop_ps)

    def weights(self, name: str, part: Part, rows: int) -> Piece:
        """A launch over the weights of a part; most passes launch over one row."""
        key = (name, part.bytes, rows * part.flops_per_token)
        if key not in self._weights:
            self._weights[key] = self.piece(*key)
        return self._weights[key]

    def law(self, size: PassSize) -> int:
        """Which of `laws` a pass follows."""
        return 0

    def pass_by_pass(self) -> Self:
        """The same, of passes that are formed while time goes on: none has begun."""
        other = copy(self)
        other.sizes = []
        return other

    def meet(self, size: PassSize, trace: Trace) -> None:
        """A pass of that size begins, whose rows are those of the trace."""

    def experts(self, column: int, count: int, token_slots: int, law: int = 0) -> Chain:
        """One launch over `count` experts of an MoE layer to which `token_slots` (token, slot) pairs are routed."""
        key = (column, count, token_slots, law)
        if key not in self._experts:
            work, flop_ps = self.read_work(column, count, law), self.compute_ps(column, token_slots, law)
            _, extra, shares = self.experts_launch(
                column
            )  # a fixed time, which neither hides nor lengthens the other two
            excess = looked_up_ps(-(-work // self.rate) - extra, flop_ps - extra, shares)
            piece = self._launch("experts", work + excess * self.rate, flop_ps + excess)
            self._experts[key] = Chain(piece.ps, (piece,))
        return self._experts[key]

    def read_work(self, column: int, count: int, law: int = 0) -> int:
        """Work of reading `count` experts of an MoE layer in one fused launch, at the rate that the launch reaches."""
        unit, count_bytes = self.hw.device, count * self.expert_layers[column].expert.bytes
        work = count_bytes * WORK_PER_BYTE
        if unit.grouped_bytes_per_s is not None:
            work = -(-work * self.rate // (unit.grouped_bytes_per_s // 1000))
        return work + self.grouped_extra_ps * self.rate

    def on_path(self, column: int) -> int:
        """1 = the unit that computes the experts of a place also runs what stands before the layer (simulator/several.py)."""
        return 1

    def experts_launch(self, column: int) -> tuple[int, int, Sequence[int]]:
        """Of the unit that computes the experts of a place: launch time, what a fused launch takes beyond it, shares of its soft
        maximum."""
        return self.launch_ps, self.grouped_extra_ps, self.soft_shares

    def rate_of(self, column: int) -> int:
        """Bytes per ms that the unit of a place reads."""
        return self.rate

    def sums_ps(self, size: PassSize) -> list[int]:
        """Time in which several devices add up what they computed, before each gap of a pass, and behind the last one gather the logits;
        empty where they do not."""
        return []

    def sent_ps(self, rows: int) -> int:
        """Time of a message with the hidden states of so many rows to another device; 0 where there is none."""
        return 0

    def compute_ps(self, column: int, token_slots: int, law: int = 0) -> int:
        """FLOP time of `token_slots` (token, slot) pairs in an MoE layer in one fused launch."""
        part = self.expert_layers[column].expert
        return flops_ps(token_slots * part.flops_per_token, self.flops_per_s) + self.grouped_extra_ps

    def compute_row(self, column: int, most_slots: int, law: int = 0) -> Ints:
        """compute_ps of 0 … most_slots token slots."""
        return ints([self.compute_ps(column, n, law) for n in range(most_slots + 1)])

    @cached_property
    def cpu(self) -> CpuCosts:
        """Costs on the CPU. Raises UserError where the machine has none."""
        return CpuCosts(self.hw, self.model)

    def cpu_ps(self, column: int, count: int, token_slots: int) -> int:
        """Time of the CPU for `count` experts of an MoE layer that live in its memory, while no transfer slows it."""
        return self.cpu.ps(column, count, token_slots, self.cpu.rate)

    def carries(self, size: PassSize) -> bool:
        """Whether it is in such a pass."""
        return False

    def carry_ps(self, column: int, count: int) -> int:
        """Time on the link of `count` experts of an MoE layer, all at once."""
        raise NotImplementedError

    def shared(self, column: int, tokens: int) -> Chain:
        """The shared experts of an MoE layer; an empty chain where there are none."""
        key = (column, tokens)
        if key not in self._shared:
            part = self.moe_layers[column].shared
            self._shared[key] = _chain([self.weights("shared", part, tokens)] if part.bytes else [])
        return self._shared[key]

    def pieces(self, size: PassSize) -> list[Piece]:
        """Launches of one layer of each kind, the head, and a draft where there is one; `gaps` refers to them by index."""
        if size not in self._pieces:
            kinds = [piece for layer in self.kinds for piece in self.dense_pieces(layer, size)]
            self._pieces[size] = [
                *kinds,
                self.weights("head", self.model.head, size.sequences),
                *self.draft_pieces(size),
            ]
        return self._pieces[size]

    def chains(self, number: int) -> list[Chain]:
        """For pass `number`: launches before the decisions of each MoE layer, and (last) those after the last MoE layer."""
        size = self.sizes[number]
        if size not in self._chains:
            pieces = self.pieces(size)
            built = {gap: _chain([pieces[i] for i in gap if pieces[i].ps]) for gap in dict.fromkeys(self.gaps)}
            self._chains[size] = [built[gap] for gap in self.gaps]
        return self._chains[size]

    def fixed_ps(self, size: PassSize) -> int:
        """What the launches of a pass take beside bytes and FLOPs, routed experts left out."""
        return sum(len(gap) for gap in self.gaps) * self.launch_ps

    def parts_ps(self, size: PassSize) -> dict[str, int]:
        """Uncontended time of a pass by part, routed experts left out."""
        pieces = self.pieces(size)
        total = dict.fromkeys(("attention", "ffn", "shared", "head", *(piece.name for piece in pieces)), 0)
        for i, times in self._launched.items():
            total[pieces[i].name] = total.get(pieces[i].name, 0) + times * pieces[i].ps
        total["shared"] = self._shared_ps(size.tokens)
        return total

    @cached_property
    def _launched(self) -> Counter[int]:
        """How often each of `pieces` is launched in a pass."""
        return Counter(chain.from_iterable(self.gaps))

    def _shared_ps(self, tokens: int) -> int:
        """Time of all shared experts in a pass of so many tokens."""
        if tokens not in self._all_shared:
            self._all_shared[tokens] = sum(self.shared(place, tokens).ps for place in range(self.places))
        return self._all_shared[tokens]

    @cached_property
    def hops_ps(self) -> Ints:
        """int64 [2, versions * layers]: time of each hop of one load of an expert of each MoE layer, alone, and of a low copy; the first is
        0 where there is one."""
        counts = [layer.n_experts for layer in self.expert_layers]
        return np.array(layer_hops_ps(self.model.version_bytes.tolist(), counts, self.hw), np.int64).T

    @cached_property
    def reads_ps(self) -> Ints:
        """int64 [versions * layers]: how long the bytes of one load leave the memory before the link."""
        return np.array([reads_ps(int(count), self.hw) for count in self.model.version_bytes], np.int64)

    @property
    def decided_bytes(self) -> Ints:
        """int64 [versions * layers]: what an expert of each MoE layer takes of a budget, and a low copy."""
        return self.model.version_bytes * self.alike

    @property
    def rows(self) -> int:
        """Places that a launch over experts may be of: those of the full format, then those of low copies."""
        return self.places * (1 + bool(self.model.low))

    @cached_property
    def dense_ps(self) -> Ints:
        """int64 [passes]: uncontended time of each pass, routed experts left out."""
        each = {size: sum(self.parts_ps(size).values()) for size in set(self.sizes)}
        return np.array([each[size] for size in self.sizes], np.int64)

    def dense_pieces(self, layer: Layer, size: PassSize) -> list[Piece]:
        """Attention, and the FFN of a dense layer."""
        attention = self.piece("attention", *self._attention(layer, size))
        return [attention, self.weights("ffn", layer.ffn, size.tokens)] if _has_ffn(layer) else [attention]

    def _attention(self, layer: Layer, size: PassSize) -> tuple[int, int]:
        """(bytes, FLOPs) of one layer's attention, or of what stands in its place, norms and router in a pass."""
        part, places = layer.attention, [(cache, self.spans.index(cache.span)) for cache in layer.caches]
        read = ((size.kv_positions[i], cache.bytes_per_position) for cache, i in places)
        pairs = ((size.attended[i], cache.flops_per_position) for cache, i in places)
        return (
            attention_bytes(part.bytes, read, size.sequences * layer.state_bytes),
            attention_flops(size.tokens, part.flops_per_token, pairs),
        )

    def traffic(self, size: PassSize) -> tuple[int, int]:
        """(bytes read, FLOPs) of a pass in everything but its routed experts."""
        total_bytes, flops = self.model.head.bytes, size.sequences * self.model.head.flops_per_token
        for layer, alike in self._alike.items():
            read, computed = self._attention(layer, size)
            total_bytes += alike * (read + layer.ffn.bytes + layer.shared.bytes)
            flops += alike * (computed + size.tokens * (layer.ffn.flops_per_token + layer.shared.flops_per_token))
        return total_bytes, flops

    @cached_property
    def _alike(self) -> Counter[Layer]:
        """How many layers of each shape the model has."""
        return Counter(self.model.layers)

    @property
    def shares(self) -> list[PassSize]:
        """PassSize of every pass, or of what each device has of it (simulator/data_parallel.py)."""
        return self.sizes

    def path_size(self, number: int) -> PassSize:
        """What a pass has on the device whose launches make up its time."""
        return self.sizes[number]

    @property
    def all_gaps(self) -> list[tuple[int, ...]]:
        """`gaps`; of several devices those of each, numbered gap * devices + device."""
        return self.gaps

    @cached_property
    def sizes(self) -> list[PassSize]:
        """PassSize of every pass."""
        return pass_sizes(self.trace, self.spans)


def _has_ffn(layer: Layer) -> bool:
    return not layer.n_experts and layer.ffn.bytes > 0


def _chain(pieces: list[Piece]) -> Chain:
    return Chain(sum(p.ps for p in pieces), tuple(pieces))


def _gaps(layers: tuple[Layer, ...], kinds: list[Layer]) -> list[tuple[int, ...]]:
    """Indices into Costs.pieces of the launches up to the decisions of each MoE layer, and (last) of those behind the last one."""
    index, columns = 0, {}
    for kind in kinds:
        columns[kind] = range(index, index := index + 1 + _has_ffn(kind))
    gaps: list[tuple[int, ...]] = []
    gap: list[int] = []
    for layer in layers:
        gap += columns[layer]
        if layer.n_experts:
            gaps.append(tuple(gap))
            gap = []
    return [*gaps, (*gap, index)]


def fit_geometry(model: ModelShape, trace: Trace) -> None:
    """Raises UserError when the trace was not recorded on a model of this shape."""
    moe = model.moe_layers
    if trace.n_layers != len(moe):
        raise UserError(
            f"the trace has {trace.n_layers} MoE layers but the model {model.name} has {len(moe)}; name the model of the trace with --model"
        )
    for column, layer in enumerate(moe):
        if model.layers[layer].n_experts != trace.n_experts:
            raise UserError(
                f"the trace has {trace.n_experts} experts per layer but layer {layer} of the model {model.name} has "
                f"{model.layers[layer].n_experts}; name the model of the trace with --model"
            )
        if int(trace.layer_index[column]) != layer:
            raise UserError(
                f"column {column} of the trace is model layer {trace.layer_index[column]} but the MoE layer there of {model.name} is "
                f"{layer}; name the model of the trace with --model"
            )
    if trace.top_k > trace.n_experts:
        raise UserError(f"the trace has top_k {trace.top_k} of {trace.n_experts} experts")
