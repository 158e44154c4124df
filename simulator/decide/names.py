"""The names that the machine and a policy share: the hooks, and the names that a policy may not give to anything else."""

from __future__ import annotations

import inspect
from types import ModuleType

from simmoe.simulator.decide import hooks
from simmoe.simulator.decide import residency as machine


def functions(module: ModuleType) -> tuple[str, ...]:
    """Names of the functions that a module defines itself, in the order of its text."""
    return tuple(
        name for name, it in vars(module).items() if inspect.isfunction(it) and it.__module__ == module.__name__
    )


HOOKS = functions(hooks)


def reserved() -> tuple[str, ...]:
    """Names of the machine's functions and constants: the compiled engine puts a policy and the machine into one module."""
    return (*functions(machine), *(name for name, it in vars(machine).items() if isinstance(it, int)))
