"""Changes of a scenario that a user can apply: figures of the machine (--set), the budget, CUDA graphs, experts on the CPU.

Each is played as the command would play it, so that what is promised is what its options give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from simmoe.hardware_profiles import doubts
from simmoe.play.kinds import bytes_of, changes
from simmoe.play.lanes import Lanes
from simmoe.play.plan import memory_of
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.scenario import OPTIONS, Scenario
from simmoe.play.traced import traced
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.simulator.link_time import link_bytes_per_s
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.runtime_figures import CPU
from simmoe.simulator.units import text

GIGABYTE, MEGABYTE = 10**9, 10**6
ABOUT = 8  # changes that a run tries


@dataclass(frozen=True)
class Change:
    """`options`: the fields of the scenario that change, with the values that they take."""

    what: str
    options: Mapping[str, Any]

    @property
    def words(self) -> str:
        """The options as a command says them."""
        return words(self.options)


@dataclass(frozen=True)
class Tried:
    """A change and the speed that it gives."""

    change: Change
    tok_s: float
    gain: float  # as a fraction of the speed without it
    beyond: bool = False  # a figure that this machine cannot have: another machine

    def __str__(self) -> str:
        change = self.change
        what = f"{change.what} ({change.words})" if change.what else change.words
        what += ", in place of --memory," * ("memory" in change.options)
        other = ", another machine: this one cannot do that" * self.beyond
        return f"{what} gives {self.gain:+.0%} ({speed(self.tok_s)} tok/s{other})"


def words(options: Mapping[str, Any]) -> str:
    """Options as a command says them."""
    return " ".join(_words(name, value) for name, value in options.items() if value is not None)


def speed(tok_s: float) -> str:
    """Four digits at least."""
    return f"{tok_s:,.0f}" if tok_s >= 1000 else f"{tok_s:.4g}"


def tried(scenario: Scenario, run: Run) -> list[Tried]:
    """Every change that the machine of `run` allows, played like `run`; the largest gain first."""
    return measured(scenario, run, [*figures(run), *residency(run), *on_the_cpu(run)])


def measured(scenario: Scenario, run: Run, wanted: list[Change]) -> list[Tried]:
    found, lanes = list[Tried](), Lanes()
    if scenario.trace is not None:
        scenario = replace(scenario, trace=traced(scenario.trace, scenario.model))  # opened once
    for change in wanted:
        if scenario.memory is None:
            change = replace(change, options={name: it for name, it in change.options.items() if name != "memory"})
        with suppress(UserError):  # what the machine or the schedule refuses is no proposal
            after = played(changed(scenario, change), len(wanted), lanes)
            if after.decisions.start != run.decisions.start:  # only equal starts are compared
                change = replace(change, options={**change.options, "start": run.decisions.start})
                after = played(changed(scenario, change), len(wanted), lanes)
            if after.tok_s and run.tok_s:
                other = any("peak" in setting for setting in change.options.get("set", ()))  # what a data sheet says
                beyond = other or len(doubts(after.workload.hw)) > len(doubts(run.workload.hw))
                found.append(Tried(change, after.tok_s, after.tok_s / run.tok_s - 1, beyond))
    return sorted(found, key=lambda one: -one.gain)


def changed(scenario: Scenario, change: Change) -> Scenario:
    """The scenario with the change; a figure that is set twice has the later value."""
    options = dict(change.options)
    if "set" in options:
        both = {**changes(scenario.set), **changes(options["set"])}
        options["set"] = tuple(f"{path}={value}" for path, value in both.items())
    return replace(scenario, **options)


def played(scenario: Scenario, runs: int = 1, lanes: Lanes | None = None) -> Run:
    """As `simmoe.run` plays it, one of so many runs, by the engine that pays: all give the same numbers."""
    workload, lanes = scenario.workload(), lanes or Lanes()
    lanes.join(workload)
    return play(workload, scenario.plan(workload), workload.engine(runs=runs), lanes=lanes)


def figures(run: Run) -> Iterator[Change]:
    """Figures of the machine, each twice as good, with those that would hold it back."""
    hw = run.workload.hw
    if run.plan.device_budgets:
        return
    if run.workload.runtime is not None:
        yield from _under_a_runtime(run)
        return
    ways = {
        "a link twice as fast": _link(hw),
        f"{hw.home.name} twice as fast": _upstream(hw),
        "a device memory twice as fast": _memory(hw),
    }
    if run.counts.on_cpu and hw.cpu:
        ways["a CPU that reads twice as fast"] = _raised(hw, {f"units.{hw.cpu.name}.bandwidth": 2}, hw.cpu.memory)
    unit, launch = f"units.{hw.device.name}", "graph_launch" if run.workload.graphs else "launch"
    ways["half the launch time"] = _halved(hw, f"{unit}.{launch}", f"{unit}.grouped_launch")
    if run.clocks.host_ps.any():
        ways["half the wait of the host"] = _halved(hw, f"{unit}.host_wait")
    for what, values in ways.items():
        settings = tuple(
            f"{path}={text(value, hw.figures[path].dimension).replace(' ', '')}" for path, value in values.items()
        )
        if settings:
            yield Change(what, {"set": settings})


def _under_a_runtime(run: Run) -> Iterator[Change]:
    """The figures that an engine's constants stand on: nominal peaks, and the link."""
    hw = run.workload.hw
    alone = hw.unified and hw.device.name == CPU  # its memory is no device's, and nothing crosses a link
    memories = _peak(hw, "peak.memory_bandwidth")
    for name in hw.devices[1:]:
        memories |= _peak(hw, f"tiers.{hw.units[name].memory}.peak_bandwidth")
    ways = {"a memory twice as fast" if alone else "a device memory twice as fast": memories}
    if not alone:
        ways = {"a link twice as fast": _link(hw)} | ways
    if run.counts.on_cpu and hw.cpu:
        ways["a CPU memory twice as fast"] = _peak(hw, f"tiers.{hw.cpu.memory}.peak_bandwidth") | _peak(
            hw, f"units.{hw.cpu.name}.quantised_bandwidth"
        )
    for what, values in ways.items():
        settings = tuple(
            f"{path}={text(value, hw.figures[path].dimension).replace(' ', '')}" for path, value in values.items()
        )
        if settings:
            yield Change(what, {"set": settings})


