"""Compiles the machine, one policy and the clock with numba, as one module of plain text that numba can cache on disk.

Closures over a policy's functions are never found again in numba's cache, and a cached kernel that calls another file's function
goes stale when that file changes. So all text that a kernel needs is written into one module in a folder named by its digest.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from simmoe.simulator.decide import hooks as policy
from simmoe.simulator.decide import residency as machine
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import Missing, UserError
from simmoe.simulator.files import atomic
from simmoe.simulator.time import clock

ENTRIES = {"play", "run_passes"}  # compiled and cached
CALLED = {"launch"}  # long and seldom on the way
# Kernels allocate nothing, and counting references to their arrays costs ten times the work itself: no runtime (_nrt).
AS_ENTRY = "_nrt=False, cache=True, nogil=True"
AS_CALL = "_nrt=False"
INLINED_EARLY = '_nrt=False, inline="always"'  # by numba: compiles twice as fast where tuples of arrays are passed on
INLINED_LATE = "_nrt=False, forceinline=True"  # by LLVM: compiles faster where a helper is used in many places
PREFETCHING = {"prefetch", "promote", "buffer"}
HOST_ONLY = {"init"}  # runs once, before the kernel


@cache
def kernels(eviction: ModuleType | None, prefetching: bool = True) -> Any:
    """A module with `play` for the policy `eviction` compiled in; with `run_passes` when it is None.

    Without `prefetching` what the machine or the clock do for it is left out, which compiles faster.
    """
    sources = [clock] if eviction is None else [policy, *_imported(eviction), eviction, machine]
    own = sorted(set(_functions(eviction)) & set(_functions(machine))) if eviction else []
    if eviction and own:
        raise UserError(
            f"policy {Path(inspect.getfile(eviction)).name} defines {own[0]}(), a name of the machine; rename it"
        )
    if interpreted():
        return clock if eviction is None else SimpleNamespace(play=Player().bind(eviction))
    return _module(_text([Path(inspect.getfile(source)) for source in sources], set() if prefetching else PREFETCHING))


def interpreted() -> bool:
    """NUMBA_DISABLE_JIT=1: the same text runs from its own files, so that coverage sees its lines."""
    numba_version()
    import numba

    return bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]


def _functions(module: ModuleType) -> list[str]:
    """Names of the functions that a module defines itself."""
    return [name for name, it in vars(module).items() if inspect.isfunction(it) and it.__module__ == module.__name__]


def missing() -> bool:
    """Whether numba is not installed."""
    return importlib.util.find_spec("numba") is None


def numba_version() -> str:
    """The version of numba; raises Missing with the install line when it cannot be imported."""
    try:
        import numba
    except ImportError:
        raise Missing(
            "the compiled engine needs numba, which is not installed; run: pip install 'simmoe[fast]'"
        ) from None
    return str(numba.__version__)


def _imported(module: ModuleType) -> list[ModuleType]:
    """Modules of simmoe.policies that `module` imports functions from, each before those that use it."""
    found: list[ModuleType] = []
    for node in ast.parse(Path(inspect.getfile(module)).read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("simmoe.policies."):
            used = importlib.import_module(node.module)
            found += [m for m in (*_imported(used), used) if m not in found]
    return found


def _text(paths: list[Path], empty: set[str]) -> str:
    """Functions and integer constants of the files, later ones in place of earlier ones of the same name.

    The functions that `empty` names lose their bodies: they are never called.
    """
    pieces: dict[str, str] = {}
    for path in paths:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name not in HOST_ONLY:
                pieces.pop(node.name, None)
                if node.name in empty:
                    node.body = [ast.Pass()]
                pieces[node.name] = f"@njit({_how(node.name, path)})\n{ast.unparse(_bare(node))}"
            elif isinstance(node, ast.Assign) and _is_constant(node):
                pieces[ast.unparse(node.targets[0])] = ast.unparse(node)
    return "\n\n".join(["from numba import njit", *pieces.values(), ""])


def _how(name: str, path: Path) -> str:
    """How a function of that file is compiled."""
    if name in ENTRIES:
        return AS_ENTRY
    if name in CALLED:
        return AS_CALL
    return INLINED_EARLY if path.parent.name in ("time", "decide") else INLINED_LATE


def _bare(function: ast.FunctionDef) -> ast.FunctionDef:
    """The function without its annotations."""
    for argument in function.args.args:
        argument.annotation = None
    function.returns = None
    return function


def _is_constant(node: ast.Assign) -> bool:
    """Whole numbers, one or a tuple of them, assigned at module level."""
    try:
        value = ast.literal_eval(node.value)
    except ValueError:
        return False
    values = value if isinstance(value, tuple) else (value,)
    return bool(values) and all(isinstance(v, int) for v in values)


def _module(text: str) -> ModuleType:
    """The module of that text, imported from a folder that its digest names."""
    stamp = f"numba {numba_version()} python {sys.version_info[:2]}\n{text}"
    name = f"simmoe_kernel_{hashlib.sha256(stamp.encode()).hexdigest()[:24]}"
    path = _folder() / name / "kernel.py"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as stream:
            stream.write(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # numba looks its functions up by module name
    spec.loader.exec_module(module)
    return module


@cache
def _folder() -> Path:
    """Where kernels are kept: $SIMMOE_CACHE, else the user's cache folder, else a temporary one when that cannot be written."""
    home = os.environ.get("SIMMOE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "simmoe"
    try:
        Path(home).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return Path(home)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="simmoe-"))
