"""Takes out of a text what a run does not have: the arrays that are empty in it, and all that stands behind a question for them.

Every question of the machine's text is `len(array) > 0`, asked for each event: compiled, the answers would be read again and again.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Set
from typing import Any, TypeVar

COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Gt: operator.gt, ast.Lt: operator.lt, ast.GtE: operator.ge, ast.LtE: operator.le, ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
FIXED = "f."  # before the names of whole numbers: that number is 0
Node = TypeVar("Node", bound=ast.AST)


def folded(tree: Node, absent: Set[str]) -> Node:
    """The same text (changed in place) where the arrays that `absent` names, such as q.mass, are empty, and the numbers 0."""
    made: Node = _Folded(absent).visit(tree)
    return made


class _Folded(ast.NodeTransformer):
    def __init__(self, absent: Set[str]) -> None:
        self.absent = absent

    def visit_Call(self, node: ast.Call) -> ast.expr:
        of_array = isinstance(node.func, ast.Name) and node.func.id == "len" and isinstance(node.args[0], ast.Attribute)
        if of_array and ast.unparse(node.args[0]) in self.absent:
            return ast.Constant(0)
        self.generic_visit(node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        known = isinstance(node.value, ast.Name) and f"{node.value.id}.{node.attr}"
        return ast.Constant(0) if known and known.startswith(FIXED) and known in self.absent else node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        left, right, compared = node.left, node.comparators[0], COMPARED.get(type(node.ops[0]))
        if (
            len(node.ops) > 1
            or compared is None
            or not (isinstance(left, ast.Constant) and isinstance(right, ast.Constant))
        ):
            return node
        return ast.Constant(compared(left.value, right.value))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        """No question of the text changes anything, so that none need be asked before one whose answer decides."""
        self.generic_visit(node)
        decides = isinstance(node.op, ast.Or)
        if any(isinstance(one, ast.Constant) and bool(one.value) == decides for one in node.values):
            return ast.Constant(decides)
        node.values = [one for one in node.values if not isinstance(one, ast.Constant)]
        return node if len(node.values) > 1 else node.values[0] if node.values else ast.Constant(not decides)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        known = isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Constant)
        return ast.Constant(not node.operand.value) if known else node  # type: ignore[attr-defined]

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.test, ast.Constant):
            return node
        return node.body if node.test.value else node.orelse

    def visit_If(self, node: ast.If) -> ast.stmt | list[ast.stmt]:
        self.generic_visit(node)
        if not isinstance(node.test, ast.Constant):
            return _whole(node)
        return node.body if node.test.value else node.orelse

    def visit_For(self, node: ast.For) -> ast.For:
        self.generic_visit(node)
        return _whole(node)

    def visit_While(self, node: ast.While) -> ast.While:
        self.generic_visit(node)
        return _whole(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        return _whole(node)


Owner = TypeVar("Owner", ast.If, ast.For, ast.While, ast.FunctionDef)


def _whole(node: Owner) -> Owner:
    node.body = node.body or [ast.Pass()]
    return node
