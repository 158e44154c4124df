"""A residency plan, and what it means before anything is played: which guesses are loaded early, what the CPU computes."""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simmoe import policies
from simmoe.play import asked, popularity, replay
from simmoe.play.cards import CardsMemory
from simmoe.play.cards_fit import ways_to_hold
from simmoe.play.identity import needs_of_prefetch
from simmoe.play.kinds import bytes_of
from simmoe.play.memory import Memory
from simmoe.play.quotas import scope_for
from simmoe.play.replay import one_of
from simmoe.policies import arguments
from simmoe.policies.prefetch import Ask
from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.decide import policy_file
from simmoe.simulator.decide.blame import name_of
from simmoe.simulator.decide.decisions import BOUNDS, SCOPES, left_to_device, no_guesses
from simmoe.simulator.decide.fitted import Fitted
from simmoe.simulator.decide.hooks import Told
from simmoe.simulator.decide.missing import Rule, loads_low
from simmoe.simulator.decide.names import SERVE
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.prices import cpu_number, priced
from simmoe.simulator.decide.start import COLD, resident_before
from simmoe.simulator.decide.stepwise import SecondTier
from simmoe.simulator.errors import UserError
from simmoe.simulator.link_time import load_ps
from simmoe.simulator.naming import named
from simmoe.simulator.nouns.decisions import Guesses
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.runtime_figures import CPU
from simmoe.simulator.units import nbytes

if TYPE_CHECKING:
    from simmoe.play.workload import Workload
    from simmoe.simulator.nouns.model import ModelShape

PREFETCH_INTO = ("cache", "buffers")
UNITS = ("share", "blocks", "layers", "proportions", "devices")  # of a placement's amount


@dataclass(frozen=True)
class Plan:
    """Which experts may stay resident, and how they get there."""

    budget_bytes: int
    eviction: str = "lru"
    scope: str = "global"
    timeline: str = "overlapped"
    cold_per_sequence: bool = False
    seed: int = 0
    prefetch: str | None = None
    miss: str = "fetch"
    placement: str | None = None  # such as n_cpu_moe=4, popular=50%, popular=50%:first=20%
    prefetch_into: str = "cache"
    cancel: bool = False  # prefetches that have not started when their event is decided leave the queue of the link
    write_back: bool = False
    page_cache_bytes: int = 0
    device_budgets: tuple[int, ...] = ()  # of each of several devices
    start: str = "auto"  # what is resident before the run: auto, warm, cold (simulator/decide/start.py)
    warm_up: int | None = None  # the first so many tokens are decided, not timed
    beyond_bytes: int = field(
        default=0, compare=False
    )  # that --budget asks for beyond all experts; nothing is played otherwise
    asked: tuple[str, ...] = field(default=(), compare=False)  # what a result says of the system that was asked for
    low_budget: int | str | None = (
        None  # what of the budget keeps low copies; None = they are forgotten with their event
    )
    arrivals: str | None = None  # of requests, under a clock-driven schedule: poisson:2/s, every:500ms; None = all at 0
    rate: str | None = None  # of arrivals that do not say theirs
    ttft: str | None = None  # the most that a request counted as goodput waits for its first token; None = any time
    tpot: str | None = None  # the same for each of its other tokens, on average

    @property
    def serves_low(self) -> bool:
        """Whether low copies may serve what is missing."""
        return loads_low(policies.load("miss", self.miss))

    @property
    def pool_bytes(self) -> int:
        """What of the budget is the pool of low copies; 0 where they are forgotten with their event, or there are none."""
        if self.low_budget is None or self.eviction in BOUNDS or not self.serves_low:
            return 0
        return min(bytes_of(self.low_budget, self.budget_bytes, "--low-budget"), self.budget_bytes)

    @property
    def started(self) -> str:
        """What `start` comes to: slots that are emptied later on start empty."""
        return COLD if self.cold_per_sequence else self.start


def guesses_of(workload: Workload, plan: Plan) -> Guesses:
    """What the plan's prefetcher wants, but for experts that stay on the CPU."""
    check_prefetch(plan)
    if plan.prefetch is None:
        return no_guesses(workload.requests)
    trace, requests = workload.trace, workload.requests
    module, ask = asked_of_prefetch(workload, plan)
    event, obj = asked.guesses(module, requests.n_events, requests.n_objects, trace, ask)
    if plan.placement is not None:
        kept = loadable(workload, plan)[obj]
        event, obj = event[kept], obj[kept]
    ptr = np.concatenate(([0], np.cumsum(np.bincount(event, minlength=requests.n_events))))
    return Guesses(ptr, obj, plan.prefetch_into == "buffers", plan.cancel)


