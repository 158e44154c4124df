"""The names that the machine and its policies share: their hooks, and the names that no policy may give to anything else."""

from __future__ import annotations

from simmoe.simulator.binding import functions
from simmoe.simulator.decide import hooks
from simmoe.simulator.decide import residency as machine

HOOKS = tuple(functions(hooks))
SERVE = "serve"  # the hook of a miss rule


def reserved() -> tuple[str, ...]:
    """Names of the machine's functions and constants: the compiled engine puts its policies and the machine into one module."""
    return (*functions(machine), SERVE, *(name for name, it in vars(machine).items() if isinstance(it, int)))
