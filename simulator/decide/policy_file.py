"""What the text of an eviction policy must obey before it is played; a broken rule is one line that names the file."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from simmoe.simulator.decide.blame import name_of
from simmoe.simulator.decide.hooks import Extras
from simmoe.simulator.decide.names import HOOKS, reserved
from simmoe.simulator.errors import UserError

BUNDLED = "simmoe.policies."
ON_REQUEST = {"next_use": ("next_use",), "random": ("random_high", "random_low")}  # field of Extras by what NEEDS names
EXAMPLES = {
    "init": "init(n_objects, capacity_bytes, x)",
    "victim": "victim(s, free, event, x)",
    **{hook: f"{hook}(s, o, event, x)" for hook in ("miss", "insert", "use", "remove")},
}


def is_bundled(eviction: ModuleType) -> bool:
    """Whether the policy belongs to simmoe, so that an error in it is no mistake of the user."""
    return getattr(eviction, "__name__", "").startswith(BUNDLED)


def imported(path: Path) -> list[ModuleType]:
    """Modules of simmoe.policies that the file imports from, each before those that use it."""
    found: list[ModuleType] = []
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(BUNDLED):
            used = importlib.import_module(node.module)
            found += [one for one in (*imported(_file(used)), used) if one not in found]
    return found


@cache
def check(eviction: ModuleType) -> None:
    """Raises UserError for the first rule that the policy's file breaks."""
    path = _file(eviction)
    tree = ast.parse(path.read_bytes())
    for wrong in _broken(eviction, path, tree):
        raise UserError(f"policy {name_of(eviction)} {wrong}")


def _broken(eviction: ModuleType, path: Path, tree: ast.Module) -> Iterator[str]:
    yield from _names(eviction, path, tree)
    yield from _hooks(eviction, tree)
    yield from _needs(eviction, tree)
    yield from _recursion(tree)
    yield from _writes(tree)


def _file(module: ModuleType) -> Path:
    assert module.__file__ is not None
    return Path(module.__file__)


def _defined(tree: ast.Module) -> set[str]:
    """Names of the functions and variables at the top of a file."""
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    names = {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    return names | set(_functions(tree))


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _names(eviction: ModuleType, path: Path, tree: ast.Module) -> Iterator[str]:
    """Both engines refuse what only the compiled one, which puts everything into one module, would confuse."""
    helpers = {module.__name__: _defined(ast.parse(_file(module).read_bytes())) for module in imported(path)}
    for where, names in (
        (
            "",
            _defined(tree) | (vars(eviction).keys() - _handed_on(tree)),
        ),  # also what is bound within an if, by a class, an import or an annotation
        *((f"imports {name}, which ", names) for name, names in helpers.items()),
    ):
        for name in sorted(names & set(reserved())):
            yield f"{where}defines {name}, a name of the machine; rename it (reserved: {', '.join(sorted(reserved()))})"
    for helper, names in helpers.items():
        for name in sorted(names & _defined(tree) - {*HOOKS, "NEEDS"}):
            yield f"defines {name}, as {helper} does, from which it imports; rename it"


def _hooks(eviction: ModuleType, tree: ast.Module) -> Iterator[str]:
    functions, handed_on = _functions(tree), _handed_on(tree)
    for hook in HOOKS:
        if hook in functions:
            a = functions[hook].args
            if len(a.posonlyargs + a.args) != EXAMPLES[hook].count(",") + 1 or a.vararg or a.kwarg or a.kwonlyargs:
                yield f"line {functions[hook].lineno} defines {hook}({ast.unparse(a)}); the machine calls {EXAMPLES[hook]}"
            elif functions[hook].decorator_list:
                yield f"line {functions[hook].lineno} decorates {hook}(); the compiled engine reads the plain def"
            elif getattr(getattr(eviction, hook), "__code__", None) is None or (
                getattr(eviction, hook).__code__.co_firstlineno != functions[hook].lineno
            ):
                yield f"binds {hook} again after its def at line {functions[hook].lineno}; the compiled engine reads the def"
        elif hasattr(eviction, hook) and hook not in handed_on:
            yield f"has a {hook} that is no function defined with def at the top of the file; write def {EXAMPLES[hook]}"
    if not hasattr(eviction, "victim"):
        yield f"defines no {EXAMPLES['victim']}, which says what leaves when room is short; see docs/extending/eviction.md"


def _handed_on(tree: ast.Module) -> set[str]:
    """Names that the file imports from modules of simmoe.policies."""
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(BUNDLED)]
    return {alias.name for node in nodes for alias in node.names if alias.asname in (None, alias.name)}


def _needs(eviction: ModuleType, tree: ast.Module) -> Iterator[str]:
    needs = getattr(eviction, "NEEDS", ())
    if not isinstance(needs, (tuple, list)) or not all(isinstance(one, str) and one in ON_REQUEST for one in needs):
        yield f'has NEEDS = {needs!r}; it must be a tuple that names none or some of {", ".join(ON_REQUEST)}, such as ("next_use",)'
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "x":
            if node.attr not in Extras._fields:
                yield f"line {node.lineno} reads x.{node.attr}; x has {', '.join(Extras._fields)}"
            for need, fields in ON_REQUEST.items():
                if node.attr in fields and need not in needs:
                    yield f'line {node.lineno} reads x.{node.attr} but NEEDS does not name it; write NEEDS = ("{need}",)'


def _recursion(tree: ast.Module) -> Iterator[str]:
    """Compiled, a recursion without an end would overflow the stack and end Python itself."""
    functions = _functions(tree)
    calls = {name: _called(function) & functions.keys() for name, function in functions.items()}
    for name in functions:
        if name in _reached(calls, calls[name]):
            yield f"line {functions[name].lineno} defines {name}(), which calls itself; write a loop"


def _called(function: ast.FunctionDef) -> set[str]:
    return {
        node.func.id for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def _reached(calls: dict[str, set[str]], start: Collection[str]) -> set[str]:
    """Functions that are called from `start`, directly or not."""
    found, left = set(start), list(start)
    while left:
        fresh = calls[left.pop()] - found
        found |= fresh
        left += fresh
    return found


def _writes(tree: ast.Module) -> Iterator[str]:
    """`free` and `x` belong to the machine; a policy that writes there changes what it is judged by."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            base = node.value
            free = isinstance(base, ast.Name) and base.id == "free"
            extra = isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name) and base.value.id == "x"
            if free or extra:
                yield f"line {node.lineno} writes to {ast.unparse(node)}, which belongs to the machine; keep your own array in s"
