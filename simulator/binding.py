"""One text in several bindings: functions of several modules rebound into one scope, where later modules win.

The recurrence and the list of operations run the same lowering, a policy runs in the machine's place of its hooks: each function of the
scope calls the others by name, whichever module they come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType, MappingProxyType, ModuleType, SimpleNamespace
from typing import Any


def functions(module: ModuleType) -> dict[str, FunctionType]:
    """The functions that a module defines itself, by name."""
    own = vars(module).items()
    return {name: it for name, it in own if isinstance(it, FunctionType) and it.__module__ == module.__name__}


def bound(*modules: ModuleType, instead: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """A namespace of all functions of `modules`, each of which sees the others; `instead` takes the place of names that it has."""
    scope: dict[str, Any] = {}
    for module in modules:
        scope.update({name: it for name, it in vars(module).items() if not name.startswith("__")})
    for module in modules:
        for name, it in functions(module).items():
            scope[name] = FunctionType(it.__code__, scope, name, it.__defaults__)
    scope.update(instead)
    return SimpleNamespace(**scope)
