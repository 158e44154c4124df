"""The experts that the CPU has to take so that an engine which loads none while it runs can start: the fewest, where nobody says which."""

from __future__ import annotations

from dataclasses import replace

from simmoe.play.cards_fit import least_over_cards
from simmoe.play.kinds import bytes_of
from simmoe.play.memory import Memory
from simmoe.play.plan import most_of_each_layer, placed_memory, whole_layers
from simmoe.play.scenario import Scenario
from simmoe.play.workload import Workload
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.runtime_figures import CPU

KTRANSFORMERS = (
    "ktransformers"  # leaves some experts of each layer to the CPU, where llama.cpp leaves it all of some layers
)


def chooses(scenario: Scenario, workload: Workload) -> bool:
    """Whether a placement is looked for: none is named, and the engine keeps experts where they are for good and has the CPU compute those
    that are not the device's."""
    runtime, hw = workload.runtime, workload.hw
    if scenario.placement is not None or scenario.eviction in BOUNDS or hw.cpu is None or workload.deciding > 1:
        return False
    return (
        runtime is not None and not runtime.streams and runtime.device != CPU and runtime.of("cpu.memory") is not None
    )


def with_the_least(scenario: Scenario, workload: Workload) -> Scenario:
    """The scenario with the placement that leaves the CPU the fewest experts with which the device holds all others. As it is where none is
    looked for, where all fit, and where no number does."""
    if workload.runtime is None or not chooses(scenario, workload):
        return scenario
    if workload.owners and scenario.budget is None and scenario.memory is None:
        return _over_cards(scenario, workload)
    memory = placed_memory(workload, whole_layers(workload, None), scenario.seed)
    room, budget = _room(scenario, memory), _budget(scenario, memory)
    if min(room, budget) >= memory.left_bytes and not memory.short_by(memory.left_bytes):
        return scenario
    of_each = workload.runtime.engine == KTRANSFORMERS
    placement = _share(memory.model, min(room, budget)) if of_each else _blocks(memory, room, budget)
    return scenario if placement is None else replace(scenario, placement=placement)


def _over_cards(scenario: Scenario, workload: Workload) -> Scenario:
    """With the split of the layers with which the fewest are the CPU's, where none is said."""
    if (found := least_over_cards(workload)) is None:
        return scenario
    placement = f"n_cpu_moe={found[0]}" if found[0] > workload.cpu_blocks else None
    return replace(scenario, placement=placement, tensor_split=found[1] or scenario.tensor_split)


def chosen(asked: Scenario, scenario: Scenario) -> str | None:
    """What was chosen here of a scenario that was asked, in words; None where nothing was."""
    names = [name for name in ("placement", "tensor_split") if getattr(asked, name) != getattr(scenario, name)]
    words = [getattr(scenario, name) if name == "placement" else f"{name}={getattr(scenario, name)}" for name in names]
    return ", ".join(words) or None


def _blocks(memory: Memory, room_bytes: int, budget_bytes: int) -> str | None:
    """The fewest of the first blocks. What the engine needs for them beside their experts counts in the room, not in the budget."""
    fits, layers = memory.least_blocks(room_bytes), memory.model.layers
    if fits is None:
        return None
    numbers = range(fits, len(layers) + 1)
    return f"n_cpu_moe={next(n for n in numbers if sum(layer.expert_bytes for layer in layers[n:]) <= budget_bytes)}"


def _share(model: ModelShape, room_bytes: int) -> str:
    return (
        f"random={100 * most_of_each_layer(model, room_bytes) / max(layer.n_experts for layer in model.layers):.15g}%"
    )


def _room(scenario: Scenario, memory: Memory) -> int:
    """Bytes for routed experts beside all else, in the memory of the device or in what of it is asked for; negative where none are."""
    if scenario.memory is None:
        return memory.room_bytes
    return memory.room_bytes - max(memory.usable_bytes - bytes_of(scenario.memory, None, "--memory"), 0)


def _budget(scenario: Scenario, memory: Memory) -> int:
    return memory.left_bytes if scenario.budget is None else bytes_of(scenario.budget, memory.left_bytes, "--budget")