def _peak(hw: Hardware, path: str) -> dict[str, int]:
    return {path: 2 * hw.figures[path].value} if path in hw.figures else {}


def residency(run: Run) -> Iterator[Change]:
    """More memory for experts, and launches out of CUDA graphs."""
    workload, plan = run.workload, run.plan
    if plan.device_budgets or plan.eviction in BOUNDS:
        return
    memory = memory_of(workload, plan)
    every, more = memory.left_bytes, min(plan.budget_bytes + GIGABYTE, memory.holds_bytes)
    if memory.holds_bytes == every > plan.budget_bytes:
        yield Change("all of the experts", {"budget": "100%", "memory": None})
    elif more > plan.budget_bytes:
        yield Change("more of the experts", {"budget": _size(more), "memory": None})
    if workload.runtime is None and not workload.graphs and workload.hw.device.graph_launch_ps is not None:
        yield Change("", {"graphs": True})


def on_the_cpu(run: Run) -> Iterator[Change]:
    """Ways to compute experts where they live."""
    plan, model = run.plan, run.workload.model
    if run.workload.hw.cpu is None or plan.device_budgets or plan.eviction in BOUNDS or plan.placement is not None:
        return
    if plan.miss == "fetch":
        yield Change("", {"miss": "cpu"})
        yield Change("", {"miss": "balanced"})
    size = _size(plan.budget_bytes)  # the same memory: a percentage would be one of fewer experts
    if blocks := blocks_left(model, bytes_of(size, None, "--budget")):
        yield Change("", {"placement": f"n_cpu_moe={blocks}", "budget": size, "memory": None})


def blocks_left(model: ModelShape, budget_bytes: int) -> int:
    """How many of the first blocks to leave to the CPU, so that the experts of the others fit."""
    left, room = len(model.moe_layers), budget_bytes
    for number in reversed(model.moe_layers):
        room -= model.layers[number].n_experts * model.layers[number].expert.bytes
        if room < 0:
            break
        left -= 1
    return model.moe_layers[left - 1] + 1 if left else 0


def _size(count: int) -> str:
    """Bytes as an option says them: whole megabytes of many, not more than there are."""
    return f"{count // MEGABYTE}MB" if count >= 100 * MEGABYTE else f"{count}B"


def _link(hw: Hardware) -> dict[str, int]:
    """Figures by path for a load that leaves the link's source twice as fast: the link, and what is slower than that along it."""
    link, wanted = hw.link, 2 * link_bytes_per_s(hw)
    paths = ["link.bandwidth", f"tiers.{link.src}.bandwidth"]
    paths += ["link.pageable"] * (link.host_memory == "pageable") + ["link.managed.bandwidth"] * (
        link.host_memory == "managed"
    )
    found = {path: wanted for path in paths if hw.figures[path].value < wanted}
    if (
        link.queue_depth is not None and link.upstream is None
    ):  # so many reads in flight reach a share of what the store can
        found[f"tiers.{link.src}.bandwidth"] = max(2 * hw.home.bytes_per_s, wanted)
    return found


def _upstream(hw: Hardware) -> dict[str, int]:
    """The store before the link, where there is one."""
    return (
        {}
        if hw.link.upstream is None
        else _raised(hw, {"link.upstream.bandwidth": 2}, hw.home.name, hw.link.queue_depth is not None)
    )


def _memory(hw: Hardware) -> dict[str, int]:
    unit = f"units.{hw.device.name}"
    return _raised(hw, {f"{unit}.bandwidth": 2, f"{unit}.grouped_bandwidth": 2}, hw.device.memory)


def _raised(hw: Hardware, factors: Mapping[str, int], tier: str, queued: bool = False) -> dict[str, int]:
    """Rates times their factor, where the profile states them, and the memory that they read, where it would hold them back."""
    found = {path: factor * hw.figures[path].value for path, factor in factors.items() if path in hw.figures}
    memory, fastest = hw.tiers[tier].bytes_per_s, max(found.values())
    if queued or memory < fastest:
        found[f"tiers.{tier}.bandwidth"] = max(2 * memory, fastest) if queued else fastest
    return found


def _halved(hw: Hardware, *paths: str) -> dict[str, int]:
    return {path: hw.figures[path].value // 2 for path in paths if path in hw.figures and hw.figures[path].value > 1}


def _words(name: str, value: Any) -> str:
    flag = OPTIONS[name].flag
    return (
        flag
        if value is True
        else " ".join(f"{flag} {one}" for one in (value if isinstance(value, tuple) else (value,)))
    )
