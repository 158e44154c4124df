"""What each matrix of a part is for, by the names that llama.cpp gives to tensors, and how long its rows are.

A format that gives each kind of matrix its own type (mixes.py) asks for it, and one that keeps a number for each column (gptq).
"""

from __future__ import annotations

import difflib
import reprlib
from typing import NamedTuple

from simmoe.simulator.errors import UserError

# names of llama.cpp (gguf-py/gguf/constants.py) without ".weight", "_exps" and "_shexp"
ROLES = (
    "attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "attn_gate",
    "attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_kv_b", "attn_k_b", "attn_v_b",
    "ffn_gate", "ffn_up", "ffn_down", "ssm_in", "ssm_x", "ssm_dt", "ssm_ba", "ssm_alpha", "ssm_beta", "ssm_out",
    "token_embd", "position_embd", "output", "other",
)  # fmt: skip


class Role(NamedTuple):
    """One matrix, or several with rows of the same length."""

    name: str
    columns: int  # weights of a row: ne[0] of ggml
    params: int


def roles(value: object, where: str) -> tuple[Role, ...]:
    """From a mapping such as {ffn_up: [2048, 1572864]}; raises UserError."""
    if not isinstance(value, dict):
        raise UserError(f"{where} is {reprlib.repr(value)}; it must be a mapping such as {{ffn_up: [2048, 1572864]}}")
    return tuple(_role(name, item, where) for name, item in value.items())


def _role(name: object, item: object, where: str) -> Role:
    if name not in ROLES:
        near = difflib.get_close_matches(str(name), ROLES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"{where}: unknown role {reprlib.repr(name)}; {hint}known: {', '.join(ROLES)}")
    pair = item if isinstance(item, list) and len(item) == 2 else []
    if not pair or any(type(x) is not int or x < 1 for x in pair) or pair[1] % pair[0]:
        raise UserError(
            f"{where}.{name} is {reprlib.repr(item)}; it must be [columns, params]: weights of a row, and of all its rows together"
        )
    return Role(str(name), *pair)


def total(found: tuple[Role, ...]) -> int:
    return sum(role.params for role in found)


def matrices(**shapes: tuple[int, int]) -> tuple[Role, ...]:
    """Of name=(columns, rows); those without a column or row are left out."""
    return tuple(Role(name, columns, columns * rows) for name, (columns, rows) in shapes.items() if columns * rows)
