"""What the text of an eviction policy or a miss rule must obey before it is played; a broken rule is one line that names the file."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from simmoe.simulator.decide.blame import name_of
from simmoe.simulator.decide.hooks import Extras
from simmoe.simulator.decide.missing import Missing
from simmoe.simulator.decide.names import SERVE, reserved
from simmoe.simulator.errors import UserError

OURS = "simmoe."
BUNDLED = "simmoe.policies."


class Kind(NamedTuple):
    """What the machine asks of the files of one folder of policies."""

    hooks: Mapping[str, str]  # how each is called
    needed: str  # the hook that no file may leave out
    reason: str  # what it is for
    knows: str  # name of the argument that says what the policy may know
    fields: tuple[str, ...]  # of that argument
    on_request: Mapping[str, tuple[str, ...]]  # fields by what NEEDS must name for them
    kept: tuple[str, ...]  # arguments that belong to the machine
    own: tuple[str, ...]  # fields that the policy may write


KINDS = {
    "eviction": Kind(
        {
            "init": "init(n_objects, capacity_bytes, x)",
            "victim": "victim(s, free, event, x)",
            **{hook: f"{hook}(s, o, event, x)" for hook in ("miss", "insert", "use", "remove")},
        },
        "victim", "which says what leaves when room is short", "x", Extras._fields,
        {
            "next_use": ("next_use",), "ahead": ("next_use",), "random": ("random_high", "random_low"), "argument": ("argument",),
            "popularity": ("popularity",), "gate": ("gate",), "layer": ("layer",), "sequence": ("sequence",), "pinned": ("pinned",),
        },
        ("free",), (),
    ),
    "miss": Kind(
        {SERVE: "serve(n, resident, event, m)"},
        SERVE, "which says which unit serves what is missing", "m", Missing._fields,
        {
            "load": ("load_ps",), "cpu": ("cpu", "launch_ps", "read_ps", "flop_ps", "read_at", "flop_at"), "argument": ("argument",),
            "gate": ("gate",), "resident": ("n_here", "here", "busy"),
        },
        ("resident",), ("unit", "scratch"),
    ),
}  # fmt: skip


def is_bundled(policy: ModuleType) -> bool:
    """Whether the policy belongs to simmoe, so that an error in it is no mistake of the user."""
    return getattr(policy, "__name__", "").startswith(OURS)


def imported(path: Path) -> list[ModuleType]:
    """Modules of simmoe.policies that the file imports from, each before those that use it."""
    found: list[ModuleType] = []
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(BUNDLED):
            used = importlib.import_module(node.module)
            found += [one for one in (*imported(_file(used)), used) if one not in found]
    return found


@cache
def check(policy: ModuleType, kind: str) -> None:
    """Raises UserError for the first rule that the file of that policy breaks; `kind` is one of KINDS."""
    path = _file(policy)
    tree = ast.parse(path.read_bytes())
    for wrong in _broken(policy, path, tree, KINDS[kind]):
        raise UserError(f"policy {name_of(policy)} {wrong}")


def _broken(policy: ModuleType, path: Path, tree: ast.Module, kind: Kind) -> Iterator[str]:
    yield from _names(policy, path, tree, kind)
    yield from _hooks(policy, tree, kind)
    yield from _needs(policy, tree, kind)
    yield from _recursion(tree)
    yield from _writes(tree, kind)


@cache
def does_nothing(policy: ModuleType, hook: str) -> bool:
    """Whether the text of that hook in the policy's file is a docstring alone: the machine need not call it."""
    node = _functions(ast.parse(_file(policy).read_bytes())).get(hook)
    return node is not None and all(
        isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) for one in node.body
    )


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


