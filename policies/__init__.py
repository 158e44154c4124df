"""Policies, one file each: the file name is the registry, and a path to a file outside the package works too."""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from simmoe.simulator.decide import policy_file
from simmoe.simulator.decide.blame import one_line
from simmoe.simulator.decide.guard import counted
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import available, resolve
from simmoe.simulator.naming import named

FOLDER = Path(__file__).parent
GUARDED = ("eviction", "miss", "timeline", "schedule")  # kinds whose loops are counted in a user's file
TOLD = ("eviction", "prefetch", "miss", "placement")  # kinds behind whose names numbers and another text may stand
RENAMED = {("miss", "cheaper"): "idle_cheaper; balanced splits the missing experts of a layer between link and CPU"}


def names(kind: str) -> list[str]:
    """Names of the bundled policies of one kind (a folder beside this file)."""
    return available(FOLDER / kind, ".py")


def find(kind: str, name: str | Path) -> Path:
    """The file of a policy; raises UserError with what exists and where to add one."""
    name = named(str(name)).name if kind in TOLD else name
    if (kind, str(name)) in RENAMED and not Path(name).exists():
        raise UserError(f"the {kind} policy {name} is now called {RENAMED[kind, str(name)]}")
    return resolve(name, FOLDER / kind, ".py", f"{kind} policy", f"add one as policies/{kind}/NAME.py or give a path")


def load(kind: str, name: str | Path) -> ModuleType:
    """The module of a policy: a path that exists wins over a bundled name. What stands behind the name is passed over.

    Raises UserError when a file cannot be loaded or, for an eviction policy or a miss rule, breaks a rule of
    simulator/decide/policy_file.py.
    """
    name = named(str(name)).name if kind in TOLD else name
    return _checked(kind, find(kind, name)) if os.path.exists(name) else _bundled(FOLDER, kind, str(name))


@cache
def _bundled(folder: Path, kind: str, name: str) -> ModuleType:
    """A policy of this package, whose policies are in `folder`: a process imports its file once, so it looks for it once."""
    return _checked(kind, find(kind, name))


def _checked(kind: str, file: Path) -> ModuleType:
    path = file.resolve()
    module = _load(kind, path, hashlib.sha256(path.read_bytes()).hexdigest())
    if kind in policy_file.KINDS:
        policy_file.check(module, kind)
    return module


@cache
def _load(kind: str, path: Path, sha256: str) -> ModuleType:
    """The module of a file of this package, or of a user's file; the latter is loaded again when it has changed."""
    name = (
        f"simmoe_policy_{path.stem}_{sha256[:12]}"  # so numba finds a policy's own NamedTuple again in the next process
    )
    try:
        if path.parent == (FOLDER / kind).resolve():
            return importlib.import_module(f"{__name__}.{kind}.{path.stem}")
        module = sys.modules[name] = _executed(path, name, kind in GUARDED)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise UserError(f"{kind} policy {path.name} cannot be loaded: {one_line(error)}") from None
    return module


def _executed(path: Path, name: str, guarded: bool) -> ModuleType:
    """A module from that file. guarded: its loops are counted, and those of the functions that it imports from this package."""
    module = ModuleType(name)
    module.__file__ = str(path)
    tree = ast.parse(path.read_bytes(), str(path))
    exec(compile(counted(tree) if guarded else tree, str(path), "exec", dont_inherit=True), vars(module))
    for own, it in list(vars(module).items()) if guarded else []:
        borrowed = inspect.isfunction(it) and it.__module__ != name and it.__module__.startswith(f"{__name__}.")
        if borrowed and own != "init":  # the state that a bundled `init` makes must be of its own module's class
            setattr(module, own, getattr(_twin(it.__module__), it.__name__))
    return module


@cache
def _twin(name: str) -> ModuleType:
    """A second copy of a module of this package, with its loops counted."""
    return _executed(Path(inspect.getfile(sys.modules[name])), name, True)
