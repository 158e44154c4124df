"""Puts called functions into the text of their callers, so that the compiler has nothing left to inline: it compiles twice as fast.

Only calls that stand alone are replaced (x = f(…), f(…), return f(…)), and only of functions whose one return is their last statement.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from itertools import count

Functions = Mapping[str, ast.FunctionDef]


def inlined(functions: Functions, stay: set[str]) -> dict[str, ast.FunctionDef]:
    """Functions that are left, by name: those in `stay`, and whatever they still call, each with the calls in it replaced."""
    known = {name: one for name, one in functions.items() if name not in stay and _inlinable(one)}
    left: dict[str, ast.FunctionDef] = {}
    wanted = [name for name in functions if name in stay]
    numbers = count()
    while wanted:
        name = wanted.pop()
        if name in left:
            continue
        left[name] = _Expansion(known, numbers).of(functions[name])
        called = {node.id for node in ast.walk(left[name]) if isinstance(node, ast.Name)}
        wanted += [one for one in functions if one in called and one not in left]
    return {name: left[name] for name in functions if name in left}


def _inlinable(function: ast.FunctionDef) -> bool:
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    return not returns or (len(returns) == 1 and function.body[-1] is returns[0])


class _Rename(ast.NodeTransformer):
    """Names of a called function -> those of its caller, or the constants and fields that stand for them."""

    def __init__(self, names: Mapping[str, str | ast.expr]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        new = self.names.get(node.id)
        if new is None:
            return node
        return ast.Name(new, node.ctx) if isinstance(new, str) else copy.deepcopy(new)


class _Expansion:
    """Replaces the calls in one function."""

    def __init__(self, known: Functions, numbers: count[int]) -> None:
        self.known, self.numbers = known, numbers

    def of(self, function: ast.FunctionDef) -> ast.FunctionDef:
        made = copy.deepcopy(function)
        made.body = self._statements(made.body)
        return ast.fix_missing_locations(made)

    def _statements(self, body: list[ast.stmt]) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        for one in body:
            call = one.value if isinstance(one, ast.Assign | ast.Expr | ast.Return) else None
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in self.known:
                made += self._statements(self._body(call, one, self.known[call.func.id]))
                continue
            for field in ("body", "orelse"):
                if inner := getattr(one, field, None):
                    setattr(one, field, self._statements(inner))
            made.append(one)
        return made or [ast.Pass()]

    def _body(self, call: ast.Call, caller: ast.stmt, function: ast.FunctionDef) -> list[ast.stmt]:
        """The called function's statements in the place of the caller's statement: new variables get a number, what it does not
        assign keeps the argument's name."""
        function, number = copy.deepcopy(function), next(self.numbers)
        stored = {
            node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        names: dict[str, str | ast.expr] = {name: f"{name}_{number}" for name in stored}
        before: list[ast.stmt] = []
        for parameter, given in zip(function.args.args, call.args, strict=True):
            if parameter.arg not in stored and _stays(given):
                names[parameter.arg] = given.id if isinstance(given, ast.Name) else given
            else:
                names[parameter.arg] = new = f"{parameter.arg}_{number}"
                before.append(ast.Assign([ast.Name(new, ast.Store())], given))
        body: list[ast.stmt] = [_Rename(names).visit(one) for one in function.body if not _is_text(one)]
        last = body.pop() if body and isinstance(body[-1], ast.Return) else None
        value = last.value if isinstance(last, ast.Return) else None
        after: list[ast.stmt] = []
        if value is not None and isinstance(caller, ast.Return):
            after = [ast.Return(value)]
        elif value is not None and isinstance(caller, ast.Assign):
            after = [ast.Assign(caller.targets, value)]
        elif isinstance(value, ast.Call):
            after = [ast.Expr(value)]
        return [*before, *body, *after]


def _stays(given: ast.expr) -> bool:
    """Whether an argument is the same wherever it is read: a name, a number, a field of a tuple, which nobody writes to."""
    return isinstance(given.value if isinstance(given, ast.Attribute) else given, ast.Name | ast.Constant)


def _is_text(one: ast.stmt) -> bool:
    return isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)
