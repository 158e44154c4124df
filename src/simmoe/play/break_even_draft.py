"""Whether a draft pays: the same run without it, with other numbers of guesses, and at the acceptance from which it is no slower."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from simmoe.play import what_if
from simmoe.play.lanes import Lanes
from simmoe.play.result import Run
from simmoe.play.scenario import OPTIONS, Scenario
from simmoe.play.traced import traced

GUESSES = (1, 2, 4, 8)
ABOUT = 13  # runs that it takes: without, 7 or 8 for the break-even, as many guesses
OFF = {
    name: OPTIONS[name].default
    for name in ("draft", "acceptance", "draft_cost", "draft_model", "draft_format", "rejected", "rollback")
}


@dataclass(frozen=True)
class Pays:
    """Speeds in tok/s. Shares are whole percent of all guesses, as --acceptance 42% says them."""

    without: float
    by_guesses: dict[int, float]  # each guess as often right as in the run
    chance: float  # of each guess behind right ones
    at: dict[
        int, float
    ]  # share -> speed: the break-even and 1 % below it; 0 or 100 alone where it always or never pays
    break_even: int | None  # the least share at which it is no slower; None: even 100 % is slower

    def to_json(self) -> dict[str, Any]:
        return {
            "without_tok_s": self.without, "chance": self.chance,
            "tok_s_by_guesses": {str(n): speed for n, speed in self.by_guesses.items()},
            "break_even_percent": self.break_even, "tok_s_at_percent": {str(share): speed for share, speed in self.at.items()},
        }  # fmt: skip


def pays(scenario: Scenario, run: Run) -> Pays | None:
    """Of a run with a draft that decodes; None of others. Every speed is that of a run of its own."""
    draft = run.workload.speculation
    if draft is None or not run.tok_s:
        return None
    if scenario.trace is not None:
        scenario = replace(scenario, trace=traced(scenario.trace, scenario.model))  # opened once
    lanes = Lanes()

    @cache
    def speed(guesses: int, acceptance: str) -> float:
        return _speed(replace(scenario, draft=guesses, acceptance=acceptance), lanes)

    without = _speed(replace(scenario, **OFF), lanes)
    break_even, at = _break_even(lambda share: speed(draft.guesses, f"{share}%"), without)
    each = f"each={draft.chance:.15f}"
    return Pays(without, {n: speed(n, each) for n in GUESSES}, draft.chance, at, break_even)


def _speed(scenario: Scenario, lanes: Lanes) -> float:
    return what_if.played(scenario, ABOUT, lanes).tok_s or 0.0


def _break_even(speed: Callable[[int], float], without: float) -> tuple[int | None, dict[int, float]]:
    """Halved between a share that is slower than without a draft and one that is not, both played, until they lie 1 % apart."""
    slower, enough = 0, 100
    if speed(slower) >= without:
        return slower, {slower: speed(slower)}
    if speed(enough) < without:
        return None, {enough: speed(enough)}
    while enough - slower > 1:
        middle = (slower + enough) // 2
        slower, enough = (slower, middle) if speed(middle) >= without else (middle, enough)
    return enough, {slower: speed(slower), enough: speed(enough)}
