"""Several devices: what each has and holds, what it decides, and how that becomes one run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simmoe import policies
from simmoe.play.memory import Memory, budget_of, kv_bytes
from simmoe.play.passes import warm_up_passes
from simmoe.play.plan import Plan, told_of_eviction, units_of
from simmoe.play.room import blocks_bytes, in_blocks, room_of
from simmoe.simulator.arrays import Ints
from simmoe.simulator.costs import fit_geometry
from simmoe.simulator.data_parallel import DataParallelCosts, owner_of
from simmoe.simulator.decide.decisions import BOUNDS, decide
from simmoe.simulator.decide.devices import asked_of, guessed_of, judged, together
from simmoe.simulator.decide.missing import LOAD
from simmoe.simulator.decide.warm_up import behind
from simmoe.simulator.errors import DoesNotFit, UserError
from simmoe.simulator.lower.durations import Loading, loading_of_each
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.layout import Layout
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape
from simmoe.simulator.nouns.serving import Room
from simmoe.simulator.several import SeveralCosts
from simmoe.simulator.tensor_experts import TensorExpertCosts, sliced_but_experts
from simmoe.simulator.tensor_parallel import caches_of_all, sliced
from simmoe.simulator.units import nbytes

if TYPE_CHECKING:
    from simmoe.play.workload import Workload
    from simmoe.simulator.nouns.hardware import Hardware
    from simmoe.simulator.time.engines import Engine

# Options of one device, each with the only value that a run over several devices takes.
ONE_DEVICE = {
    "miss": "fetch", "scope": "global", "prefetch_into": "cache", "cancel": False, "page_cache": None, "memory": None,
    "cold_per_sequence": False, "low_format": "Q2_K", "low_budget": None, "draft": None,
}  # fmt: skip


ELSEWHERE = 1  # what is no number of a device: where the experts of the others are, as each device sees it


def layout_of(workload: Workload, placement: str | None, seed: int, timeline: str) -> Layout:
    """Where the experts live. Raises UserError when the placement says nothing of the machine's devices."""
    devices, trace = len(workload.hw.devices), workload.trace
    fit_geometry(workload.model, trace)
    if divides(timeline):
        if placement is not None:
            raise UserError(
                f"--placement {placement}: under --timeline {timeline} each device has a part of every expert; leave it out"
            )
        _refuse_unlike(workload.hw, timeline)
        return Layout(devices, np.zeros((trace.n_layers, trace.n_experts), np.int64), sliced=True)
    module = policies.load("placement", placement) if placement is not None else None
    if placement is None or getattr(module, "UNIT", None) not in ("proportions", "devices"):
        raise UserError(
            f"{workload.hw.name} has {devices} devices; say which has which experts, such as --placement "
            f"layer_split={'/'.join('1' * devices)} or round_robin"
        )
    text = policies.load("timeline", timeline)
    replicated, shared = (getattr(text, name, False) for name in ("DATA_PARALLEL", "TENSOR_PARALLEL_BUT_EXPERTS"))
    if shared:
        _refuse_unlike(workload.hw, timeline)
    unit = units_of(workload, placement, seed).reshape(trace.n_layers, trace.n_experts)
    return Layout(devices, unit, replicated, shared=shared)


def divides(timeline: str) -> bool:
    """Whether each device has a part of every layer and of every expert."""
    return bool(getattr(policies.load("timeline", timeline), "TENSOR_PARALLEL", False))


def _refuse_unlike(hw: Hardware, timeline: str) -> None:
    """Raises UserError for devices that are not equal, where they divide every layer."""
    first, *others = (_figures(hw.alone(number)) for number in range(len(hw.devices)))
    for name, other in zip(hw.devices[1:], others):
        if other != first:
            raise UserError(
                f"--timeline {timeline} divides every layer evenly, and {name} of {hw.name} is another device than {hw.devices[0]}; use "
                "--timeline distributed"
            )


def _figures(hw: Hardware) -> tuple[Any, ...]:
    """Of a machine of one device, but for names."""
    unit, memory, link = hw.device, hw.device_memory, hw.link
    return replace(unit, name="", memory=""), replace(memory, name=""), replace(link, dst=""), hw.reserved_bytes


