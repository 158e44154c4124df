"""Makes the text of a user's policy safe to run: its loops are counted, and it compiles only if its answers are whole numbers.

The bundled policies are tested and do not pay for this.
"""

from __future__ import annotations

import ast
from typing import TypeVar

MOST_TURNS = 10**8  # of all loops in one call of a function: 1000 * (objects + 1000) for 99,000 objects
COUNTER = "loop_turns_"
WHOLE = "whole_"

Owner = TypeVar("Owner", ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
Loop = TypeVar("Loop", ast.While, ast.For)


def counted(tree: ast.Module) -> ast.Module:
    """The same text (changed in place), but loops that together turn more than MOST_TURNS times in one call raise TimeoutError."""
    _Counted().visit(tree)
    return ast.fix_missing_locations(tree)


class _Counted(ast.NodeTransformer):
    looped = False  # the function, class or module around this node has a loop

    def _owner(self, node: Owner) -> Owner:
        outer, self.looped = self.looped, False
        self.generic_visit(node)
        if self.looped:
            node.body.insert(_start(node.body), _at(node.body[0], f"{COUNTER} = 0")[0])
        self.looped = outer
        return node

    visit_Module = visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _owner

    def _loop(self, node: Loop) -> Loop:
        self.generic_visit(node)
        self.looped = True
        message = f"a loop turned more than {MOST_TURNS:,} times"
        check = f"{COUNTER} += 1\nif {COUNTER} > {MOST_TURNS}:\n    raise TimeoutError({message!r})"
        node.body[:0] = _at(node, check)
        return node

    visit_While = visit_For = _loop


def _start(body: list[ast.stmt]) -> int:
    """Index of the first statement after the docstring and the __future__ imports."""
    for index, node in enumerate(body):
        docstring = index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not docstring and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            return index
    return len(body)


def _at(place: ast.stmt, text: str) -> list[ast.stmt]:
    """The statements of `text`, which an error reports at the line of `place`."""
    made = ast.parse(text).body
    for statement in made:
        for node in ast.walk(statement):
            ast.copy_location(node, place)
    return made


def whole_victims(tree: ast.Module) -> ast.Module:
    """The same text (changed in place), where numba refuses a `victim` that may return something else than a whole number.

    Without this, True would become 1 where another branch returns a number: indexing is what numba allows to whole numbers only.
    """
    for function in _named(tree, "victim"):
        free = (function.args.posonlyargs + function.args.args)[1].arg
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value is not None:
                node.value = _whole(ast.Name(free, ast.Load()), node.value)
        tree.body.insert(0, _check())
    return ast.fix_missing_locations(tree)


def whole_answers(tree: ast.Module) -> ast.Module:
    """The same text (changed in place), where numba refuses to write anything but whole numbers into an array of `serve`'s.

    Without this, 0.5 would become 0 as it is written.
    """
    _WholeWrites().visit(tree)
    tree.body.insert(0, _check())
    return ast.fix_missing_locations(tree)


class _WholeWrites(ast.NodeTransformer):
    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                node.value = _whole(_read(target.value), node.value)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        if not isinstance(node.target, ast.Subscript):
            return node
        value = ast.BinOp(_read(node.target), node.op, node.value)
        return ast.copy_location(ast.Assign([node.target], _whole(_read(node.target.value), value)), node)


def _read(place: ast.expr) -> ast.expr:
    """The place as one reads it."""
    return ast.parse(ast.unparse(place), mode="eval").body


def _whole(array: ast.expr, value: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(WHOLE, ast.Load()), [array, value], [])


def _check() -> ast.stmt:
    return ast.parse(f"def {WHOLE}(free, o):\n    return o if len(free) >= 0 else free[o]").body[0]


def _named(tree: ast.Module, name: str) -> list[ast.FunctionDef]:
    return [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name]
