"""Compiles the machine, its policies and the clock with numba, as one module of plain text that numba can cache on disk.

Closures over a policy's functions are never found again in numba's cache, and a cached kernel that calls another file's function
goes stale when that file changes. So all text that a kernel needs is written into one module in a folder named by its digest.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from simmoe.simulator.binding import bound
from simmoe.simulator.decide import guard
from simmoe.simulator.decide import hooks as policy
from simmoe.simulator.decide import missing as missing_hook
from simmoe.simulator.decide import residency as machine
from simmoe.simulator.decide import stacks as stacks_text
from simmoe.simulator.decide.guard import counted, whole_answers, whole_victims
from simmoe.simulator.decide.names import HOOKS, SERVE
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.policy_file import imported, is_bundled
from simmoe.simulator.errors import Missing, UserError
from simmoe.simulator.files import atomic, cache_folder
from simmoe.simulator.lower import layer
from simmoe.simulator.time import fold, inline, rates, serve
from simmoe.simulator.time.fold import folded
from simmoe.simulator.time.inline import inlined
from simmoe.simulator.time.kept import Kept

ENTRIES = {"play", "run_passes", "reach_lru", "reach_min", "reach_bypass"}  # compiled and cached
CALLED = {"launch", "judge", "judge_answer", "soft_excess", "remember"}  # long or seldom on the way
# Kernels allocate nothing, and counting references to their arrays costs ten times the work itself: no runtime (_nrt).
KEPT = "cache=True, "
AS_ENTRY = f"_nrt=False, {KEPT}nogil=True"
AS_CALL = "_nrt=False"
INLINED = "_nrt=False, forceinline=True"  # by LLVM: what could not be put into the text of its callers
CHECKED = "_nrt=False, forceinline=True, boundscheck=True"
RULE = "rule_"  # before the names of a miss rule's file: an eviction policy may have helpers of the same names
# Functions that are never called where an array is absent: their calls stand where the question for it does not.
UNCALLED = {
    "w.issued": {"late_hits", "late_slots", "ended", "op_fetch"},  # no prefetches
    "w.cpu_ps": {
        "op_cpu_first",
        "op_cpu_last",
        "settle_cpu",
        "run_cpu",
        "op_carry",
        "op_carried",
    },  # no experts on the CPU
    "w.low": {"before_low", "held_low", "row_of"},  # no low copy may serve
    "w.guess_for": {"op_withdraw", "note_before", "take_back"},  # no prefetch is withdrawn
}
HOST_ONLY = {"init"}  # runs once, before the kernel


class Source(NamedTuple):
    """A module whose text goes into a kernel."""

    module: ModuleType
    checked: Callable[[ast.Module], ast.Module] | None = None  # a user's: makes its text safe
    lacks: frozenset[str] = frozenset()  # hooks that it must not bring: the policy that imports it leaves them out
    prefix: str = ""  # of its names, so that no other file's are taken for them


@cache
def kernels(eviction: ModuleType, absent: frozenset[str] = frozenset(), rule: ModuleType | None = None) -> Any:
    """A module with `play`, the policy `eviction` and the miss rule `rule` compiled in; without a rule every missing expert is loaded.

    absent: arrays that are empty (decide/absent.py). What the machine does with them is left out: it compiles and runs faster.
    """
    if interpreted():
        return SimpleNamespace(play=Player().bind(eviction, rule=rule))
    lacks = frozenset(hook for hook in HOOKS if not hasattr(eviction, hook))
    own = None if is_bundled(eviction) else whole_victims
    sources = [Source(policy), Source(missing_hook), *(Source(one, own, lacks) for one in _with_imports(eviction))]
    if rule is not None:
        own = None if is_bundled(rule) else whole_answers
        sources += [Source(one, own, prefix=RULE) for one in _with_imports(rule)]
    return _compiled([*sources, Source(machine)], absent)


@cache
def stacks() -> Any:
    """A module with the passes of simulator/decide/stacks.py, compiled."""
    return stacks_text if interpreted() else _compiled([Source(stacks_text)], frozenset())


def _with_imports(module: ModuleType) -> list[ModuleType]:
    return [*imported(Path(inspect.getfile(module))), module]


@cache
def clock(timeline: ModuleType, absent: frozenset[str] = frozenset()) -> Any:
    """A module with `run_passes`: the recurrence over operations, lowered by `timeline`.

    absent: arrays that are empty and numbers that are 0 (lower/absent.py). What the clock does with them is left out.
    """
    sources = (layer, timeline, rates, serve)
    return bound(*sources) if interpreted() else _compiled([Source(module) for module in sources], absent)


def _compiled(sources: Sequence[Source], absent: Set[str]) -> ModuleType:
    """The module of their text, imported from a folder that the digest of all that makes the text names.

    What stands there is compared with the text that belongs there and never run itself. Where nothing can be kept (an unwritable
    folder, a full disk) the text is compiled without being kept.
    """
    how = [sorted(absent), *((one.checked is None, sorted(one.lacks), one.prefix) for one in sources)]
    name = _digest([one.module for one in sources], repr(how))
    text = _text(sources, absent)
    folder = cache_folder()
    path = folder and _kept(text, folder / f"simmoe_kernel_{name}" / "kernel.py")
    return _module(f"simmoe_kernel_{name}", text, path)


def _kept(text: str, path: Path) -> Path | None:
    """The file, once it holds that text; None where it cannot be written."""
    try:
        if path.read_bytes() == text.encode():
            return path
    except OSError:
        pass  # it is not there, or unreadable: it is written
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as stream:
            stream.write(text)
    except (OSError, UserError):
        return None
    return path


def _digest(sources: Sequence[ModuleType], how: str) -> str:
    """What a compiled module depends on: sources, this file and what else makes its text, numba, Python. The names of the sources
    count too, since numba's index names the types of these modules."""
    digest = hashlib.sha256(f"numba {numba_version()} python {sys.version_info[:2]} {how}".encode())
    makers = [Path(__file__), *(Path(inspect.getfile(module)) for module in (fold, guard, inline))]
    for source in sources:
        digest.update(source.__name__.encode())
        constants = sorted((name, str(it)) for name, it in vars(source).items() if _is_whole(it))  # imported ones too
        digest.update(repr(constants).encode())
    for path in (*makers, *(Path(inspect.getfile(source)) for source in sources)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


@cache
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


def _text(sources: Sequence[Source], absent: Set[str]) -> str:
    """The functions of the modules, later ones in place of earlier ones of the same name, and the whole numbers that they read.

    What is `absent` is left out, and functions that are never called without it lose their bodies.
    """
    unused = {name for array in absent for name in UNCALLED.get(array, ())}
    functions: dict[str, ast.FunctionDef] = {}
    constants: dict[str, Any] = {}
    checked: set[str] = set()  # functions of a user's policy: they stay functions, whose indices are checked
    for source in sources:
        tree, renamed = _tree(source), _renamed(source)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name not in HOST_ONLY | source.lacks:
                functions.pop(node.name, None)
                functions[node.name] = _bare(node)
                checked |= {node.name} if source.checked else set()
                if node.name in unused:
                    node.body = ast.parse("return 0").body
                elif not source.checked:
                    folded(node, absent)
        constants |= {renamed.get(name, name): it for name, it in vars(source.module).items() if _is_whole(it)}
    left = inlined(functions, (ENTRIES | CALLED | checked) & functions.keys())
    left = {name: one if name in checked else folded(one, absent) for name, one in left.items()}
    named = {node.id for function in left.values() for node in ast.walk(function) if isinstance(node, ast.Name)}
    values = (f"{name} = {it}" for name, it in constants.items() if name in named)
    kernels = (f"@njit({CHECKED if name in checked else _how(name)})\n{ast.unparse(one)}" for name, one in left.items())
    return "\n\n".join(["from numba import njit", *values, *kernels, ""])


def _tree(source: Source) -> ast.Module:
    """The text of a source, made safe where it is a user's, its names with their prefix."""
    tree = ast.parse(Path(inspect.getfile(source.module)).read_bytes())
    if source.checked:
        tree = source.checked(counted(tree))
    return _Renamed(_renamed(source)).visit(tree) if source.prefix else tree


def _renamed(source: Source) -> dict[str, str]:
    """New names of what a file with a prefix defines or imports, but for the hook that the machine calls."""
    own = {name for name, it in vars(source.module).items() if _is_whole(it) or inspect.isfunction(it)}
    return {name: f"{source.prefix}{name}" for name in {*own, guard.WHOLE} - {SERVE}} if source.prefix else {}


class _Renamed(ast.NodeTransformer):
    """Other names, wherever they stand: for a variable that hides one of them the new name does as well."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(self.names.get(node.arg, node.arg))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.name = self.names.get(node.name, node.name)
        return node


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


def _module(name: str, text: str, path: Path | None) -> ModuleType:
    """The module of a kernel's text, which is never read back; `path` holds it for numba, or None: nothing is kept."""
    module = ModuleType(name)
    module.__file__ = str(path) if path else f"<{name}>"
    sys.modules[name] = module  # numba looks its functions up by module name
    try:
        exec(
            compile(text if path else text.replace(KEPT, ""), module.__file__, "exec", dont_inherit=True), vars(module)
        )
    except RuntimeError:  # numba found no folder in which it can keep what it compiles
        return _module(name, text, None)
    for entry in ENTRIES & vars(module).keys() if path else ():
        kernel: Any = getattr(module, entry)
        kernel._cache = Kept(kernel._cache)
    return module