def asked_of_prefetch(workload: Workload, plan: Plan) -> tuple[ModuleType, Ask]:
    """The plan's prefetcher and what it is told. Raises UserError."""
    value = str(plan.prefetch)
    module = policies.load("prefetch", value)
    needs_of_prefetch(value)
    text = popularity.text_for("prefetch", value, workload.begun.trace, workload.begun.counted)
    return module, Ask(arguments.given("prefetch", value, module), plan.seed, text)


def told_of_eviction(workload: Workload, plan: Plan) -> Told:
    """What the plan's eviction policy is told. Raises UserError."""
    if plan.eviction in BOUNDS:
        return Told()
    begun = workload.begun
    return replay.told(plan.eviction, begun.trace, begun.counted)


def scope_of(workload: Workload, plan: Plan, player: Player | None = None) -> str | Fitted:
    """The scope as the machine takes it. Raises UserError."""
    if plan.scope in SCOPES:
        return plan.scope
    workload, key = workload.begun, (plan.scope, plan.placement, plan.seed)
    if key not in workload.fits:
        mine = None if plan.placement is None or plan.device_budgets else loadable(workload, plan)
        workload.fits[key] = scope_for(plan.scope, workload.trace, workload.counted, mine, player)
    return workload.fits[key]


def check_prefetch(plan: Plan) -> None:
    """Raises UserError for what cannot be together."""
    one_of("prefetch_into", plan.prefetch_into, PREFETCH_INTO)
    if plan.prefetch_into == "buffers" and plan.write_back:
        raise UserError("--prefetch-into buffers with --write-back is not modelled: leave one of them out")
    for given, option, why in (
        (plan.write_back, "write-back", "who copies a victim back whose place was never taken"),
        (plan.page_cache_bytes, "page-cache", "what that memory keeps of loads that never ran"),
    ):
        if plan.cancel and given:
            raise UserError(f"--cancel with --{option} is not modelled, {why}: leave one of them out")


class WhenMissing(NamedTuple):
    """Who serves what is missing; the arguments of `decide` and `bound`."""

    unit_of: (
        Ints | None
    )  # [objects] the other unit that the placement left it to, 0 = the device; None: all are the device's
    rule: Rule | None  # which unit serves the others; None: all are loaded
    tier: SecondTier | None  # a memory before the link


def missing_of(workload: Workload, plan: Plan) -> WhenMissing:
    """Raises UserError where the machine states no CPU though the plan needs one."""
    module, costs = policies.load("miss", plan.miss), workload.costs
    told = arguments.as_whole(arguments.given("miss", plan.miss, module))
    if text := popularity.source(plan.miss):
        raise UserError(f"--miss {plan.miss}: {name_of(module)} counts no use of experts; leave :{text} out")
    loads_all = policy_file.does_nothing(module, SERVE)
    rule = None if loads_all else priced(module, costs, workload.requests, told)
    tier = None
    if plan.page_cache_bytes and rule is not None:
        near_ps = np.array([load_ps(int(b), costs.hw, cached=True) for b in workload.model.expert_bytes], np.int64)
        near_ps = np.repeat(near_ps, workload.trace.n_experts)
        tier = SecondTier(plan.page_cache_bytes, policies.load("eviction", "lru"), near_ps, cached(workload, plan))
    return WhenMissing(None if plan.placement is None else placed(workload, plan), rule, tier)


def memory_of(workload: Workload, plan: Plan) -> Memory:
    """The memories of the machine with what the plan's placement leaves to the device. Several devices: of all of them together."""
    if plan.placement is None or plan.device_budgets:
        return workload.memory
    return placed_memory(workload, plan.placement, plan.seed)


def placed_memory(workload: Workload, placement: str | None, seed: int) -> Memory:
    """The memories of a machine of one device with what a placement leaves to that device. Raises UserError."""
    if placement is None:
        return workload.memory
    layers, experts = workload.trace.n_layers, workload.trace.n_experts
    left = left_to_device(units_of(workload, placement, seed), layers, experts)
    return replace(workload.memory, left=tuple(left.tolist()))


def streamed(workload: Workload, plan: Plan) -> list[str]:
    """What to know about a run that streams what llama.cpp would refuse, or would hold; empty for others."""
    name = named(str(plan.placement)).name
    if plan.placement is None or plan.device_budgets or plan.eviction in BOUNDS:
        return []
    if asked.unit(policies.load("placement", name), UNITS) != "blocks":
        return []
    memory = memory_of(workload, plan)
    streams = memory.left_bytes - plan.budget_bytes
    if streams <= 0:
        return []
    if memory.room_bytes >= memory.left_bytes:
        out = f"{nbytes(streams)} of {nbytes(memory.left_bytes)} of experts out though {nbytes(memory.room_bytes)} would fit"
        return [
            f"The budget leaves {out}: they are streamed here, and llama.cpp would hold them all; leave the budget out"
        ]
    least = memory.least_blocks(plan.budget_bytes)
    n = "no N fits" if least is None else f"least N that fits: {least}"
    return [f"{plan.placement} streams {nbytes(streams)} that llama.cpp would refuse; {n}"]


