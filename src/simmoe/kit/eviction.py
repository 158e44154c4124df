"""What every eviction policy must do. The referee follows its decisions: nobody is resident beyond the room, no expert leaves that its
event pins while another could, a hit is what was resident. Played again, in another order, they are the same, and so are those of the
compiled engine.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from simmoe import policies
from simmoe.kit.referee import broken
from simmoe.kit.scenarios import Scenario, scenarios
from simmoe.policies import arguments
from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.blame import name_of
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.hooks import Told
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.decisions import Decisions
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.recurrence import CompiledPlayer


def check_eviction(value: str, both: bool) -> list[str]:
    """What was checked of an eviction policy, a line each. Raises UserError."""
    module = policies.load("eviction", value)
    numbers = arguments.as_whole(arguments.given("eviction", value, module))
    cases = list(scenarios())
    made = [_played(module, case, numbers, Player()) for case in cases]
    for case, decided in zip(cases, made):
        for wrong in broken(case, decided):
            raise UserError(f"policy {name_of(module)}: {wrong}; {case}")
    _alike(
        module,
        cases,
        made,
        numbers,
        Player(),
        "decides otherwise when it is played again: keep all state in what init returns",
    )
    lines = [
        f"{len(cases)} scenarios: room and pins kept, hits are what was resident",
        "played again: the same decisions",
    ]
    if not both or compiled.missing():
        return [*lines, not_compiled(both)]
    _alike(module, cases, made, numbers, CompiledPlayer(), "decides otherwise when it is compiled")
    return [*lines, "compiled: the same decisions"]


def not_compiled(both: bool) -> str:
    """The line that says so; both: it was asked for."""
    return "not played by the compiled engine" + " (numba is not installed)" * (both and bool(compiled.missing()))


def _alike(
    module: ModuleType, cases: list[Scenario], made: list[Decisions], numbers: Ints, player: Player, what: str
) -> None:
    """The other way round, so that nothing that is left of one scenario meets the same next one."""
    for case, first in reversed(list(zip(cases, made))):
        second = _played(module, case, numbers, player)
        for field in ("hit", "loads", "evicted", "evicted_for", "issued", "used"):
            if not np.array_equal(getattr(first, field), getattr(second, field)):
                raise UserError(f"policy {name_of(module)} {what}; {case}")


def _played(module: ModuleType, case: Scenario, numbers: Ints, player: Player) -> Decisions:
    use = np.bincount(case.requests.use_obj, minlength=case.requests.n_objects)
    try:
        return decide(
            case.requests, case.expert_bytes, module, case.budget_bytes, scope=case.scope, guesses=case.guesses,
            cold_at=case.cold_at, seed=case.number, told=Told(numbers, use), player=player,
        )  # fmt: skip
    except UserError as error:
        raise UserError(f"{error}; {case}") from None
