"""Costs under an engine: the laws of simulator/physics/kernels.py with the engine's constants and the machine's figures.

A pass of few rows reads its weights once, at the rate that matrix-vector kernels reach, and every kernel has its fixed time. In a pass of
many rows products are bound by FLOPs and by what their tiles read (runtime_products.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from math import ceil
from typing import Self

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.costs import Chain, Costs, Piece
from simmoe.simulator.cpu_costs import CpuCosts
from simmoe.simulator.link_time import link_bytes_per_s
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import MIXERS, Layer, ModelShape, Part
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.pass_sizes import PassSize
from simmoe.simulator.physics import PS_PER_S
from simmoe.simulator.physics.gemv import read_ps
from simmoe.simulator.physics.grouped import soft_shares
from simmoe.simulator.physics.kernels import (
    FEW_ROWS,
    clocked_per_s,
    kernel_s,
    read_bytes_per_s,
)
from simmoe.simulator.runtime_cpu import as_device_bytes_per_s, beside_a_device
from simmoe.simulator.runtime_figures import CPU, check_figures
from simmoe.simulator.runtime_products import LAWS, READ, Products, asked_of

IN_PLACE = (*MIXERS, "no_mixer")  # of attention
BESIDE = ("query_lora", "indexer", "qk_norm", "qkv_bias", "output_gate", "post_norm", "sinks", "dense_beside")
OF_EXPERTS = ("expert_bias", "ungated", "router_bias")
EXACT = 2**53
EQUAL_CAPS = 2**-0.25  # of a rate is left where two limits are equal (physics/kernels.py)
ON_CPU = "on the CPU"  # word of a layer here: the CPU has all of it
KV_ON_CPU = "KV on the CPU"  # the CPU computes its attention


class RuntimeCosts(Costs):
    """Costs of every pass of a trace under an engine."""

    laws = LAWS

    def __init__(
        self, hw: Hardware, model: ModelShape, trace: Trace, runtime: Runtime, *, threads: int | None = None,
        batch_threads: int | None = None, offload: bool = True,
        cpu_blocks: int = 0, kv_on_cpu: bool = False, head_on_cpu: bool = False,
    ) -> None:  # fmt: skip
        """threads: that the engine uses on the CPU (default: one for each core); batch_threads: in passes of many rows (default: as many).
        offload: large passes may carry what the CPU has over the link. cpu_blocks: the first so many layers are the CPU's whole, but for
        experts, which the placement gives. kv_on_cpu: so are
        all caches; head_on_cpu: so is the output. Raises UserError for a machine without the figures that the
        engine's constants stand on."""
        marked = replace(
            model, layers=tuple(_marked(i, layer, cpu_blocks, kv_on_cpu) for i, layer in enumerate(model.layers))
        )
        super().__init__(replace(hw, link=replace(hw.link, host_memory=runtime.host_memory)), marked, trace)
        check_figures(hw, runtime)
        self.batch_threads = batch_threads or threads
        self.runtime, self.threads, self.may_carry = runtime, threads, offload and runtime.carries and not hw.unified
        self.head_on_cpu = head_on_cpu
        self.launch_ps = self.grouped_extra_ps = 0  # fixed times are part of each piece
        self.soft_shares = soft_shares(1.0)  # the time of reading and the time of computing add up
        unit, peak = hw.device, _peak(hw)
        clock, cores = float(unit.clock_hz or 0), float(self._processors(threads))
        kernel, share = runtime.of("decode.kernel"), runtime.known("decode.memory")
        self._kernel_ps = kernel_s(kernel, clock) * PS_PER_S if kernel else 0.0
        read = read_bytes_per_s(peak, share, runtime.of("decode.per_clock"), cores, clock)
        self._cache_rate = share * peak
        if runtime.device == CPU:
            read = self._cache_rate = as_device_bytes_per_s(hw, runtime, self._processors(threads))
        self.products = Products(
            read, self._rate_of("prompt.flops_per_clock", "prompt.peak"), (runtime.of("prompt.tiles") or 0.0) * peak,
            runtime.of("prompt.rows") or 0.0, runtime.of("prompt.rows_per_read") or FEW_ROWS,
        )  # fmt: skip
        self._laws: dict[PassSize, int] = {}
        self._attention_rate = self._rate_of("prompt.attention_flops_per_clock", "prompt.attention_peak")
        if cpu_blocks or kv_on_cpu or head_on_cpu:
            _ = self.cpu  # says what machine or engine has not

    def _rate_of(self, per_clock: str, share: str) -> float:
        """FLOPs per second: so many in a clock of each processor, or a share of the peak; else what the profile states."""
        unit, runtime = self.hw.device, self.runtime
        if (each := runtime.of(per_clock)) is not None and unit.clock_hz:
            return clocked_per_s(each, float(self._processors(self.batch_threads)), float(unit.clock_hz))
        peak = self.hw.figures.get(f"peak.flops.{self.model.compute}")
        used = (
            self._processors(self.batch_threads) / unit.processors if runtime.device == CPU and unit.processors else 1.0
        )
        return used * (runtime.of(share) or 1.0) * (peak.value if peak else self.flops_per_s)

    def _processors(self, threads: int | None) -> int:
        """Of the device; of a CPU the cores on which one of so many threads runs."""
        every = self.hw.device.processors or 0
        return min(threads or every, every) if self.runtime.device == CPU else every

    @property
    def kernels_hold(self) -> bool:
        """Whether what the kernels take in, and not the memory, is the lower of the two that limit reading: two equal ones leave 84 %."""
        return self.products.read_rate < EQUAL_CAPS * self._cache_rate

    # --- kernels ----------------------------------------------------------------------------------------------------

    def _fixed_ps(self, *parts: str) -> float:
        return sum(self.runtime.kernels.get(part, 0) for part in parts) * self._kernel_ps

    def mixer_kernels(self, layer: Layer) -> tuple[str, ...]:
        """What the engine launches small kernels for in attention, or in what stands in its place."""
        mixer = next((word for word in IN_PLACE if word in layer.features), "attention")
        return (mixer, *(word for word in BESIDE if word in layer.features))

    def fixed_ps(self, size: PassSize) -> int:
        """Of all kernels of a pass, those of routed experts too, and of the layers and the pass themselves."""
        layers = [layer for layer in self.model.layers if ON_CPU not in layer.features]
        dense = sum(self.dense_fixed_ps(layer) for layer in layers)
        return round(self._end_fixed_ps() + dense) + sum(self.experts_fixed_ps(place) for place in range(self.places))

    def dense_fixed_ps(self, layer: Layer) -> float:
        """Of a layer but for its routed experts."""
        parts = ["ffn"] * (not layer.n_experts) + ["shared"] * bool(layer.shared.bytes)
        return self._layer_fixed_ps(layer) + self._fixed_ps(*parts)

    def _end_fixed_ps(self) -> float:
        """Of the end of a pass, and of the pass itself."""
        return self._fixed_ps("end") + (self.runtime.of("decode.pass") or 0.0) * PS_PER_S

    # --- pieces -----------------------------------------------------------------------------------------------------

    def _piece(self, name: str, seconds: float, fixed_ps: float) -> Piece:
        return self._launch_of(name, ceil(fixed_ps + seconds * PS_PER_S))

    def _launch_of(self, name: str, ps: int) -> Piece:
        return Piece(name, ps, ps * self.rate, ps)

    def pieces(self, size: PassSize) -> list[Piece]:
        if size not in self._pieces:
            kinds = [piece for layer in self.kinds for piece in self.dense_pieces(layer, size)]
            self._pieces[size] = [*kinds, self.head_piece(size), *self.draft_pieces(size)]
        return self._pieces[size]

    def head_piece(self, size: PassSize) -> Piece:
        head = self._on_cpu_s if self.head_on_cpu else self.products.dense_s
        return self._piece("head", head(self.model.head, size.sequences), self._end_fixed_ps())

    def dense_pieces(self, layer: Layer, size: PassSize) -> list[Piece]:
        if ON_CPU in layer.features:
            return self._pieces_of_the_cpu(layer, size)
        found = [self._piece("attention", self._mixer_s(layer, size), self._layer_fixed_ps(layer))]
        if not layer.n_experts and layer.ffn.bytes:
            ungated = ("ungated",) if "ungated" in layer.features else ()
            found.append(
                self._piece("ffn", self.products.dense_s(layer.ffn, size.tokens), self._fixed_ps("ffn", *ungated))
            )
        return found

    def _layer_fixed_ps(self, layer: Layer) -> float:
        each = (self.runtime.of("decode.layer") or 0.0) * PS_PER_S
        return self._fixed_ps(*self.mixer_kernels(layer)) + each

    def _mixer_s(self, layer: Layer, size: PassSize) -> float:
        """Projections, caches and states. Few rows read the caches; many compute with them, which takes no less."""
        places = [(cache, self.spans.index(cache.span)) for cache in layer.caches]
        weights, state = self.products.dense_s(layer.attention, size.tokens), 2 * size.sequences * layer.state_bytes
        if KV_ON_CPU in layer.features and layer.caches:
            return (
                weights + self.runtime.known("cpu.layer") + self._cache_on_cpu_s(layer, size) + state / self._cache_rate
            )
        read = sum(size.kv_positions[i] * cache.bytes_per_position for cache, i in places) / self._cache_rate
        flops = sum(size.attended[i] * cache.flops_per_position for cache, i in places)
        computed = flops / self._attention_rate if size.tokens > FEW_ROWS else 0.0
        return weights + max(read, computed) + state / self._cache_rate

    def _cache_on_cpu_s(self, layer: Layer, size: PassSize) -> float:
        """Caches that the CPU reads and computes with."""
        places = [(cache, self.spans.index(cache.span)) for cache in layer.caches]
        read = sum(size.kv_positions[i] * cache.bytes_per_position for cache, i in places)
        flops = sum(size.attended[i] * cache.flops_per_position for cache, i in places)
        return max(read / (1000 * self.cpu.rate), flops / self.cpu.flops_per_s)

    def _pieces_of_the_cpu(self, layer: Layer, size: PassSize) -> list[Piece]:
        """A layer of which the CPU has all but its experts: computed there, or carried over the link by a large pass. An engine that
        computes nothing on the CPU carries it in every pass, and its caches are on the device."""
        if self.runtime.only_stores:
            return self._pieces_over_the_link(layer, size)
        state = 2 * size.sequences * layer.state_bytes / (1000 * self.cpu.rate)
        attention = self._on_cpu_s(layer.attention, size.tokens) + self._cache_on_cpu_s(layer, size) + state
        found = [self._piece("attention", attention, 0.0)]
        if not layer.n_experts and layer.ffn.bytes:
            found.append(self._piece("ffn", self._on_cpu_s(layer.ffn, size.tokens), 0.0))
        return found

    def _pieces_over_the_link(self, layer: Layer, size: PassSize) -> list[Piece]:
        crosses = 1 / link_bytes_per_s(self.hw)
        mixer = layer.attention.bytes * crosses + self._mixer_s(layer, size)
        found = [self._piece("attention", mixer, self._layer_fixed_ps(layer))]
        if not layer.n_experts and layer.ffn.bytes:
            found.append(
                self._piece(
                    "ffn",
                    layer.ffn.bytes * crosses + self.products.dense_s(layer.ffn, size.tokens),
                    self._fixed_ps("ffn"),
                )
            )
        return found

    def _on_cpu_s(self, part: Part, rows: int) -> float:
        """A product of `rows` rows whose weights are the CPU's."""
        if self.carries(PassSize(rows, 1, (), ())):
            return part.bytes / link_bytes_per_s(self.hw) + self.products.dense_s(part, rows)
        return max(part.bytes / (1000 * self.cpu.rate), rows * part.flops_per_token / self.cpu.flops_per_s)

    def shared(self, column: int, tokens: int) -> Chain:
        key = (column, tokens)
        if key not in self._shared:
            layer = self.moe_layers[column]
            if ON_CPU in layer.features and layer.shared.bytes:
                piece = self._piece("shared", self._on_cpu_s(layer.shared, tokens), 0.0)
                self._shared[key] = Chain(piece.ps, (piece,))
                return self._shared[key]
            gate = ("shared_gate",) if "shared_gate" in layer.features else ()
            piece = self._piece("shared", self.products.dense_s(layer.shared, tokens), self._fixed_ps("shared", *gate))
            self._shared[key] = Chain(piece.ps, (piece,)) if layer.shared.bytes else Chain(0, ())
        return self._shared[key]

    # --- routed experts ---------------------------------------------------------------------------------------------

    def law(self, size: PassSize) -> int:
        if size.tokens <= self.products.rows_per_read:
            return READ  # no expert has more rows than one read serves
        if size not in self._laws:
            self._laws[size] = self._law_of(self.trace, self._passes[size])
        return self._laws[size]

    def _law_of(self, trace: Trace, passes: Sequence[int]) -> int:
        counts, slots = asked_of(trace, passes)
        parts = [layer.expert for layer in self.moe_layers]
        return self.products.law(zip(parts, counts.tolist(), slots.tolist()))

    def pass_by_pass(self) -> Self:
        other = super().pass_by_pass()
        other._laws = {}
        return other

    def meet(self, size: PassSize, trace: Trace) -> None:
        """All passes of a size follow the law of the first."""
        if size.tokens > self.products.rows_per_read and size not in self._laws:
            self._laws[size] = self._law_of(trace, [0])

    @cached_property
    def _passes(self) -> dict[PassSize, list[int]]:
        """Numbers of the passes of each size."""
        found: dict[PassSize, list[int]] = {}
        for number, size in enumerate(self.sizes):
            found.setdefault(size, []).append(number)
        return found

    def experts_fixed_ps(self, column: int) -> int:
        return self._fixed_of_experts[column]

    @cached_property
    def _fixed_of_experts(self) -> list[int]:
        """Of each MoE layer: asked for every count of a table."""
        words = [[word for word in OF_EXPERTS if word in layer.features] for layer in self.expert_layers]
        return [ceil(self._fixed_ps("experts", *beside)) for beside in words]

    def experts_launch(self, column: int) -> tuple[int, int, Sequence[int]]:
        return 0, self.experts_fixed_ps(column), self.soft_shares

    def read_work(self, column: int, count: int, law: int = 0) -> int:
        """What depends on how many experts are read: their weights, and what kernels waste on few rows of each."""
        seconds = self.products.experts_s(self.expert_layers[column].expert, count, law)
        return (ceil(seconds * PS_PER_S) + self.experts_fixed_ps(column)) * self.rate

    def compute_ps(self, column: int, token_slots: int, law: int = 0) -> int:
        """What depends on how many token slots are computed."""
        seconds = float(self.products.slots_s(self.expert_layers[column].expert, token_slots, law))
        return ceil(seconds * PS_PER_S) + self.experts_fixed_ps(column)

    def compute_row(self, column: int, most_slots: int, law: int = 0) -> Ints:
        """The same sums of the same numbers, all at once."""
        part, slots = self.expert_layers[column].expert, np.arange(most_slots + 1, dtype=np.float64)
        ps = np.ceil(self.products.slots_s(part, slots, law) * PS_PER_S)
        if max(part.flops_per_token * most_slots, int(ps[-1])) > EXACT:  # beyond what a float tells apart
            return super().compute_row(column, most_slots, law)
        row: Ints = ps.astype(np.int64) + self.experts_fixed_ps(column)
        return row

    # --- the CPU ----------------------------------------------------------------------------------------------------

    @cached_property
    def cpu(self) -> CpuCosts:
        """Costs on the CPU: a layer's fixed time, and its kernels' own rate. Raises UserError where machine or engine has none."""
        hw, runtime = self.hw, self.runtime
        if hw.cpu is None or (runtime.only_stores and self.may_carry):
            return CpuCosts(hw, self.model)  # which says so; or whose times are never asked for
        unit = beside_a_device(hw, runtime, self.model.compute, self.threads, self.batch_threads)
        return CpuCosts(replace(hw, units={**hw.units, unit.name: unit}), self.model)

    def carries(self, size: PassSize) -> bool:
        tokens, rows = self.runtime.of("link.offload_tokens"), self.runtime.of("link.offload_rows")
        if not self.may_carry:
            return False
        if tokens is not None:
            return size.tokens >= tokens
        return size.tokens * self.model.top_k >= (rows or 0.0) * self.trace.n_experts

    def carry_ps(self, column: int, count: int) -> int:
        link = self.hw.link
        return link.latency_ps + read_ps(count * self.moe_layers[column].expert.bytes, link_bytes_per_s(self.hw))


def _marked(number: int, layer: Layer, cpu_blocks: int, kv_on_cpu: bool) -> Layer:
    words = [ON_CPU] * (number < cpu_blocks) + [KV_ON_CPU] * kv_on_cpu
    return replace(layer, features=(*layer.features, *words)) if words else layer


def _peak(hw: Hardware) -> float:
    return float(hw.device_memory.peak_bytes_per_s or 0)
