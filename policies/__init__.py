"""Policies, one file each: the file name is the registry, and a path to a file outside the package works too."""

from __future__ import annotations

import importlib.util
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from simmoe.simulator.errors import UserError
from simmoe.simulator.files import available, resolve

FOLDER = Path(__file__).parent


def names(kind: str) -> list[str]:
    """Names of the bundled policies of one kind (a folder beside this file)."""
    return available(FOLDER / kind, ".py")


def find(kind: str, name: str | Path) -> Path:
    """The file of a policy; raises UserError with what exists and where to add one."""
    return resolve(name, FOLDER / kind, ".py", f"{kind} policy", f"add one as policies/{kind}/NAME.py or give a path")


def load(kind: str, name: str | Path) -> ModuleType:
    """The module of a policy: a path that exists wins over a bundled name."""
    return _load(kind, find(kind, name).resolve())


@cache
def _load(kind: str, path: Path) -> ModuleType:
    name = f"simmoe.policies.{kind}.{path.stem}"
    loader = SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{kind} policy {path.name} cannot be loaded: {type(error).__name__}: {error}") from None
    return module