def refuse_what_one_device_has(options: Mapping[str, Any], workload: Workload) -> None:
    """Raises UserError for an option that a run over several devices cannot honour."""
    timeline, hw_name = policies.load("timeline", options["timeline"]), workload.hw.name
    if not getattr(timeline, "SEVERAL_DEVICES", False):
        raise UserError(
            f"--timeline {options['timeline']} knows one device, and {hw_name} has several; use --timeline distributed, expert_parallel or "
            "tensor_parallel"
        )
    if options["eviction"] in BOUNDS or getattr(policies.load("eviction", options["eviction"]), "BYPASS", False):
        raise UserError(
            f"--eviction {options['eviction']} is not played on several devices; name a policy and a --budget"
        )
    for name, only in ONE_DEVICE.items():
        if options[name] not in (only, 0):
            said = "" if options[name] is True else f" {options[name]}"
            raise UserError(
                f"--{name.replace('_', '-')}{said} is not modelled on several devices, which {hw_name} has; leave it out"
            )


def refuse(plan: Plan, hw: Hardware, what: str) -> None:
    """Raises UserError for something that is made for one device."""
    if plan.device_budgets:
        raise UserError(f"{what} is not made for several devices, which {hw.name} has")


def memories(workload: Workload, layout: Layout) -> list[Memory]:
    """The memory of each device, with its part of the model."""
    found = []
    for number, name in enumerate(workload.hw.devices):
        model = part_of(workload.model, layout, number)
        hw = replace(workload.hw.alone(number), name=f"{name} of {workload.hw.name}")
        found.append(Memory(hw, model, kv_of(workload, model, layout, number)))
    return found


def kv_of(workload: Workload, model: ModelShape, layout: Layout, device: int) -> int:
    """Bytes of KV cache on a device that has that part of the model: of all sequences, or of its own."""
    trace, room = workload.reserved_for, room_of_each(workload, layout)
    if room is not None:
        if in_blocks(workload.clock_driven):
            return blocks_bytes(model, room.kv_blocks, room.max_batch)
        return kv_bytes(model, trace, workload.context, room.max_batch, workload.microbatch)
    if layout.replicated:
        rows = owner_of(trace, layout.devices) == device
        if not rows.any():
            return 0
        ends = np.concatenate(([0], np.cumsum(rows)))[trace.pass_ptr]
        trace = trace.taken(rows, ends, trace.phase)
    return kv_bytes(model, trace, workload.context, None, workload.microbatch)


def room_of_each(workload: Workload, layout: Layout) -> Room | None:
    """What a clock-driven schedule may use: each of its own where each device serves sequences of its own; None without one."""
    if workload.room is None or not (layout.replicated or layout.sliced or layout.shared):
        return workload.room
    sequences, model, ranks = np.unique(workload.begun.trace.sequence), workload.model, 1
    most = len(sequences)
    if layout.replicated:
        most, ranks = int(np.bincount(sequences % layout.devices).max()), layout.devices
    else:
        model = caches_of_all(model, layout.devices)
    of_model = workload.context, workload.microbatch, workload.hw, model
    room = room_of(workload.room_asked, workload.schedule, workload.clock_driven, most, *of_model)
    return room and room._replace(ranks=ranks)


def part_of(model: ModelShape, layout: Layout, device: int) -> ModelShape:
    """What a device has: its experts of every layer, the layers that it runs, the embedding before the first and the head behind the last
    layer; or all but the experts, where each device runs the layers, or its share of that; or its share of everything."""
    if layout.sliced:
        return sliced(model, layout.devices)
    if layout.shared:
        model = sliced_but_experts(model, layout.devices)
    homes, column, layers = layout.gaps, 0, list[Layer]()
    held = (layout.unit == device).sum(axis=1)
    for layer in model.layers:
        here, experts = layout.everywhere or homes[column] == device, int(held[column]) if layer.n_experts else 0
        kept = (
            layer if here else replace(layer, attention=NO_PART, caches=(), state_bytes=0, ffn=NO_PART, shared=NO_PART)
        )
        layers.append(replace(kept, n_experts=experts))
        column += layer.n_experts > 0
    return replace(
        model, layers=tuple(layers), head=model.head if layout.everywhere or homes[-1] == device else NO_PART,
        embedding=model.embedding if layout.everywhere or homes[0] == device else NO_PART,
    )  # fmt: skip


def budgets_of(workload: Workload, layout: Layout, budget: int | str | None) -> tuple[int, ...]:
    """Bytes of routed experts on each device: a percentage is of its own experts, a size is the same on each."""
    found, left = [], 0
    for memory in memories(workload, layout):
        every, mine = memory.left_bytes, budget_of(memory, budget, None)
        memory.require(mine)
        left += every if mine < every else 0
        found.append(mine)
    if left > (home := workload.hw.home).capacity_bytes:
        raise DoesNotFit(
            f"{nbytes(left)} of experts that are not resident do not fit on {home.name} of {workload.hw.name}, which has "
            f"{nbytes(home.capacity_bytes)}"
        )
    return tuple(found)


