"""Storage formats: the bytes of a part in each, of weights and of the KV cache.

A `Format` stores every matrix that it covers alike. A `Mix` is a GGUF file of llama.cpp, in which each kind of matrix has a block
type of its own (mixes.py). Sources stand beside each; which tensors stay in 16 bit is how the files on the model hubs are made, see
docs/models.md.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction

from simmoe.simulator.errors import UserError
from simmoe.workloads.models import mixes
from simmoe.workloads.models.blocks import BLOCKS, fitting
from simmoe.workloads.models.parts import Parts, Weights

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
    column_bits: int = 0  # beside them, of each column of a covered matrix
    falls_back: bool = False  # rows that are no whole blocks take the type that llama.cpp takes for them


@dataclass(frozen=True)
class Mix:
    """A GGUF file in which each kind of matrix has its own block type."""

    source: str = "llama.cpp, src/llama-quant.cpp, commit 007dbbf3"


def _blocks(name: str) -> Fraction:
    return Fraction(BLOCKS[name].bytes * 8, BLOCKS[name].weights)


GROUP = Fraction(16 + 4, 128)  # of each weight: a scale of 16 bit and a zero point of 4 for 128 weights
ONE_SIZE: dict[str, Format] = {
    "fp32": Format(Fraction(32), Scope.ALL, 32, "IEEE 754 binary32"),
    "fp16": Format(Fraction(16), Scope.ALL, 16, "IEEE 754 binary16"),
    "bf16": Format(Fraction(16), Scope.ALL, 16, "bfloat16, the upper half of binary32"),
    "fp8": Format(Fraction(8), Scope.LAYERS, 16, "OCP FP8 E4M3, one scale for each tensor: not counted"),
    "fp8_block": Format(8 + Fraction(32, 128**2), Scope.LAYERS, 16, "DeepSeek-V3: an fp32 scale for each 128 x 128 weights"),
    "int8": Format(Fraction(8), Scope.LAYERS, 16, "nominal: scales not counted"),
    "int4": Format(Fraction(4), Scope.LAYERS, 16, "nominal: group scales not counted"),
    "awq": Format(4 + GROUP, Scope.LAYERS, 16, "AutoAWQ, groups of 128: qweight, qzeros, scales"),
    "gptq": Format(4 + GROUP, Scope.LAYERS, 16, "AutoGPTQ, groups of 128: as awq, and g_idx of 32 bit a column", 32),
    "nvfp4": Format(4 + Fraction(8, 16), Scope.LAYERS, 16, "NVIDIA ModelOpt: FP4 E2M1 and an FP8 scale for 16 weights"),
    "q8_0": Format(_blocks("Q8_0"), Scope.ALL, 16, "ggml block_q8_0: 34 bytes for 32 weights"),
    "q6_k": Format(_blocks("Q6_K"), Scope.ALL, 16, "ggml block_q6_K: 210 bytes for 256 weights", falls_back=True),
    "q4_k": Format(_blocks("Q4_K"), Scope.ALL, 16, "ggml block_q4_K: 144 bytes for 256 weights"),
    "mxfp4": Format(_blocks("MXFP4"), Scope.EXPERTS, 16, "OCP MX, as gpt-oss is released: 17 bytes for 32 weights"),
}  # fmt: skip
FORMATS: dict[str, Format | Mix] = {**ONE_SIZE, **dict.fromkeys(mixes.MIXES, Mix())}

GGUF, SAFETENSORS = "gguf", "safetensors"


def files_of(name: str) -> tuple[str, ...]:
    """Kinds of files that hold weights in a format."""
    if name in ("fp32", "fp16", "bf16"):
        return (GGUF, SAFETENSORS)
    return (GGUF,) if isinstance(FORMATS[name], Mix) or FORMATS[name].source.startswith("ggml") else (SAFETENSORS,)


# KV cache: bytes of one element
KV_FORMATS: dict[str, Fraction] = {
    "f32": Fraction(4), "f16": Fraction(2), "bf16": Fraction(2), "fp8": Fraction(1),
    **{name.lower(): _blocks(name) / 8 for name in ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL")},
}  # fmt: skip
ALSO_CALLED = {"f32": "fp32", "f16": "fp16"}
KV_ALSO_CALLED = {"fp32": "f32", "fp16": "f16"}


def known(name: str) -> str:
    """The name of a format, however its letters and hyphens are written; else a UserError that lists them."""
    folded = _folded(name)
    names = {_folded(one): one for one in [*FORMATS, STORED]}
    if found := names.get(ALSO_CALLED.get(folded, folded)):
        return found
    if folded.startswith("ud_") or folded.endswith("_xl"):
        raise UserError(
            f"unknown format {name!r}: the mixes that are called UD or XL follow no rule but a list of their own for each file; import "
            "the GGUF file, whose header is enough, for its real bytes"
        )
    raise _unknown("format", name, [*FORMATS, STORED])


def known_kv(name: str) -> str:
    """The same for a format of the KV cache."""
    folded = _folded(name)
    found = KV_ALSO_CALLED.get(folded, folded)
    if found not in KV_FORMATS:
        raise _unknown("KV format", name, [*KV_FORMATS])
    return found


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _unknown(what: str, name: str, names: list[str]) -> UserError:
    folded = {_folded(one): one for one in names}
    near = difflib.get_close_matches(_folded(name), folded, n=1)
    hint = f"did you mean {folded[near[0]]!r}? " if near else ""
    return UserError(f"unknown {what} {name!r}; {hint}known: {', '.join(names)}")


def check_roles(parts: Parts, name: str, where: str) -> None:
    """Raises UserError where a format asks what the matrices are for and the model does not say it."""
    kind = FORMATS.get(name)
    asks = isinstance(kind, Mix) or (kind is not None and kind.column_bits > 0)
    if asks and (silent := _silent(parts)):
        pure = ", ".join(one for one, other in ONE_SIZE.items() if not other.column_bits)
        raise UserError(
            f"{where}: format {name} sizes each kind of matrix in its own way, but {silent} does not say which it holds (roles, "
            f"docs/models.md); choose one of {pure}"
        )


def _silent(parts: Parts) -> str:
    """The first part that has matrices and does not say which; empty where all do."""
    places = [("parts.head", parts.head), ("parts.embedding", parts.embedding)]
    for i, layer in enumerate(parts.layers):
        places += [
            (f"parts.layers[{i}].{part}", getattr(layer, part)) for part in ("attention", "ffn", "shared", "expert")
        ]
    return next((where for where, weights in places if weights.matrix_params and not weights.roles), "")


def nbytes(weights: Weights, name: str, scope: Scope, at: mixes.Place = mixes.OUTSIDE) -> int:
    """Bytes of a part that lies in `scope`; vectors and routers always take the format's `rest_bits`. `at`: where in the model."""
    if name == STORED:
        return weights.stored_bytes
    kind = FORMATS[name]
    if isinstance(kind, Mix):
        return mixes.nbytes(weights, name, at)
    bits = Fraction((weights.router_params + weights.vector_params) * kind.rest_bits)
    if scope > kind.scope:
        return -(-(bits + weights.matrix_params * kind.rest_bits) // 8)
    bits += weights.matrix_params * kind.bits
    for role in weights.roles:
        bits += kind.column_bits * role.columns
        if kind.falls_back:
            bits += role.params * (_blocks(fitting(name.upper(), role.columns)) - kind.bits)
    return -(-bits // 8)


def kv_default(name: str) -> str:
    """The KV cache stays in 16 bit whatever the weights are in, and in 32 bit where everything is."""
    return "f32" if name == "fp32" else "f16"


def kv_bytes(elements: int, kv: str) -> int:
    """Bytes of so many numbers that one layer keeps of one position."""
    block = BLOCKS[kv.upper()].weights if kv.upper() in BLOCKS else 1
    if elements % block:
        raise UserError(
            f"KV format {kv} stores blocks of {block}, but a layer keeps {elements} numbers of each position; choose f16, bf16 or fp8"
        )
    return int(elements * KV_FORMATS[kv])
