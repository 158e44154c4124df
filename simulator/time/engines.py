"""Which executor attaches times to decisions: SimPy, or the recurrence, interpreted or compiled."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower.durations import Loading, Loads
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.run import Clocks, Spans
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time import recurrence
from simmoe.simulator.time.loop import Loop
from simmoe.simulator.time.recurrence import CompiledPlayer
from simmoe.simulator.time.trial import tried

ENGINES = ("auto", "simpy", "plain", "fast")
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
        loads: Loading | Loads,
        timeline: ModuleType,
        spans: Spans | None = None,
    ) -> Clocks:
        """Times of every pass, the operations lowered by `timeline`. Raises UserError when the clock would overflow, and for a
        timeline that errs."""
        tried(timeline, costs, requests, decisions, guesses, loads)
        if self.name == "simpy":
            from simmoe.simulator.time import des

            return des.simulate(costs, requests, decisions, guesses, loads, timeline, spans)
        return recurrence.simulate(costs, requests, decisions, guesses, loads, timeline, self.player)

    def serve(
        self, made: Callable[[Player, bool], Loop], prefetching: bool, spans: Spans | None = None
    ) -> tuple[Loop, Clocks]:
        """A clock-driven run and the times of its passes. made(player, occupied) begins it (time/loop.py). Raises UserError."""
        if self.name == "simpy":
            from simmoe.simulator.time import des

            loop = made(self.player, True)
            return loop, des.serve_loop(loop, spans)
        failure: Exception | None = None
        if isinstance(self.player, CompiledPlayer):
            loop = made(self.player, False)
            try:
                return loop, recurrence.serve_loop(loop, self.player, prefetching)
            except UserError:
                raise
            except OverflowError:  # Python's numbers do not wrap
                pass
            except Exception as error:  # of compiled text: interpreted, it is known where
                failure = error
        loop = made(Player(), False)
        clocks = recurrence.serve_loop(loop, Player(), prefetching)
        if failure is not None:
            raise loop.deciding.fails_compiled(failure)
        return loop, clocks


def named(name: str) -> Engine:
    """The engine of that name: simpy, plain or fast."""
    return Engine(name, CompiledPlayer() if name == "fast" else Player())


def engine(wish: str, costs: Costs, requests: Requests, *, spans: bool = False, runs: int = 1) -> Engine:
    """The engine for `runs` runs of a scenario. `wish`: "simpy", "plain" and "fast" are promises, "auto" chooses.

    Raises UserError when the engine that is asked for cannot play the scenario, saying why.
    """
    _known(wish)
    if wish == "simpy" or (wish == "auto" and spans):
        return named("simpy")
    if wish == "plain":
        return _plain(spans)
    if wish == "auto" and (requests.n_uses * runs < WORTH_COMPILING or compiled.missing()):
        return named("plain")
    reason = recurrence.why_not(costs, requests, spans=spans)
    if reason and wish == "fast":
        raise UserError(f"the compiled engine cannot play this: {reason}; use --engine {'simpy' if spans else 'plain'}")
    return named("plain" if reason else "fast")


def engine_of_passes(wish: str, accesses: int, *, spans: bool = False) -> Engine:
    """The engine for so many accesses in passes that are formed while time goes on: what a pass may ask for is known when it is formed, and
    what the compiled engine cannot count is played interpreted then. Raises UserError."""
    _known(wish)
    if wish == "simpy" or (wish == "auto" and spans):
        return named("simpy")
    if wish == "plain":
        return _plain(spans)
    if wish == "fast":
        compiled.numba_version()
        if spans:
            raise UserError(
                "the compiled engine cannot play this: it does not record every launch and transfer, which a timeline file needs; use "
                "--engine simpy"
            )
        return named("fast")
    return named("plain" if accesses < WORTH_COMPILING or compiled.missing() else "fast")


def _known(wish: str) -> None:
    if wish not in ENGINES:
        raise UserError(f"unknown engine {wish!r}; choose one of {', '.join(ENGINES)}")


def _plain(spans: bool) -> Engine:
    if spans:
        raise UserError(
            "engine plain records no single launches and transfers, which a timeline file needs; use --engine simpy"
        )
    return named("plain")
