"""What would fit where a scenario does not: single changes of its options, each to be applied as it stands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from simmoe.play.memory import Memory, budget_of, kv_bytes, page_cache_of
from simmoe.play.plan import placed_memory
from simmoe.play.scenario import Scenario
from simmoe.play.workload import Workload
from simmoe.simulator.decide.start import COLD
from simmoe.simulator.errors import DoesNotFit, UserError
from simmoe.simulator.nouns.model import ModelShape
from simmoe.workloads import models
from simmoe.workloads.models.formats import FORMATS


@contextmanager
def told(scenario: Scenario) -> Iterator[None]:
    """A line that says of this scenario that it does not fit ends with what would."""
    try:
        yield
    except DoesNotFit as error:
        raise DoesNotFit(f"{error}{_said(scenario)}") from None
    except UserError as error:
        if scenario.system is None:
            raise
        raise UserError(f"{error} (--system {Path(scenario.system).stem})") from None


def _said(scenario: Scenario) -> str:
    workload = scenario.workload()
    if len(workload.hw.devices) > 1:
        return "; choose a smaller --format or --context, or a larger machine"
    memory = placed_memory(workload, scenario.placement, scenario.seed)
    if _fits(scenario, memory):  # but for what is beside the budget, of which the line has told
        return ""
    each = (
        _budget(scenario, memory), _format(scenario, workload, memory), _kv_format(scenario, workload, memory),
        _context(scenario, workload, memory), _blocks(scenario, workload),
    )  # fmt: skip
    if found := [way for way in each if way]:
        return f"; what would fit: {', or '.join(found)}"
    return (
        "; no other --format, --kv-format, --context or --placement n_cpu_moe=N alone would fit: name a larger machine"
    )


def _fits(scenario: Scenario, memory: Memory) -> bool:
    try:
        budget = budget_of(memory, scenario.budget, scenario.memory)
        page_cache = page_cache_of(memory.hw, scenario.page_cache or 0, 0)
        memory.require(budget, page_cache, scenario.cold_per_sequence or scenario.start == COLD)
    except UserError:
        return False
    return True


def _budget(scenario: Scenario, memory: Memory) -> str:
    """The most whole megabytes of experts that fit; empty where no budget was named, or where none would."""
    size = f"{memory.room_bytes // 10**6}MB"
    if (scenario.budget, scenario.memory) == (None, None) or memory.room_bytes < memory.least_bytes:
        return ""
    return f"--budget {size}" if _fits(replace(scenario, budget=size, memory=None), memory) else ""


def _kv_bytes(workload: Workload, model: ModelShape, context: int) -> int:
    """KV cache of another model or context, for as many sequences as the workload has."""
    trace, beside = workload.trace, workload.microbatch
    one = kv_bytes(workload.model, trace, workload.context, 1, beside)
    return kv_bytes(model, trace, context, workload.kv_bytes // one if one else 1, beside)


def _format(scenario: Scenario, workload: Workload, memory: Memory) -> str:
    """The format of the most bytes that fits; empty where none does, or the model is no file that others could be read from."""
    named = workload.recorded.meta.get("model") if scenario.model is None else scenario.model
    if not named or isinstance(named, ModelShape):
        return ""
    found = list[ModelShape]()
    for format in FORMATS:
        with suppress(UserError):  # the parts of a file may not say what a format needs
            found.append(models.load(named, format))
    for model in sorted(found, key=lambda one: -one.dense_bytes - one.all_expert_bytes):
        kv = _kv_bytes(workload, model, workload.context)
        if model.format != workload.model.format and _fits(scenario, replace(memory, model=model, kv_bytes=kv)):
            return f"--format {model.format}"
    return ""


def _kv_format(scenario: Scenario, workload: Workload, memory: Memory) -> str:
    """The KV format of the most bytes that fits, of those that engines offer for it; empty where none does."""
    named = workload.recorded.meta.get("model") if scenario.model is None else scenario.model
    if not named or isinstance(named, ModelShape) or scenario.kv_format is not None:
        return ""
    for kv_format in ("q8_0", "q4_0"):
        model = models.load(named, workload.model.format, kv_format)
        kv = _kv_bytes(workload, model, workload.context)
        if _fits(scenario, replace(memory, model=model, kv_bytes=kv)):
            return f"--kv-format {kv_format}"
    return ""


def _context(scenario: Scenario, workload: Workload, memory: Memory) -> str:
    """The longest context that fits; empty where not even what is played does."""
    fits, too_long = int(workload.trace.position.max()), workload.context
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        kv = _kv_bytes(workload, workload.model, middle)
        fits, too_long = (middle, too_long) if _fits(scenario, replace(memory, kv_bytes=kv)) else (fits, middle)
    return f"--context {fits}" if fits > int(workload.trace.position.max()) else ""


def _blocks(scenario: Scenario, workload: Workload) -> str:
    """The fewest blocks whose experts the CPU has to take; empty where no number helps, or another placement is asked for."""
    if workload.hw.cpu is None or not (scenario.placement or "n_cpu_moe=").startswith("n_cpu_moe="):
        return ""
    for number in range(1, len(workload.model.layers) + 1):
        way = f"n_cpu_moe={number}"
        if _fits(scenario, placed_memory(workload, way, scenario.seed)):
            return f"--placement {way}"
    return ""
