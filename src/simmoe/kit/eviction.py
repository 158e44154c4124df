"""What every eviction policy must do. The referee follows its decisions: nobody is resident beyond the room, no expert leaves that its
event pins while another could, a hit is what was resident. Played again, in another order, they are the same, and so are those of the
compiled engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

import numpy as np

from simmoe import policies
from simmoe.kit.referee import broken
from simmoe.kit.scenarios import Say, Scenario, in_turn, scenarios, silent
from simmoe.policies import arguments
from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.blame import name_of, shortened
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.hooks import Told
from simmoe.simulator.decide.laws import BrokenLaw
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.policy_file import is_bundled
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.decisions import Decisions
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.recurrence import CompiledPlayer


def check_eviction(value: str, both: bool, say: Say = silent) -> list[str]:
    """What was checked of an eviction policy, a line each. Raises UserError."""
    module = policies.load("eviction", value)
    numbers = arguments.as_whole(arguments.given("eviction", value, module))
    cases = list(scenarios())
    made = [_played(module, case, numbers, Player()) for case in in_turn(cases, "playing", say)]
    for case, decided in zip(cases, made):
        for wrong in broken(case, decided):
            raise UserError(f"policy {name_of(module)}: {wrong}; {case}")
    pairs = list(
        reversed(list(zip(cases, made)))
    )  # so that nothing that is left of one scenario meets the same next one
    again = "decides otherwise when it is played again: keep all state in what init returns"
    _alike(module, in_turn(pairs, "playing again", say), numbers, Player(), again)
    lines = [
        f"{len(cases)} scenarios: room and pins kept, hits are what was resident",
        "played again: the same decisions",
    ]
    if not both or compiled.missing():
        return [*lines, not_compiled(both)]
    _alike(module, in_turn(pairs, "compiling", say), numbers, CompiledPlayer(), "decides otherwise when it is compiled")
    return [*lines, "compiled: the same decisions"]


def not_compiled(both: bool) -> str:
    """The line that says so; both: it was asked for."""
    return "not played by the compiled engine" + " (numba is not installed)" * (both and bool(compiled.missing()))


def _alike(
    module: ModuleType, made: Iterable[tuple[Scenario, Decisions]], numbers: Ints, player: Player, what: str
) -> None:
    for case, first in made:
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
    except BrokenLaw as error:
        raise writes(module, error, case) from None


def writes(module: ModuleType, error: BrokenLaw, case: object) -> Exception:
    """What a broken law means where a file of the user's was played: of a bundled one it is our own defect."""
    if is_bundled(module):
        return error
    return UserError(
        f"policy {name_of(module)} writes to what belongs to the machine, under another name or in a helper, so that a law is broken: "
        f"{shortened(str(error))}; {case}"
    )