def whole_layers(workload: Workload, placement: str | None) -> str | None:
    """The placement with the experts of those layers of which the CPU has all. Raises UserError for one that cannot be joined to them."""
    blocks = workload.cpu_blocks
    if not blocks:
        return placement
    name, amount, _ = named(placement or "n_cpu_moe=0")
    if name != "n_cpu_moe" or not amount.isdigit():
        raise UserError(
            f"--gpu-layers leaves layers to the CPU, with their experts: leave --placement {placement} out, or use n_cpu_moe=N"
        )
    return f"n_cpu_moe={max(int(amount), blocks)}"


def refuse_streaming(workload: Workload, plan: Plan) -> None:
    """Raises UserError where the engine would have to load experts while it runs, and does not."""
    runtime = workload.runtime
    if runtime is None or runtime.streams or plan.device_budgets or plan.eviction in BOUNDS:
        return
    memory = memory_of(workload, plan)
    if plan.started == COLD and memory.left_bytes:
        how = "--cold-per-sequence" if plan.cold_per_sequence else "--start cold"
        raise UserError(
            f"{how} empties slots that would be filled again, and {runtime.name} loads no experts while it runs; leave it out"
        )
    streams = memory.left_bytes - plan.budget_bytes + plan.pool_bytes
    if streams <= 0:
        return
    way = ways_to_hold(workload, memory) if isinstance(memory, CardsMemory) and not memory.whole else ""
    way = way or _way_to_hold(workload, memory, min(plan.budget_bytes, memory.room_bytes))
    if memory.room_bytes >= memory.left_bytes + plan.pool_bytes:  # nothing but the budget keeps them out
        way = f"leave the budget out, and all are; else {way}"
    raise UserError(
        f"{runtime.name} loads no experts while it runs, and {nbytes(streams)} of those left to the device are not resident beside "
        f"{memory.rest} of {nbytes(memory.usable_bytes)}: {way}"
    )


def _way_to_hold(workload: Workload, memory: Memory, room_bytes: int) -> str:
    """What makes all experts resident that are left to the device, in the words of the engine. room_bytes: for these experts."""
    runtime, model = workload.runtime, workload.model
    if runtime is not None and runtime.device == CPU:
        return "it computes on the CPU alone; name a machine without a GPU, such as a --host without --gpu"
    if runtime is not None and runtime.of("cpu.memory") is None and not runtime.only_stores:
        return "it computes nothing on the CPU either; choose a smaller --format, or a device with more memory"
    if runtime is not None and workload.hw.cpu is None and not runtime.only_stores:
        return f"{workload.hw.name} states no CPU that could take the others; choose a smaller --format, or a device with more memory"
    if runtime is not None and runtime.engine == "ktransformers":
        return f"the most that fit of each layer are --flags '--kt-num-gpu-experts {most_of_each_layer(model, room_bytes)}'"
    least = memory.least_blocks(room_bytes)
    if least is None:
        return "no N of --placement n_cpu_moe=N fits"
    return f"the least N that fits is --placement n_cpu_moe={least}"


def most_of_each_layer(model: ModelShape, room_bytes: int) -> int:
    """As many experts of each layer as fit."""
    return max(room_bytes, 0) * max(layer.n_experts for layer in model.layers) // model.all_expert_bytes


def cached(workload: Workload, plan: Plan) -> Ints:
    """Objects that the page cache holds before the first event."""
    sizes = np.repeat(workload.model.expert_bytes, workload.trace.n_experts)
    return resident_before(sizes, loadable(workload, plan), plan.page_cache_bytes, plan.started)


def loadable(workload: Workload, plan: Plan) -> Flags:
    """[objects]: the placement leaves it to the device."""
    if plan.placement is None:
        return np.ones(workload.trace.n_layers * workload.trace.n_experts, bool)
    mine: Flags = placed(workload, plan) < workload.deciding
    return mine


def placed(workload: Workload, plan: Plan) -> Ints:
    """int8 [objects]: the unit to which the plan's placement gave it, such as n_cpu_moe=4 or layer_split=3/1; 0 = the first device."""
    return units_of(workload, str(plan.placement), plan.seed)