def held(laid: Workload, budgets: tuple[int, ...]) -> list[dict[str, Any]]:
    """Name, memory and experts of each device of a workload that is laid out."""
    costs: Any = laid.costs
    layout, memory_of = costs.layout, memories(laid, costs.layout)
    return [
        {
            "name": name, "memory_bytes": memory_of[number].split(budgets[number]),
            "capacity_bytes": laid.hw.alone(number).device_memory.capacity_bytes, "expert_count": int(layout.of(number).sum()),
        }
        for number, name in enumerate(laid.hw.devices)
    ]  # fmt: skip


def as_one(workload: Workload, plan: Plan) -> Workload:
    """Devices that divide every layer decide and do the same. The workload with the costs of one of them, and experts of as many bytes as
    all hold together; any other workload as it is."""
    if not plan.device_budgets or not divides(plan.timeline):
        return workload
    return workload.as_one_of(len(workload.hw.devices))


def of_heads(workload: Workload, plan: Plan) -> list[str]:
    """What is on several devices though they divide every layer: keys and values where there are fewer of their heads."""
    text = policies.load("timeline", plan.timeline)
    if not plan.device_budgets or not (divides(plan.timeline) or hasattr(text, "TENSOR_PARALLEL_BUT_EXPERTS")):
        return []
    n, caches = len(workload.hw.devices), {cache for layer in workload.model.layers for cache in layer.caches}
    fewest = min((max(cache.kv_heads, 1) for cache in caches), default=n)
    if fewest >= n:
        return []
    rows = "One row of the KV cache serves all heads" if fewest == 1 else f"There are {fewest} KV heads"
    return [f"{rows}: each is on {n // fewest} of the {n} devices, so together they hold {n // fewest} KV caches"]


def laid_out(workload: Workload, layout: Layout) -> Workload:
    """The workload with the costs of each device."""
    laid = copy.copy(workload)
    costs: type[SeveralCosts] = DataParallelCosts if layout.replicated else SeveralCosts
    costs = TensorExpertCosts if layout.shared else costs
    laid.__dict__["costs"] = costs(workload.hw, workload.model, workload.trace, layout, graphs=workload.graphs)
    return laid


def others_of(layout: Layout) -> list[Ints]:
    """For each device, int8 [objects]: LOAD where it has the expert, else ELSEWHERE."""
    return [np.where(layout.of(device), LOAD, ELSEWHERE).astype(np.int8) for device in range(layout.devices)]


def to_serve(workload: Workload, plan: Plan) -> Workload:
    """The workload as a clock-driven schedule serves it: of several devices with the costs of each, and with what the schedule may use."""
    if not plan.device_budgets:
        return workload
    layout = layout_of(workload, plan.placement, plan.seed, plan.timeline)
    if divides(plan.timeline):
        one = as_one(workload, plan)
        one.begun, one.room = one, room_of_each(workload, layout)
        return one
    laid = laid_out(workload, layout)
    laid.begun, laid.room = laid, room_of_each(workload, layout)
    return laid


def decided(
    workload: Workload, layout: Layout, plan: Plan, guesses: Guesses, engine: Engine
) -> tuple[Workload, Guesses, Decisions, Loading]:
    """What every device decides, as one run: the workload with costs and requests by device, guesses, verdicts, loads."""
    laid, eviction = laid_out(workload, layout), policies.load("eviction", plan.eviction)
    told, others = told_of_eviction(workload, plan), others_of(layout)
    costs: Any = laid.costs
    sizes = workload.model.expert_bytes
    mine = [layout.of(device) for device in range(layout.devices)]
    asked, guessed = [asked_of(workload.requests, one) for one in mine], [guessed_of(guesses, one) for one in mine]
    verdicts = [
        decide(
            one, sizes, eviction, budget, guesses=guess, unit_of=unit_of, start=plan.start, seed=plan.seed, told=told, player=engine.player
        )
        for one, guess, budget, unit_of in zip(asked, guessed, plan.device_budgets, others)
    ]  # fmt: skip
    if passes := warm_up_passes(workload.trace, plan.warm_up):
        size = np.repeat(sizes, workload.trace.n_experts)
        cut = [behind(one, verdict, guess, size, passes) for one, verdict, guess in zip(asked, verdicts, guessed)]
        verdicts, guessed = [verdict for verdict, _ in cut], [guess for _, guess in cut]
        workload = workload.behind(passes)
        laid = laid_out(workload, layout)
        costs, asked = laid.costs, [asked_of(workload.requests, one) for one in mine]
    loads = loading_of_each(costs.each, asked, guessed, verdicts, write_back=plan.write_back)
    laid.__dict__["requests"], all_guesses = together(asked, guessed)
    return laid, all_guesses, judged(layout, asked, guessed, verdicts), loads
