"""A residency plan, and what it means before anything is played: which guesses are loaded early, what the CPU computes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from simmoe import policies
from simmoe.play import asked
from simmoe.play.replay import one_of
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.decisions import BOUNDS, no_guesses
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.decisions import Guesses
from simmoe.simulator.nouns.trace import Trace

if TYPE_CHECKING:
    from simmoe.play.workload import Workload

PREFETCH_INTO = ("cache", "buffers")
UNITS = ("share", "layers", "proportions")  # of a placement's amount
Flags = npt.NDArray[np.bool_]


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


def guesses_of(workload: Workload, plan: Plan) -> Guesses:
    """What the plan's prefetcher wants, but for experts that stay on the CPU."""
    one_of("prefetch_into", plan.prefetch_into, PREFETCH_INTO)
    if plan.prefetch_into == "buffers" and plan.write_back:
        raise UserError("--prefetch-into buffers with --write-back is not modelled: leave one of them out")
    if plan.prefetch is None:
        return no_guesses(workload.requests)
    trace, requests = workload.trace, workload.requests
    event, obj = asked.guesses(policies.load("prefetch", plan.prefetch), requests.n_events, requests.n_objects, trace)
    if plan.placement is not None:
        kept = ~placed(trace, requests, plan).ravel()[obj]
        event, obj = event[kept], obj[kept]
    ptr = np.concatenate(([0], np.cumsum(np.bincount(event, minlength=requests.n_events))))
    return Guesses(ptr, obj, plan.prefetch_into == "buffers")


def on_cpu_of(workload: Workload, plan: Plan) -> Flags | None:
    """bool [requests]: if this expert is missing, the CPU computes it; None when that is never so."""
    if plan.miss == "fetch" and plan.placement is None:
        return None
    requests, costs = workload.requests, workload.costs
    flags = _cheaper(plan.miss, requests, costs)
    if plan.placement is not None:
        flags |= placed(workload.trace, requests, plan).ravel()[requests.obj]
    return flags


def _cheaper(miss: str, requests: Requests, costs: Costs) -> Flags:
    """What the miss policy says of every request."""
    column = requests.obj // costs.trace.n_experts
    cpu_ps = cache(lambda layer, tokens: costs.cpu_ps(layer, 1, tokens))
    alone = [cpu_ps(layer, tokens) for layer, tokens in zip(column.tolist(), requests.tokens.tolist())]
    idle, alone_ps = np.array(costs.transfer_ps)[column], np.array(alone, np.int64)
    return asked.flags(policies.load("miss", miss), requests.obj.shape, idle, alone_ps)


def placed(trace: Trace, requests: Requests, plan: Plan) -> Flags:
    """bool [layers, experts]: left to the CPU by the plan's placement, such as n_cpu_moe=4 or popular=50%."""
    name, _, amount = str(plan.placement).partition("=")
    module = policies.load("placement", name)
    use = np.bincount(requests.use_obj, minlength=requests.n_objects).reshape(trace.n_layers, trace.n_experts)
    return asked.flags(
        module, use.shape, use, _amount(amount, asked.unit(module, UNITS), name, trace.n_layers), plan.seed
    )


def _amount(text: str, unit: str, name: str, layers: int) -> float:
    digits, most = (text.removesuffix("%"), 100) if unit == "share" else (text, layers)
    example = f"{name}=50%" if unit == "share" else f"{name}=4"
    if not digits.replace(".", "", 1).isdigit() or (unit == "share") != text.endswith("%") or float(digits) > most:
        raise UserError(
            f"--placement {name}={text} is not a {unit} from 0 to {most}{'%' * (unit == 'share')}; write {example}"
        )
    return float(digits) / 100 if unit == "share" else float(digits)


def policy_identity(kind: str, name: str) -> str:
    """A bundled policy by its name, a file by its stem and content: a result never holds a path."""
    path = policies.find(kind, name)
    if path.parent == policies.FOLDER / kind:
        return path.stem
    return f"{path.stem} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def eviction_identity(eviction: str) -> str:
    """A bundled policy by its name, a file by its stem and content: a result never holds a path."""
    if eviction in BOUNDS:
        return eviction
    return policy_identity("eviction", eviction)