def units_of(workload: Workload, placement: str, seed: int) -> Ints:
    """int8 [objects]: the unit that has it for good. Raises UserError."""
    workload = workload.begun  # the same for the passes that a clock-driven schedule makes
    if (placement, seed) not in workload.placements:
        workload.placements[placement, seed] = _units_of(workload, placement, seed)
    return workload.placements[placement, seed]


def _units_of(workload: Workload, placement: str, seed: int) -> Ints:
    if popularity.other_trace(placement) and not counts_use(workload, placement, seed):
        name = named(placement).name
        raise UserError(
            f"--placement {placement}: {name} counts no use of experts; leave out what stands behind the colon, or write "
            f"{name}:first=50% to play what others play that count the first half"
        )
    text = popularity.text_for("placement", placement, workload.trace, workload.counted) or workload.trace
    return _answer(workload, placement, seed, popularity.use_of(text), text, workload.deciding)


def _answer(workload: Workload, placement: str, seed: int, use: Ints, text: Trace, devices: int) -> Ints:
    name, amount, _ = named(placement)
    module = policies.load("placement", name)
    unit, known, more = asked.unit(module, UNITS), range(devices), [text.expert_ids] * needs_text(module)
    if unit in ("proportions", "devices"):
        shares = proportions(name, amount, devices) if unit == "proportions" else _no_number(name, amount, devices)
        return asked.units(module, use.shape, known, use, shares, seed, devices, *more).ravel()
    number, cpu = _amount(amount, unit, name, len(use)), cpu_number(workload.costs)
    if unit == "blocks":
        number = sum(block < number for block in workload.model.moe_layers)
    return asked.units(module, use.shape, (*known, cpu), use, number, seed, cpu, *more).ravel()


def counts_use(workload: Workload, placement: str, seed: int) -> bool:
    """Whether a placement goes by the use of experts: asked for half of them under two uses, it gives two answers. So does one that is
    given the text."""
    name, amount, _ = named(placement)
    module, shape = policies.load("placement", name), (workload.trace.n_layers, workload.trace.n_experts)
    if needs_text(module):
        return True
    half = {"share": "=50%", "proportions": f"={amount}" * bool(amount), "devices": ""}.get(
        asked.unit(module, UNITS), f"={shape[0] // 2}"
    )
    rising = np.arange(shape[0] * shape[1]).reshape(shape)
    devices = max(2, len(workload.hw.devices)) if half == "" else len(workload.hw.devices)  # of one all have the same
    one, other = (
        _answer(workload, f"{name}{half}", seed, use, workload.trace, devices) for use in (rising, np.roll(rising, 1))
    )
    return not np.array_equal(one, other)


def needs_text(module: ModuleType) -> bool:
    """Whether a placement is given the text that it counts, and not its use of experts alone."""
    return "text" in getattr(module, "NEEDS", ())


def _no_number(name: str, amount: str, devices: int) -> int:
    """How many devices there are, for a placement of which nothing is chosen. Raises UserError."""
    if amount:
        raise UserError(f"--placement {name}={reprlib.repr(amount)[1:-1]}: {name} takes no number; write {name}")
    return devices


def proportions(name: str, text: str, devices: int) -> tuple[float, ...]:
    """The shares of a placement such as layer_split=3/1, alike without any. Raises UserError."""
    if not text:
        return (1.0,) * devices
    parts, example = text.split("/"), f"{name}={'/'.join('1' * devices)}"
    if not all(map(_is_number, parts)) or not sum(map(float, parts)):
        raise UserError(f"--placement {name}={reprlib.repr(text)[1:-1]} names no proportions; write {example}")
    if len(parts) != devices:
        raise UserError(
            f"--placement {name}={text} names {len(parts)} devices, and the machine has {devices}; write {example}"
        )
    return tuple(map(float, parts))


def _amount(text: str, unit: str, name: str, layers: int) -> float:
    """The number of a placement such as n_cpu_moe=4 or popular=50%. Raises UserError."""
    digits, share = text.removesuffix("%"), unit == "share"
    what, most = {
        "share": ("a share from 0 to 100%", 100.0), "layers": (f"a number of layers from 0 to {layers}", float(layers)),
        "blocks": ("a whole number of blocks of the model", float("inf")),
    }[unit]  # fmt: skip
    known = _is_number(digits) and share == text.endswith("%") and (share or "." not in digits)
    if not known or float(digits) > most:
        example = "50%" if share else "4"
        raise UserError(f"--placement {name}={reprlib.repr(text)[1:-1]} is not {what}; write {name}={example}")
    return float(digits) / 100 if share else float(digits)


def _is_number(text: str) -> bool:
    """Whether it is an unsigned decimal number."""
    return re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?|\.[0-9]{1,15}", text) is not None
