"""How far a run stays from what nothing can beat: everything resident, Belady's choice in the same scope, and Belady's with bypass.

belady loads on demand and knows the future; a prefetcher may be faster. belady_bypass bounds the loaded bytes of all that load what is
missing, prefetchers too (play/bars.py), and its speed is what those bytes and the launches leave, whatever overlaps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from simmoe.play import bars
from simmoe.play.plan import Plan, memory_of
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.simulator.decide.curves import Curves
from simmoe.simulator.decide.decisions import first_events
from simmoe.simulator.decide.start import WARM
from simmoe.simulator.errors import UserError
from simmoe.simulator.time.engines import Engine

BELADY, BYPASS, EVERYTHING = BOUNDS = ("belady", "belady_bypass", "everything")
ON_DEMAND: dict[str, Any] = {"prefetch": None, "prefetch_into": "cache", "cancel": False, "miss": "fetch", "asked": ()}


@dataclass(frozen=True)
class Bar:
    """A bound. tok_s: what it leaves, which of belady_bypass is no speed of its run."""

    name: str
    run: Run
    tok_s: float | None

    def gap_ms(self, run: Run) -> float | None:
        """Milliseconds a token that a run takes beside."""
        return 1e3 / run.tok_s - 1e3 / self.tok_s if run.tok_s and self.tok_s else None


class Bars:
    """The bounds of several runs, each found once."""

    def __init__(self) -> None:
        self._known = dict[Any, Bar | None]()

    def of(self, run: Run, engine: Engine) -> dict[str, Bar]:
        """By name; without those that do not hold for this run."""
        loads_all = all(one.hits + one.misses + one.placed == one.requests for one in (run.prefill, run.decode))
        names = BOUNDS if loads_all and not run.plan.device_budgets else (EVERYTHING,) * (not run.plan.device_budgets)
        found = {name: self._bar(name, run, engine) for name in names}
        return {name: bar for name, bar in found.items() if bar is not None}

    def _bar(self, name: str, run: Run, engine: Engine) -> Bar | None:
        workload, plan = run.workload.begun, _plan(name, run)
        key = id(workload), name, plan
        if key not in self._known:
            try:
                self._known[key] = self._made(name, run, play(workload, plan, engine), engine)
            except UserError:  # such as one that has no room beside what the run does without
                self._known[key] = None
        return self._known[key]

    def _made(self, name: str, run: Run, bound: Run, engine: Engine) -> Bar | None:
        if name != BYPASS:
            return Bar(name, bound, bound.tok_s)
        everything = self._bar(EVERYTHING, run, engine)
        tok_s = (
            None
            if everything is None or not _is_bounded(run)
            else bars.most_tok_s(everything.run, _least(bound, engine))
        )
        return None if tok_s is None else Bar(name, bound, tok_s)


def _plan(name: str, run: Run) -> Plan:
    plan, workload = run.plan, run.workload.begun
    if name == BELADY:
        return replace(plan, eviction=name, **ON_DEMAND)
    if name == BYPASS:
        return replace(plan, eviction=name, scope="global", write_back=False, **ON_DEMAND)
    kept = plan.placement if workload.cpu_blocks else None  # whole layers of the CPU stay there
    full: dict[str, Any] = {
        "scope": "global",
        "start": "auto",
        "cold_per_sequence": False,
        "page_cache_bytes": 0,
        "write_back": False,
    }
    bare = replace(plan, eviction=name, placement=kept, **full, **ON_DEMAND)
    return replace(bare, budget_bytes=memory_of(workload, bare).left_bytes, beyond_bytes=0)


def _is_bounded(run: Run) -> bool:
    """Whether the fewest loads from empty slots bound it: experts may not be there before, or elsewhere."""
    plan = run.plan
    return (
        (plan.placement, plan.warm_up) == (None, None)
        and not plan.page_cache_bytes
        and run.start != WARM
        and run.serving is None
    )


def _least(bound: Run, engine: Engine) -> int:
    """Bytes that any policy loads in the decode passes at the budget of `bound`."""
    workload, plan = bound.workload, bound.plan
    cold_at = first_events(workload.trace, workload.requests) if plan.cold_per_sequence else None
    sizes, phase = workload.model.expert_bytes, workload.trace.phase
    made = Curves(workload.requests, phase, sizes, "global", cold_at=cold_at, seed=plan.seed, player=engine.player)
    return int(bars.least(made, workload.trace, [plan.budget_bytes])[1][0])
