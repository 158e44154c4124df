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
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from simmoe.simulator.binding import bound
from simmoe.simulator.decide import hooks as policy
from simmoe.simulator.decide import residency as machine
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import Missing, UserError
from simmoe.simulator.files import atomic
from simmoe.simulator.lower import layer
from simmoe.simulator.time import rates, serve
from simmoe.simulator.time.inline import inlined

ENTRIES = {"play", "run_passes"}  # compiled and cached
CALLED = {"run_pieces", "run_one"}  # long and seldom on the way
# Kernels allocate nothing, and counting references to their arrays costs ten times the work itself: no runtime (_nrt).
AS_ENTRY = "_nrt=False, cache=True, nogil=True"
AS_CALL = "_nrt=False"
INLINED = "_nrt=False, forceinline=True"  # by LLVM: what could not be put into the text of its callers
PREFETCHING = {  # never called without prefetches
    "prefetch", "promote", "buffer", "note_fresh", "late_hits", "late_slots", "ended", "op_fetch",
}  # fmt: skip
HOST_ONLY = {"init"}  # runs once, before the kernel


@cache
def kernels(eviction: ModuleType, prefetching: bool = True) -> Any:
    """A module with `play`, the policy `eviction` compiled in.

    Without `prefetching` what the machine does for it is left out, which compiles faster.
    """
    own = sorted(set(_functions(eviction)) & set(_functions(machine)))
    if own:
        raise UserError(
            f"policy {Path(inspect.getfile(eviction)).name} defines {own[0]}(), a name of the machine; rename it"
        )
    if interpreted():
        return SimpleNamespace(play=Player().bind(eviction))
    return _compiled((policy, *_imported(eviction), eviction, machine), prefetching)


@cache
def clock(timeline: ModuleType, prefetching: bool = True) -> Any:
    """A module with `run_passes`: the recurrence over operations, lowered by `timeline`."""
    sources = (layer, timeline, rates, serve)
    return bound(*sources) if interpreted() else _compiled(sources, prefetching)


def _compiled(sources: Sequence[ModuleType], prefetching: bool) -> ModuleType:
    origin = " ".join(source.__name__ for source in sources)  # numba's index names the types of these modules
    return _module(f"# {origin}\n{_text(sources, set() if prefetching else PREFETCHING)}")


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


def _text(sources: Sequence[ModuleType], empty: set[str]) -> str:
    """The functions of the modules, later ones in place of earlier ones of the same name, and the whole numbers that they read.

    The functions that `empty` names lose their bodies: they are never called.
    """
    functions: dict[str, ast.FunctionDef] = {}
    for source in sources:
        for node in ast.parse(Path(inspect.getfile(source)).read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name not in HOST_ONLY:
                functions.pop(node.name, None)
                functions[node.name] = _bare(node)
                if node.name in empty:
                    node.body = ast.parse("return 0").body
    left = inlined(functions, ENTRIES | CALLED)
    named = {node.id for function in left.values() for node in ast.walk(function) if isinstance(node, ast.Name)}
    constants = {name: it for source in sources for name, it in vars(source).items() if name in named and _is_whole(it)}
    kernels = (f"@njit({_how(name)})\n{ast.unparse(function)}" for name, function in left.items())
    return "\n\n".join(["from numba import njit", *(f"{name} = {it}" for name, it in constants.items()), *kernels, ""])


def _how(name: str) -> str:
    """How a function that is left is compiled."""
    if name in ENTRIES:
        return AS_ENTRY
    return AS_CALL if name in CALLED else INLINED


def _bare(function: ast.FunctionDef) -> ast.FunctionDef:
    """The function without its annotations."""
    for argument in function.args.args:
        argument.annotation = None
    function.returns = None
    return function


def _is_whole(value: object) -> bool:
    """A whole number, or a tuple of them."""
    values = value if isinstance(value, tuple) else (value,)
    return bool(values) and all(isinstance(one, int) for one in values)


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
