"""The conformance kit: what every eviction policy, prefetcher and miss rule must do, bundled or a user's, played on drawn scenarios."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from simmoe import policies
from simmoe.kit.eviction import check_eviction
from simmoe.kit.miss import check_miss
from simmoe.kit.prefetch import check_prefetch
from simmoe.kit.scenarios import Say, silent
from simmoe.simulator.decide.blame import one_line
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import not_there
from simmoe.simulator.naming import named
from simmoe.simulator.nearest import among

CHECKS: Mapping[str, tuple[str, str, Callable[[str, bool, Say], list[str]]]] = {  # kind -> its function, its name in words, its check
    "eviction": ("victim", "an eviction policy", check_eviction),
    "prefetch": ("wanted", "a prefetcher", check_prefetch),
    "miss": ("serve", "a miss rule", check_miss),
}  # fmt: skip


def check_kit(value: str | Path, both: bool = True, say: Say = silent) -> list[str]:
    """Plays the file that `value` names, a bundled one or a user's, with what it is told behind its name.

    Returns what was checked, a line each. Raises UserError, one line, where it breaks a rule. both: compiled as well, which takes some
    seconds. say: told how far it is.
    """
    name = named(str(value)).name
    lines = []
    for kind in kinds_of(name):
        say(f"loading {Path(name).name}", 0, 1)
        _, words, check = CHECKS[kind]
        lines += [f"{Path(name).name} is {words}", *check(str(value), both, say)]
    return lines


def kinds_of(name: str) -> list[str]:
    """Kinds of a file by the functions that it defines; of a bundled name, the folders that have it. Raises UserError."""
    if not os.path.isfile(name):
        every = sorted({one for kind in CHECKS for one in policies.names(kind)})
        if name not in every:
            why = not_there(name, Path(name), ".py") or among(name, every, "choose one of")
            raise UserError(f"no policy that the kit plays, and no file, is named {name!r}; {why}")
        return [kind for kind in CHECKS if name in policies.names(kind)]
    defined = _defined(Path(name))
    found = [kind for kind, (function, _, _) in CHECKS.items() if function in defined]
    if not found:
        known = ", ".join(f"{function}() ({kind})" for kind, (function, _, _) in CHECKS.items())
        raise UserError(
            f"policy {Path(name).name} defines none of {known}, so that the kit does not know what to play; see docs/extending/README.md"
        )
    return found


def _defined(file: Path) -> set[str]:
    """Names that stand at the top of the file."""
    try:
        nodes = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError, OSError, MemoryError, RecursionError) as error:
        raise UserError(f"policy {file.name} cannot be read: {one_line(error)}") from None
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    targets = [target for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
    imported = {
        alias.asname or alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    return (
        functions
        | imported
        | {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    )