def _names(policy: ModuleType, path: Path, tree: ast.Module, kind: Kind) -> Iterator[str]:
    """Both engines refuse what only the compiled one, which puts everything into one module, would confuse."""
    helpers = {module.__name__: _defined(ast.parse(_file(module).read_bytes())) for module in imported(path)}
    for where, names in (
        (
            "",
            _defined(tree) | (vars(policy).keys() - _handed_on(tree)),
        ),  # also what is bound within an if, by a class, an import or an annotation
        *((f"imports {name}, which ", names) for name, names in helpers.items()),
    ):
        for name in sorted(names & set(reserved()) - kind.hooks.keys()):
            yield f"{where}defines {name}, a name of the machine; rename it (reserved: {', '.join(sorted(reserved()))})"
    for helper, names in helpers.items():
        for name in sorted(names & _defined(tree) - {*kind.hooks, "NEEDS"}):
            yield f"defines {name}, as {helper} does, from which it imports; rename it"


def _hooks(policy: ModuleType, tree: ast.Module, kind: Kind) -> Iterator[str]:
    functions, handed_on = _functions(tree), _handed_on(tree)
    for hook, called in kind.hooks.items():
        if hook in functions:
            a = functions[hook].args
            if len(a.posonlyargs + a.args) != called.count(",") + 1 or a.vararg or a.kwarg or a.kwonlyargs:
                yield f"line {functions[hook].lineno} defines {hook}({ast.unparse(a)}); the machine calls {called}"
            elif functions[hook].decorator_list:
                yield f"line {functions[hook].lineno} decorates {hook}(); the compiled engine reads the plain def"
            elif getattr(getattr(policy, hook), "__code__", None) is None or (
                getattr(policy, hook).__code__.co_firstlineno != functions[hook].lineno
            ):
                yield f"binds {hook} again after its def at line {functions[hook].lineno}; the compiled engine reads the def"
        elif hasattr(policy, hook) and hook not in handed_on:
            yield f"has a {hook} that is no function defined with def at the top of the file; write def {called}"
    if not hasattr(policy, kind.needed):
        yield f"defines no {kind.hooks[kind.needed]}, {kind.reason}; see docs/extending/README.md"


def _handed_on(tree: ast.Module) -> set[str]:
    """Names that the file imports from modules of simmoe.policies."""
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(BUNDLED)]
    return {alias.name for node in nodes for alias in node.names if alias.asname in (None, alias.name)}


def _needs(policy: ModuleType, tree: ast.Module, kind: Kind) -> Iterator[str]:
    needs, known, x = getattr(policy, "NEEDS", ()), kind.on_request, kind.knows
    if not isinstance(needs, (tuple, list)) or not all(isinstance(one, str) and one in known for one in needs):
        example = next(iter(known))
        yield f'has NEEDS = {needs!r}; it must be a tuple that names none or some of {", ".join(known)}, such as ("{example}",)'
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == x:
            if node.attr not in kind.fields:
                yield f"line {node.lineno} reads {x}.{node.attr}; {x} has {', '.join(kind.fields)}"
            giving = [need for need, fields in known.items() if node.attr in fields]
            for need in giving[:1]:
                if not set(giving) & set(needs):
                    yield f'line {node.lineno} reads {x}.{node.attr} but NEEDS does not name it; write NEEDS = ("{need}",)'


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


def _writes(tree: ast.Module, kind: Kind) -> Iterator[str]:
    """What belongs to the machine, a policy must not write: it changes what it is judged by. Another name for it is the same."""
    instead = (
        f"write to {' or '.join(f'{kind.knows}.{one}' for one in kind.own)}" if kind.own else "keep your own array in s"
    )
    for function in tree.body:
        stored = [
            node for node in ast.walk(function) if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
        ]
        for node in stored:
            if any(_kept(one, kind) for one in (node.value, *_meant(node.value, function))):
                yield f"line {node.lineno} writes to {ast.unparse(node)}, which belongs to the machine; {instead}"


def _kept(base: ast.expr, kind: Kind) -> bool:
    """Whether that is an array of the machine's."""
    if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name) and base.value.id == kind.knows:
        return base.attr not in kind.own
    return isinstance(base, ast.Name) and base.id in kind.kept


def _meant(base: ast.expr, function: ast.stmt) -> list[ast.expr]:
    """What the function gives that name to."""
    assigned = [node for node in ast.walk(function) if isinstance(node, ast.Assign) and isinstance(base, ast.Name)]
    return [node.value for node in assigned for target in node.targets if ast.unparse(target) == ast.unparse(base)]
