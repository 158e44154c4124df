"""Hypothesis strategies for small whole scenarios (at most 200 accesses), built so that ties happen often.

Rates are near 1 byte/ps and sizes are a few bytes, so arrivals and ends of launches meet at the same picosecond again
and again; a large `scale` repeats the same scenarios with sizes whose products leave 64 bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware, Link, Tier, Upstream
from simmoe.simulator.nouns.model import NO_PART, Cache, Layer, ModelShape, Part
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads import models as models_of

MAX_ACCESSES = 200
EVICTIONS = ("lru", "fifo", "lfu", "lfu_resident", "belady", "random")
FEW = ("lru", "belady")  # what is used last, and what will be
MISSES = ("fetch", "cpu", "idle_cheaper", "balanced")
CHANGING = ("drop=40%", "substitute", "cache_aware=50%")  # rules that change the output
TB = 10**12  # bytes/s; also 1 byte/ps
ODD_RATES = (333_333_333_777, 700_000_000_999)  # not whole bytes per ms: truncation shows
SCALES = (1, 33_600_001)  # 33.6 MB experts: bytes * 10**12 leaves int64


@dataclass(frozen=True, repr=False)
class Case:
    """One scenario; `kwargs` are the options of `oracle_simpy.simulate(hw, model, trace, **kwargs)`."""

    hw: Hardware
    model: ModelShape
    trace: Trace
    budget_bytes: int
    eviction: str = "lru"
    scope: str = "global"
    timeline: str = "overlapped"
    cold_per_sequence: bool = False
    prefetch: list[list[int]] | None = None  # candidates of each event, event = pass * moe_layers + column
    seed: int = 0
    write_back: bool = False
    buffered: bool = False  # prefetches land beside the cache
    cancel: bool = False  # those that have not started leave the queue of the link
    miss: str = "fetch"  # the others need a CPU

    @property
    def kwargs(self) -> dict[str, Any]:
        names = (
            "budget_bytes",
            "eviction",
            "scope",
            "timeline",
            "cold_per_sequence",
            "prefetch",
            "seed",
            "write_back",
            "buffered",
            "cancel",
            "miss",
        )
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        options = " ".join(f"{name}={value!r}" for name, value in self.kwargs.items())
        return "\n".join(["Case", f"  {options}", *show_hardware(self.hw), *show_model(self.model), *show(self.trace)])


def show_hardware(hw: Hardware) -> list[str]:
    unit, link = hw.device, hw.link
    memory = f"unified B={hw.device_memory.bytes_per_s} w={hw.dram_bytes_per_loaded_byte}" if hw.unified else "discrete"
    return [
        f"  hw: {memory} link={link.bytes_per_s} B/s latency={link.latency_ps} ps",
        f"  unit={unit.bytes_per_s} B/s launch={unit.launch_ps} ps host_wait={unit.host_wait_ps} ps flops={dict(unit.flops_per_s)}",
    ]


def show_model(model: ModelShape) -> list[str]:
    def part(p: Part) -> str:
        return f"{p.bytes}B/{p.flops_per_token}F"

    lines = []
    for i, x in enumerate(model.layers):
        caches = " ".join(
            f"{c.bytes_per_position}B/{c.flops_per_position}F of {c.kept}{'c' if c.chunked else ''}/{c.read}"
            for c in x.caches
        )
        text = f"attention={part(x.attention)} caches=[{caches}] state={x.state_bytes}"
        moe = f"shared={part(x.shared)} {x.n_experts} experts of {part(x.expert)}"
        lines.append(f"  layer {i}: {text} {moe if x.n_experts else 'ffn=' + part(x.ffn)}")
    return [*lines, f"  head={part(model.head)}"]


def show(trace: Trace) -> list[str]:
    lines = [f"  columns are layers {trace.layer_index.tolist()}; token: sequence@position [experts of each column]"]
    for i in range(trace.n_passes):
        rows = range(int(trace.pass_ptr[i]), int(trace.pass_ptr[i + 1]))
        tokens = [f"{trace.sequence[t]}@{trace.position[t]} {trace.expert_ids[t].tolist()}" for t in rows]
        lines.append(f"  pass {i} {'decode ' if trace.phase[i] else 'prefill'}: " + "; ".join(tokens))
    return lines


# --- traces by hand --------------------------------------------------------------------------------------------------


def tiny_trace(
    passes: Sequence[Sequence[Sequence[int]]],  # [passes][tokens][k]: experts, the same on every layer
    n_experts: int,
    n_layers: int = 1,
    sequences: Sequence[Sequence[int]] | None = None,  # [passes][tokens], one sequence unless given
) -> Trace:
    """Passes of one token are decode, larger ones prefill."""
    rows = [[token] * n_layers for step in passes for token in step]
    flat = [s for step in sequences for s in step] if sequences else [0] * len(rows)
    phases = [PREFILL if len(step) > 1 else DECODE for step in passes]
    return build_trace(rows, [len(step) for step in passes], phases, flat, n_experts, range(n_layers))


def build_trace(
    rows: Sequence[Sequence[Sequence[int]]],  # [tokens][moe_layers][k]
    pass_sizes: Sequence[int],
    phases: Sequence[int],
    sequences: Sequence[int],  # [tokens]
    n_experts: int,
    layer_index: Sequence[int],
) -> Trace:
    ids = np.array(rows, np.int16)
    reached: dict[int, int] = {}
    positions = []
    for sequence in sequences:
        positions.append(reached.get(sequence, 0))
        reached[sequence] = positions[-1] + 1
    null = bool((ids < 0).all(axis=2).any())
    return Trace(
        expert_ids=ids,
        layer_index=np.array(layer_index, np.int16),
        pass_ptr=np.cumsum([0, *pass_sizes]).astype(np.int64),
        phase=np.array(phases, np.int8),
        sequence=np.array(sequences, np.int32),
        position=np.array(positions, np.int32),
        meta={"model": "tiny", "n_experts": n_experts, "top_k": ids.shape[2], "null_experts": null},
    )


# --- strategies ------------------------------------------------------------------------------------------------------


@st.composite
def hardware(draw: st.DrawFn, scale: int = 1) -> Hardware:
    rate = st.sampled_from((TB, TB, TB // 2, 2 * TB))
    if draw(st.sampled_from((False, False, False, True))):  # kept apart: an odd rate drives all ties apart
        rate = st.sampled_from((TB, *ODD_RATES))
    unified = draw(st.booleans())
    own, load, left = draw(rate), draw(st.one_of(rate, st.just(TB // 4))), draw(rate)  # slow loads are late hits
    w = draw(st.integers(1, 3)) if unified else 1
    fast = Tier("dram", 10**15, w * load + left if unified else own)  # `left`: what a load leaves to the unit
    flash = Tier("home", 10**15, load)
    step = st.sampled_from((0, 0, 1, 2))
    launch, latency = draw(step) * scale, draw(step) * scale
    unit = ComputeUnit("gpu", "dram", own, launch, {"fp16": draw(st.sampled_from((TB, TB, 2 * TB, ODD_RATES[0])))})
    unit = replace(unit, host_wait_ps=draw(st.sampled_from((0, 1, 2, 7))) * scale)
    duplex, back = draw(st.sampled_from(("full", "half"))), draw(st.sampled_from((None, TB, TB // 4)))
    link = Link("home", "dram", load, latency, duplex=duplex, write_bytes_per_s=back)
    tiers = {"dram": fast, "home": flash}
    return Hardware("tiny", "a machine of a few bytes", unified, tiers, {"gpu": unit}, link, ("gpu",), 0, w)


@st.composite
def cpus(draw: st.DrawFn) -> Callable[[Hardware], Hardware]:
    """A change that adds a CPU: in the one memory, in the memory that the link reads (which a load leaves something of, nothing, or which
    is slower than the link), or in a memory of its own."""
    cpu = ComputeUnit("cpu", "home", draw(st.sampled_from((TB // 4, TB))), draw(st.sampled_from((0, 2))), {"fp16": TB})
    share = draw(
        st.sampled_from((0, 1, 2, 4))
    )  # of the memory that a load leaves to CPU and GPU; 0 = the CPU takes all
    more = draw(st.sampled_from((-TB // 8, 0, TB // 8, TB // 4, TB, ODD_RATES[0])))  # of the memory than of the link
    where = draw(st.sampled_from(("home", "home", "home", "apart")))

    def change(hw: Hardware) -> Hardware:
        if hw.unified:
            memory = hw.device_memory.bytes_per_s
            left = memory - hw.dram_bytes_per_loaded_byte * hw.link.bytes_per_s
            own = left // share // 1000 * 1000 if share else memory
            here = replace(cpu, memory="dram", bytes_per_s=own)
            return replace(hw, units={**hw.units, "cpu": here})
        home = replace(hw.tiers["home"], bytes_per_s=hw.link.bytes_per_s + more)
        tiers = {**hw.tiers, "home": home, "apart": Tier("apart", 10**15, TB)}
        here = replace(cpu, memory=where, bytes_per_s=min(cpu.bytes_per_s, tiers[where].bytes_per_s))
        return replace(hw, tiers=tiers, units={**hw.units, "cpu": here})

    return change


@st.composite
def stores(draw: st.DrawFn) -> Callable[[Hardware], Hardware]:
    """A change that puts a store before the link, slower or faster than it; half of the time none."""
    rate, latency = draw(st.sampled_from(((TB // 4, 0), (TB // 8, 2), (TB // 2, 1), (2 * TB, 1), (ODD_RATES[0], 3))))
    there, pipelined = draw(st.booleans()), draw(st.booleans())
    upstream = Upstream("store", rate, latency, pipelined) if there else None

    def change(hw: Hardware) -> Hardware:
        tiers = {**hw.tiers, "store": Tier("store", 10**15, rate, ((1, 0.25), (3, 1.0)))}
        return replace(hw, link=replace(hw.link, upstream=upstream), tiers=tiers)

    return change


@st.composite
def physics(draw: st.DrawFn) -> Callable[[Hardware], Hardware]:
    """A change that adds a CPU and, often, laws beyond the plain ones: soft maximum, fused launches, curves, a second hop."""
    with_cpu = draw(cpus())
    softness = draw(st.sampled_from((None, None, 1.0, 2.0, 6.5)))
    launch, slower = draw(st.sampled_from((None, 0, 3, 50))), draw(st.sampled_from((None, 2, 3)))
    curve = draw(st.sampled_from(((), ((1, 0.5), (8, 1.0)), ((2, 0.25),))))
    with_store, depth = draw(stores()), draw(st.sampled_from((None, 1, 2)))
    grouped = draw(st.sampled_from((None, None, 1.0, 1.58)))

    def change(hw: Hardware) -> Hardware:
        own = hw.device.bytes_per_s
        device = replace(
            hw.device,
            softness=softness,
            grouped_launch_ps=launch,
            grouped_bytes_per_s=None if slower is None else own // slower // 1000 * 1000,
            grouped_softness=grouped,
        )
        hw = with_store(hw)
        tiers = {**hw.tiers, "home": replace(hw.tiers["home"], queue=hw.tiers["store"].queue)}
        link = replace(hw.link, efficiency=curve, queue_depth=depth)
        return with_cpu(replace(hw, units={"gpu": device}, link=link, tiers=tiers))

    return change


@st.composite
def parts(draw: st.DrawFn, scale: int, least: int = 0) -> Part:
    size = draw(st.sampled_from((least, 1, 1, 2, 3, 4))) * scale
    return Part(size, size, draw(st.sampled_from((0, 0, 0, 1, 2))) * scale)


@st.composite
def kept_of_positions(draw: st.DrawFn, scale: int) -> dict[str, Any]:
    """Caches of full attention, a window, chunks, or picked positions (with a cache of what picks them); or a state, or neither."""
    per_position = st.sampled_from((0, 0, 0, 1, 2))  # rarely: it grows with the trace and drives ties apart
    state = draw(st.sampled_from((0, 0, 0, 0, 1)))
    if state:
        return {"state_bytes": state * scale}
    found = []
    for _ in range(draw(st.sampled_from((0, 1, 1, 1, 1, 2)))):
        kept, chunked = draw(
            st.sampled_from(((0, False), (0, False), (1, False), (3, False), (2, True), (3, True), (99, False)))
        )
        read = draw(st.sampled_from((0, 0, 0, 1, 2)))
        found.append(
            Cache(draw(per_position) * scale, draw(per_position) * scale, kept, min(read, kept or read), chunked)
        )
    return {"caches": tuple(found)}


@st.composite
def models(draw: st.DrawFn, n_experts: int, top_k: int, scale: int = 1) -> ModelShape:
    is_moe = draw(st.lists(st.booleans(), min_size=1, max_size=4).filter(any))
    layers = []
    for moe in is_moe:
        attention, kept = draw(parts(scale)), draw(kept_of_positions(scale))
        if moe:
            shared = draw(st.one_of(st.just(NO_PART), parts(scale, least=1)))
            expert = draw(parts(scale, least=1))
            layers.append(Layer(attention, **kept, shared=shared, expert=expert, n_experts=n_experts))
        else:
            layers.append(Layer(attention, **kept, ffn=draw(st.one_of(st.just(NO_PART), parts(scale, least=1)))))
    return ModelShape("tiny", "fp16", "fp16", tuple(layers), top_k, draw(parts(scale)), NO_PART)


@st.composite
def traces(draw: st.DrawFn, layer_index: Sequence[int], n_experts: int, top_k: int, least_passes: int = 1) -> Trace:
    """Prefill passes of any rows of up to three sequences, decode passes of one row for each of some sequences."""
    room = min(24, MAX_ACCESSES // (len(layer_index) * top_k))  # tokens
    pass_sizes: list[int] = []
    phases: list[int] = []
    sequences: list[int] = []
    for _ in range(draw(st.integers(least_passes, 10))):
        phase = draw(st.sampled_from((PREFILL, DECODE, DECODE, DECODE)))
        ids = st.integers(0, 2)
        here = draw(st.lists(ids, min_size=1, max_size=6 if phase == PREFILL else 3, unique=phase == DECODE))
        if len(sequences) + len(here) > room:
            break
        pass_sizes.append(len(here))
        phases.append(phase)
        sequences += here
    # A token's experts are distinct; -1 may stand anywhere, even in every slot.
    token = st.lists(st.integers(0, n_experts - 1), min_size=top_k, max_size=top_k, unique=True)
    holes = st.sampled_from((0, 0, 0, 1, 2, 2**top_k - 1))  # bit mask of unused slots
    row = st.builds(lambda experts, mask: [-1 if mask >> s & 1 else e for s, e in enumerate(experts)], token, holes)
    rows = draw(st.lists(st.tuples(*[row] * len(layer_index)), min_size=len(sequences), max_size=len(sequences)))
    return build_trace(rows, pass_sizes, phases, sequences, n_experts, layer_index)


@st.composite
def cases(draw: st.DrawFn, prefetching: bool | None = None, misses: Sequence[str] = ("fetch",)) -> Case:
    """Any scenario (None); without prefetches (False); or ones where late hits and ties are common (True). misses: rules to draw."""
    scale = draw(st.sampled_from(SCALES))
    top_k = draw(st.integers(1, 3))
    n_experts = draw(st.integers(top_k, 6))
    model = draw(models(n_experts, top_k, scale))
    trace = draw(traces(model.moe_layers, n_experts, top_k, least_passes=5 if prefetching else 1))
    scope = draw(st.sampled_from(("global", "layer")))
    return Case(
        hw=draw(hardware(scale)),
        model=model,
        trace=trace,
        budget_bytes=draw(budgets(model, scope, scale, ample=bool(prefetching))),
        eviction=draw(st.sampled_from(EVICTIONS)),
        scope=scope,
        timeline=draw(st.sampled_from(("overlapped", "overlapped", "serial", "sync"))),
        cold_per_sequence=draw(st.sampled_from((False, False, True))),
        prefetch=draw(prefetches(trace, prefetching)),
        seed=draw(st.sampled_from((0, 1, 2**63 - 1))),
        write_back=not (buffered := draw(st.booleans())) and draw(st.booleans()),
        buffered=buffered,
        miss=draw(st.sampled_from(misses)) if len(misses) > 1 else misses[0],
    )


@st.composite
def budgets(draw: st.DrawFn, model: ModelShape, scope: str, scale: int, ample: bool = False) -> int:
    """From one expert (of every layer), ample: from half of all, to everything."""
    sizes = model.expert_bytes.tolist()
    least = (max(sizes) if scope == "global" else sum(sizes)) // scale
    most = model.all_expert_bytes // scale
    upper = st.integers((least + most) // 2, most)
    return draw(upper if ample else st.one_of(st.integers(least, most), upper)) * scale


@st.composite
def prefetches(draw: st.DrawFn, trace: Trace, wanted: bool | None = None) -> list[list[int]] | None:
    """Candidates of any layer, most of them right about the next event: those become the late hits."""
    if wanted is False or (wanted is None and draw(st.booleans())):
        return None
    anywhere = st.integers(0, trace.n_layers * trace.n_experts - 1)
    lists = []
    for upcoming in [*requests(trace)[1:], []]:
        right = st.sampled_from(upcoming) if upcoming else anywhere
        lists.append(draw(st.lists(st.one_of(right, right, right, anywhere), min_size=int(bool(wanted)), max_size=4)))
    return lists


def requests(trace: Trace) -> list[list[int]]:
    """The objects of each event, ascending."""
    found = []
    for i in range(trace.n_passes):
        ids = trace.expert_ids[int(trace.pass_ptr[i]) : int(trace.pass_ptr[i + 1])]
        for column in range(trace.n_layers):
            found.append(sorted({column * trace.n_experts + e for e in ids[:, column].ravel().tolist() if e >= 0}))
    return found


def examples(n: int) -> int:
    """How many scenarios a test draws: the share of n that the profile of tests/conftest.py, or SIMMOE_EXAMPLES_PERCENT, asks for."""
    return max(n * int(os.environ.get("SIMMOE_EXAMPLES_PERCENT", settings().max_examples)) // 100, 10)


def weighed(case: Case, seed: int | None) -> Case:
    """The case with gate weights, many of them equal and some 0; None: as it is."""
    if seed is None:
        return case
    gates = np.random.default_rng(seed).integers(0, 4, case.trace.expert_ids.shape) / 4
    return replace(case, trace=replace(case.trace, gate_weights=gates.astype(np.float16)))


def queued(case: Case, slower: int) -> Case:
    """The case with prefetches that are withdrawn, behind a link so many times slower: its queue is seldom empty."""
    link = replace(case.hw.link, bytes_per_s=max(case.hw.link.bytes_per_s // slower, 1))
    return replace(case, hw=replace(case.hw, link=link), cancel=True, write_back=False)


def few_kernels(one: Any, hw: Hardware | None = None, evictions: Sequence[str] = EVICTIONS) -> Any:
    """A case or a plan with LRU where a miss rule is asked; a case without a store before the link where that rule changes the output, and
    with the overlapped timeline where there is a store or prefetches are withdrawn. Each set of policy, rule, timeline and of what a run
    has is a kernel, some seconds to compile: tests of the compiled engine draw each of them, those of the interpreted ones every pair.

    hw: the machine of a plan. evictions: the policies that are drawn, of those that are compiled elsewhere; FEW where that is enough."""
    one = replace(one, eviction="lru") if one.miss != "fetch" or one.eviction not in evictions else one
    if isinstance(one, Case):
        one = one if one.miss in MISSES else without_store(one)
        hw = one.hw
    more = getattr(one, "cancel", False) or (hw is not None and hw.link.upstream is not None)
    return replace(one, timeline="overlapped") if more else one


def without_store(case: Case) -> Case:
    """The case with nothing before the link."""
    return replace(case, hw=replace(case.hw, link=replace(case.hw.link, upstream=None)))


def shape_for(trace: Trace) -> ModelShape:
    """A model of the trace's geometry: Qwen3's layers, with as many MoE layers and experts as the trace has."""
    qwen = models_of.load("qwen3-30b-a3b")
    layer = replace(qwen.layers[0], n_experts=trace.n_experts)
    dense = replace(layer, n_experts=0, expert=NO_PART, ffn=layer.expert)
    layers = [dense] * (int(trace.layer_index[-1]) + 1)
    for index in trace.layer_index.tolist():
        layers[index] = layer
    return replace(qwen, layers=tuple(layers))
