"""Bits per weight of each storage format, and which matrices of a model a format covers.

Sources: the block layouts of ggml (https://github.com/ggml-org/ggml, src/ggml-common.h) for the q*_k, q8_0 and mxfp4
formats; which tensors stay in 16 bit is how the files on the model hubs are made, see docs/models.md.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction

from simmoe.simulator.errors import UserError
from simmoe.workloads.models.parts import Weights

STORED = "stored"  # the real bytes of an imported file, no rule of this table
DEFAULT = "fp16"


class Scope(IntEnum):
    """Which matrices a format covers; a wider scope holds the narrower ones."""

    EXPERTS = 1  # routed experts only
    LAYERS = 2  # every matrix inside a layer
    ALL = 3  # also embedding and LM head


@dataclass(frozen=True)
class Format:
    """Bits of one weight of a covered matrix (block scales included), and of everything else."""

    bits: Fraction
    scope: Scope
    rest_bits: int
    source: str


FORMATS: dict[str, Format] = {
    "fp32": Format(Fraction(32), Scope.ALL, 32, "IEEE 754 binary32"),
    "fp16": Format(Fraction(16), Scope.ALL, 16, "IEEE 754 binary16"),
    "bf16": Format(Fraction(16), Scope.ALL, 16, "bfloat16, the upper half of binary32"),
    "fp8": Format(Fraction(8), Scope.LAYERS, 16, "OCP FP8 E4M3, nominal: scales not counted"),
    "int8": Format(Fraction(8), Scope.LAYERS, 16, "nominal: scales not counted"),
    "int4": Format(Fraction(4), Scope.LAYERS, 16, "nominal: group scales not counted"),
    "q8_0": Format(Fraction(34 * 8, 32), Scope.ALL, 16, "ggml block_q8_0: 34 bytes for 32 weights"),
    "q6_k": Format(Fraction(210 * 8, 256), Scope.ALL, 16, "ggml block_q6_K: 210 bytes for 256 weights"),
    "q4_k": Format(Fraction(144 * 8, 256), Scope.ALL, 16, "ggml block_q4_K: 144 bytes for 256 weights"),
    "mxfp4": Format(Fraction(17 * 8, 32), Scope.EXPERTS, 16, "OCP MX, ggml block_mxfp4: 17 bytes for 32 weights"),
}


def known(name: str) -> str:
    """`name` if it is a format; else a UserError that lists them."""
    if name in FORMATS or name == STORED:
        return name
    near = difflib.get_close_matches(name, [*FORMATS, STORED], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"unknown format {name!r}; {hint}known: {', '.join([*FORMATS, STORED])}")


def nbytes(weights: Weights, name: str, scope: Scope) -> int:
    """Bytes of a part that lies in `scope`; vectors and routers always take the format's `rest_bits`."""
    if name == STORED:
        return weights.stored_bytes
    kind = FORMATS[name]
    matrix_bits = kind.bits if scope <= kind.scope else Fraction(kind.rest_bits)
    bits = weights.matrix_params * matrix_bits + (weights.router_params + weights.vector_params) * kind.rest_bits
    return -(-bits // 8)


def kv_element_bytes(name: str) -> int:
    """The KV cache stays in 16 bit whatever the weights are in, and in 32 bit where everything is."""
    return 4 if name == "fp32" else 2
