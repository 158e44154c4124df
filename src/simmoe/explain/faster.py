"""Whether another command line than those of the rows would be faster: what plan finds, played at the lengths of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from simmoe.explain.expected import Expected, speed_with
from simmoe.explain.rows import BOTH, DECODE, PROMPT
from simmoe.play.flagged import LLAMA_CPP
from simmoe.play.plan_search import GENERATED, TIE, Search
from simmoe.play.plan_search import PROMPT as READ
from simmoe.play.scenario import Scenario
from simmoe.policies.flags import Flags
from simmoe.simulator.errors import UserError

WORTH = 1.03  # times as fast: less is not worth another command line


@dataclass(frozen=True)
class Faster:
    """A command line that is faster than every row in something, and slower in nothing."""

    flags: Flags
    gains: dict[str, float]  # phase -> times the fastest row of the same lengths, geometric mean over the lengths


def faster(base: Scenario, played: Sequence[Expected]) -> Faster | None:
    """The first of those that plan finds; simulated beside simulated. None: no such line is found."""
    if base.engine_of_runtime().engine not in LLAMA_CPP:
        return None
    best = _best(played)
    phases = {one.row.phase for one in best}
    goal = "both" if len(phases) > 1 or BOTH in phases else phases.pop()
    held = [max(one.row.flags.context or 0, (one.row.flags.depth or 0) + (one.row.tokens or 0)) for one in played]
    try:
        search = Search(base, goal, max(*held, READ + GENERATED))
        lines = [search.choice(setup).flags for setup in search.best()]
    except UserError:
        return None
    return next((found for flags in lines if (found := _compared(base, flags, best))), None)


def _best(played: Sequence[Expected]) -> list[Expected]:
    """Of rows of the same phase and lengths the fastest, as simulated."""
    found: dict[tuple[object, ...], Expected] = {}
    for one in played:
        flags = one.row.flags
        key = (one.row.phase, flags.prompt, flags.generate, flags.depth)
        if key not in found or found[key].tok_s < one.tok_s:
            found[key] = one
    return list(found.values())


def _compared(base: Scenario, flags: Flags, best: Sequence[Expected]) -> Faster | None:
    ratios: dict[str, list[float]] = {}
    for one in best:
        speed = speed_with(base, flags, one.row)
        if speed is None or speed < one.tok_s * (1 - TIE):
            return None
        ratios.setdefault(one.row.phase, []).append(speed / one.tok_s)
    gains = {phase: exp(sum(map(log, each)) / len(each)) for phase, each in ratios.items()}
    ordered = {phase: gains[phase] for phase in (DECODE, PROMPT, BOTH) if phase in gains}
    return Faster(flags, ordered) if max(gains.values()) >= WORTH else None
