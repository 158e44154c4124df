"""A residency plan, and what it means before anything is played: which guesses are loaded early, what the CPU computes."""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simmoe import policies
from simmoe.play import asked
from simmoe.play.replay import one_of
from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.decide import policy_file
from simmoe.simulator.decide.decisions import no_guesses
from simmoe.simulator.decide.missing import LOAD, Rule
from simmoe.simulator.decide.names import SERVE
from simmoe.simulator.decide.prices import cpu_number, priced
from simmoe.simulator.decide.start import COLD, resident_before
from simmoe.simulator.decide.stepwise import SecondTier
from simmoe.simulator.errors import UserError
from simmoe.simulator.link_time import load_ps
from simmoe.simulator.nouns.decisions import Guesses

if TYPE_CHECKING:
    from simmoe.play.workload import Workload

PREFETCH_INTO = ("cache", "buffers")
UNITS = ("share", "layers", "proportions")  # of a placement's amount


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
    placement: str | None = None  # such as n_cpu_moe=4, popular=50%
    prefetch_into: str = "cache"
    write_back: bool = False
    page_cache_bytes: int = 0
    device_budgets: tuple[int, ...] = ()  # of each of several devices
    start: str = "auto"  # what is resident before the run: auto, warm, cold (simulator/decide/start.py)
    warm_up: int | None = None  # the first so many tokens are decided, not timed
    arrivals: str | None = None  # of requests, under a clock-driven schedule: poisson:2/s, every:500ms; None = all at 0

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
    event, obj = asked.guesses(policies.load("prefetch", plan.prefetch), requests.n_events, requests.n_objects, trace)
    if plan.placement is not None:
        kept = placed(workload, plan)[obj] == LOAD
        event, obj = event[kept], obj[kept]
    ptr = np.concatenate(([0], np.cumsum(np.bincount(event, minlength=requests.n_events))))
    return Guesses(ptr, obj, plan.prefetch_into == "buffers")


def check_prefetch(plan: Plan) -> None:
    """Raises UserError for what cannot be together."""
    one_of("prefetch_into", plan.prefetch_into, PREFETCH_INTO)
    if plan.prefetch_into == "buffers" and plan.write_back:
        raise UserError("--prefetch-into buffers with --write-back is not modelled: leave one of them out")


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
    loads_all = policy_file.does_nothing(module, SERVE)
    rule = None if loads_all else priced(module, costs, workload.requests)
    tier = None
    if plan.page_cache_bytes and rule is not None:
        near_ps = np.array([load_ps(int(b), costs.hw, cached=True) for b in workload.model.expert_bytes], np.int64)
        near_ps = np.repeat(near_ps, workload.trace.n_experts)
        tier = SecondTier(plan.page_cache_bytes, policies.load("eviction", "lru"), near_ps, cached(workload, plan))
    return WhenMissing(None if plan.placement is None else placed(workload, plan), rule, tier)


def cached(workload: Workload, plan: Plan) -> Ints:
    """Objects that the page cache holds before the first event."""
    sizes = np.repeat(workload.model.expert_bytes, workload.trace.n_experts)
    return resident_before(sizes, loadable(workload, plan), plan.page_cache_bytes, plan.started)


def loadable(workload: Workload, plan: Plan) -> Flags:
    """[objects]: the placement leaves it to the device."""
    if plan.placement is None:
        return np.ones(workload.requests.n_objects, bool)
    mine: Flags = placed(workload, plan) < len(workload.hw.devices)
    return mine


def placed(workload: Workload, plan: Plan) -> Ints:
    """int8 [objects]: the unit to which the plan's placement gave it, such as n_cpu_moe=4 or layer_split=3/1; 0 = the first device."""
    return units_of(workload, str(plan.placement), plan.seed)


def units_of(workload: Workload, placement: str, seed: int) -> Ints:
    """int8 [objects]: the unit that has it for good. Raises UserError."""
    trace, requests, devices = workload.trace, workload.requests, len(workload.hw.devices)
    name, _, amount = placement.partition("=")
    module = policies.load("placement", name)
    use = np.bincount(requests.use_obj, minlength=requests.n_objects).reshape(trace.n_layers, trace.n_experts)
    unit, known = asked.unit(module, UNITS), range(devices)
    if unit == "proportions":
        return asked.units(module, use.shape, known, use, proportions(name, amount, devices), seed, devices).ravel()
    share, cpu = _amount(amount, unit, name, trace.n_layers), cpu_number(workload.costs)
    return asked.units(module, use.shape, (*known, cpu), use, share, seed, cpu).ravel()


def proportions(name: str, text: str, devices: int) -> tuple[float, ...]:
    """The shares of a placement such as layer_split=3/1. Raises UserError."""
    parts, example = text.split("/"), f"{name}={'/'.join('1' * devices)}"
    if not all(map(_is_number, parts)) or not sum(map(float, parts)):
        raise UserError(f"--placement {name}={reprlib.repr(text)[1:-1]} names no proportions; write {example}")
    if len(parts) != devices:
        raise UserError(
            f"--placement {name}={text} names {len(parts)} devices, and the machine has {devices}; write {example}"
        )
    return tuple(map(float, parts))


def _amount(text: str, unit: str, name: str, layers: int) -> float:
    digits, share = text.removesuffix("%"), unit == "share"
    most, what = (100, "a share from 0 to 100%") if share else (layers, f"a number of layers from 0 to {layers}")
    known = _is_number(digits) and share == text.endswith("%") and (share or "." not in digits)
    if not known or float(digits) > most:
        example = "50%" if share else "4"
        raise UserError(f"--placement {name}={reprlib.repr(text)[1:-1]} is not {what}; write {name}={example}")
    return float(digits) / 100 if share else float(digits)


def _is_number(text: str) -> bool:
    """Whether it is an unsigned decimal number."""
    return re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?|\.[0-9]{1,15}", text) is not None
