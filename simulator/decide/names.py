"""The names that the machine and a policy share: the hooks, and the names that a policy may not give to anything else."""

from __future__ import annotations

from simmoe.simulator.binding import functions
from simmoe.simulator.decide import hooks
from simmoe.simulator.decide import residency as machine

HOOKS = tuple(functions(hooks))


def reserved() -> tuple[str, ...]:
    """Names of the machine's functions and constants: the compiled engine puts a policy and the machine into one module."""
    return (*functions(machine), *(name for name, it in vars(machine).items() if isinstance(it, int)))
