"""Which engine plays a scenario: the SimPy reference, or the compiled one where it is asked for or pays."""

from __future__ import annotations

from typing import NamedTuple

from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower.durations import Loading, loading
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.run import Clocks, Spans
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time import reference

ENGINES = ("auto", "simpy", "fast")
WORTH_COMPILING = 400_000  # accesses of all runs together: below, importing numba (0.7 s) costs more than it saves


class Engine(NamedTuple):
    """How decisions are played and time is attached."""

    name: str
    player: Player

    def simulate(
        self,
        costs: Costs,
        requests: Requests,
        decisions: Decisions,
        guesses: Guesses,
        overlap: bool,
        spans: Spans | None,
        loads: Loading | None = None,
    ) -> Clocks:
        """loads: what each load takes (default: its plain transfer)."""
        loads = loads or loading(costs, requests, decisions, guesses)
        if self.name == "simpy":
            return reference.simulate(costs, requests, decisions, guesses, loads, overlap=overlap, spans=spans)
        from simmoe.simulator.time import fast

        return fast.simulate(costs, requests, decisions, guesses, loads, overlap=overlap)


def engine(wish: str, costs: Costs, requests: Requests, *, spans: bool = False, runs: int = 1) -> Engine:
    """The engine for `runs` runs of a scenario. `wish`: "simpy" and "fast" are promises, "auto" chooses.

    Raises UserError when the compiled engine is asked for and cannot play the scenario, saying why.
    """
    if wish not in ENGINES:
        raise UserError(f"unknown engine {wish!r}; choose one of {', '.join(ENGINES)}")
    small = len(requests.use_obj) * runs < WORTH_COMPILING
    if wish == "simpy" or (wish == "auto" and (small or compiled.missing())):
        return Engine("simpy", Player())
    from simmoe.simulator.time import fast

    reason = fast.why_not(costs, requests, spans=spans)
    if reason and wish == "fast":
        raise UserError(f"the compiled engine cannot play this: {reason}; use --engine simpy")
    return Engine("simpy", Player()) if reason else Engine("fast", fast.CompiledPlayer())
