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
from collections.abc import Collection
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from simmoe.simulator.decide import hooks as policy
from simmoe.simulator.decide import residency as machine
from simmoe.simulator.decide.guard import counted, whole_victims
from simmoe.simulator.decide.names import HOOKS
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.policy_file import imported, is_bundled
from simmoe.simulator.errors import Missing
from simmoe.simulator.files import atomic
from simmoe.simulator.time import clock

ENTRIES = {"play", "run_passes"}  # compiled and cached
CALLED = {"launch", "judge"}  # long or seldom on the way
# Kernels allocate nothing, and counting references to their arrays costs ten times the work itself: no runtime (_nrt).
AS_ENTRY = "_nrt=False, cache=True, nogil=True"
AS_CALL = "_nrt=False"
INLINED_EARLY = '_nrt=False, inline="always"'  # by numba: compiles twice as fast where tuples of arrays are passed on
INLINED_LATE = "_nrt=False, forceinline=True"  # by LLVM: compiles faster where a helper is used in many places
CHECKED = ", boundscheck=True"
OWN = {Path(inspect.getfile(module)) for module in (policy, machine, clock)}
PREFETCHING = {"prefetch", "promote", "buffer"}
HOST_ONLY = {"init"}  # runs once, before the kernel


@cache
def kernels(eviction: ModuleType | None, prefetching: bool = True) -> Any:
    """A module with `play` for the policy `eviction` compiled in; with `run_passes` when it is None.

    Without `prefetching` what the machine or the clock do for it is left out, which compiles faster.
    """
    if interpreted():
        return clock if eviction is None else SimpleNamespace(play=Player().bind(eviction))
    empty = set() if prefetching else PREFETCHING
    if eviction is None:
        return _module(_text([Path(inspect.getfile(clock))], empty))
    own = Path(inspect.getfile(eviction))
    paths = [Path(inspect.getfile(source)) for source in (policy, *imported(own), eviction, machine)]
    left_out = {hook for hook in HOOKS if not hasattr(eviction, hook)}
    if is_bundled(eviction):
        return _module(_text(paths, empty))
    return _module(f"# {eviction.__name__}\n{_text(paths, empty, left_out, guarded=True)}")


def interpreted() -> bool:
    """NUMBA_DISABLE_JIT=1: the same text runs from its own files, so that coverage sees its lines."""
    numba_version()
    import numba

    return bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]


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


def _text(paths: list[Path], empty: set[str], left_out: Collection[str] = (), guarded: bool = False) -> str:
    """Functions and integer constants of the files, later ones in place of earlier ones of the same name.

    The functions that `empty` names lose their bodies: they are never called. left_out: hooks that the policy lacks, though a
    file from which it imports may have them. guarded: the policy is a user's, so its loops, indices and victims are checked.
    """
    pieces: dict[str, str] = {}
    for path in paths:
        tree, own = ast.parse(path.read_bytes()), path in OWN
        for node in (whole_victims(counted(tree)) if guarded and not own else tree).body:
            if isinstance(node, ast.FunctionDef) and node.name not in HOST_ONLY and (own or node.name not in left_out):
                pieces.pop(node.name, None)
                if node.name in empty:
                    node.body = [ast.Pass()]
                pieces[node.name] = f"@njit({_how(node.name, own, guarded)})\n{ast.unparse(_bare(node))}"
            elif isinstance(node, ast.Assign) and _is_constant(node):
                pieces[ast.unparse(node.targets[0])] = ast.unparse(node)
    return "\n\n".join(["from numba import njit", *pieces.values(), ""])


def _how(name: str, own: bool, guarded: bool) -> str:
    """How a function is compiled. own: it belongs to the machine or the clock."""
    if not own:
        return INLINED_LATE + CHECKED * guarded
    if name in ENTRIES:
        return AS_ENTRY
    return AS_CALL if name in CALLED else INLINED_EARLY


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
