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
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from simmoe.simulator.binding import bound
from simmoe.simulator.decide import guard
from simmoe.simulator.decide import hooks as policy
from simmoe.simulator.decide import residency as machine
from simmoe.simulator.decide.guard import counted, whole_victims
from simmoe.simulator.decide.names import HOOKS
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.policy_file import imported, is_bundled
from simmoe.simulator.errors import Missing
from simmoe.simulator.files import atomic
from simmoe.simulator.lower import layer
from simmoe.simulator.time import inline, rates, serve
from simmoe.simulator.time.inline import inlined

ENTRIES = {"play", "run_passes"}  # compiled and cached
CALLED = {"launch", "judge"}  # long or seldom on the way
# Kernels allocate nothing, and counting references to their arrays costs ten times the work itself: no runtime (_nrt).
AS_ENTRY = "_nrt=False, cache=True, nogil=True"
AS_CALL = "_nrt=False"
INLINED = "_nrt=False, forceinline=True"  # by LLVM: what could not be put into the text of its callers
CHECKED = "_nrt=False, forceinline=True, boundscheck=True"
OWN = (policy, machine, layer, rates, serve)
PREFETCHING = {  # never called without prefetches
    "prefetch", "promote", "buffer", "note_fresh", "late_hits", "late_slots", "ended", "op_fetch",
}  # fmt: skip
HOST_ONLY = {"init"}  # runs once, before the kernel


@cache
def kernels(eviction: ModuleType, prefetching: bool = True) -> Any:
    """A module with `play`, the policy `eviction` compiled in.

    Without `prefetching` what the machine does for it is left out, which compiles faster.
    """
    if interpreted():
        return SimpleNamespace(play=Player().bind(eviction))
    own = Path(inspect.getfile(eviction))
    left_out = {hook for hook in HOOKS if not hasattr(eviction, hook)}
    return _compiled(
        (policy, *imported(own), eviction, machine), prefetching, left_out, guarded=not is_bundled(eviction)
    )


@cache
def clock(timeline: ModuleType, prefetching: bool = True) -> Any:
    """A module with `run_passes`: the recurrence over operations, lowered by `timeline`."""
    sources = (layer, timeline, rates, serve)
    return bound(*sources) if interpreted() else _compiled(sources, prefetching)


def _compiled(
    sources: Sequence[ModuleType], prefetching: bool, left_out: Collection[str] = (), guarded: bool = False
) -> ModuleType:
    """The module of their text, imported from a folder that the digest of all that makes the text names.

    The text itself is made once: parsing and putting functions into each other takes longer than importing what is there.
    """
    name, sources = _digest(sources, f"{prefetching} {sorted(left_out)} {guarded}"), tuple(sources)
    path = _folder() / f"simmoe_kernel_{name}" / "kernel.py"
    if not _is_whole_file(path):
        text = _text(sources, set() if prefetching else PREFETCHING, left_out, guarded)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as stream:
            stream.write(f"# {_sha256(text)}\n{text}")
    return _imported(path)


def _digest(sources: Sequence[ModuleType], how: str) -> str:
    """What a compiled module depends on: sources, this file and what else makes its text, numba, Python. The names of the sources
    count too, since numba's index names the types of these modules."""
    digest = hashlib.sha256(f"numba {numba_version()} python {sys.version_info[:2]} {how}".encode())
    makers = [Path(__file__), *(Path(inspect.getfile(module)) for module in (guard, inline))]
    for source in sources:
        digest.update(source.__name__.encode())
        constants = sorted((name, str(it)) for name, it in vars(source).items() if _is_whole(it))  # imported ones too
        digest.update(repr(constants).encode())
    for path in (*makers, *(Path(inspect.getfile(source)) for source in sources)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_whole_file(path: Path) -> bool:
    """Whether the file is there as it was written: its first line is the digest of the rest."""
    try:
        first, _, rest = path.read_text("utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return False
    return first == f"# {_sha256(rest)}"


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


def _text(sources: Sequence[ModuleType], empty: set[str], left_out: Collection[str] = (), guarded: bool = False) -> str:
    """The functions of the modules, later ones in place of earlier ones of the same name, and the whole numbers that they read.


    The functions that `empty` names lose their bodies: they are never called. left_out: hooks that the policy lacks, though a
    file from which it imports may have them. guarded: the policy is a user's, so its loops, indices and victims are checked.
    """
    functions: dict[str, ast.FunctionDef] = {}
    checked: set[str] = set()  # functions of a user's policy: they stay functions, whose indices are checked
    for source in sources:
        own = source in OWN or not guarded
        tree = ast.parse(Path(inspect.getfile(source)).read_bytes())
        for node in (tree if own else whole_victims(counted(tree))).body:
            if (
                isinstance(node, ast.FunctionDef)
                and node.name not in HOST_ONLY
                and (source in OWN or node.name not in left_out)
            ):
                functions.pop(node.name, None)
                functions[node.name] = _bare(node)
                checked |= set() if own else {node.name}
                if node.name in empty:
                    node.body = ast.parse("return 0").body
    left = inlined(functions, (ENTRIES | CALLED | checked) & functions.keys())
    named = {node.id for function in left.values() for node in ast.walk(function) if isinstance(node, ast.Name)}
    constants = {name: it for source in sources for name, it in vars(source).items() if name in named and _is_whole(it)}
    kernels = (f"@njit({CHECKED if name in checked else _how(name)})\n{ast.unparse(one)}" for name, one in left.items())
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


def _imported(path: Path) -> ModuleType:
    """The module of a kernel file."""
    name = path.parent.name
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
