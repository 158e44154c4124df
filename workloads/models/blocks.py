"""Block types of ggml: how many weights share a block, its bytes, and the type that llama.cpp takes where rows do not fit.

Sources: src/ggml-common.h of https://github.com/ggml-org/ggml for the blocks; tensor_type_fallback in src/llama-quant.cpp of
https://github.com/ggml-org/llama.cpp (commit 007dbbf3) for what replaces a type.
"""

from __future__ import annotations

from typing import NamedTuple

from simmoe.simulator.errors import UserError


class Block(NamedTuple):
    """Weights of one row that are stored together, scales included."""

    weights: int
    bytes: int


BLOCKS = {
    "F64": Block(1, 8), "F32": Block(1, 4), "F16": Block(1, 2), "BF16": Block(1, 2),
    "I8": Block(1, 1), "I16": Block(1, 2), "I32": Block(1, 4), "I64": Block(1, 8),
    "Q4_0": Block(32, 18), "Q4_1": Block(32, 20), "Q5_0": Block(32, 22), "Q5_1": Block(32, 24),
    "Q8_0": Block(32, 34), "Q8_1": Block(32, 40),
    "Q2_K": Block(256, 84), "Q3_K": Block(256, 110), "Q4_K": Block(256, 144), "Q5_K": Block(256, 176),
    "Q6_K": Block(256, 210), "Q8_K": Block(256, 292),
    "IQ1_S": Block(256, 50), "IQ1_M": Block(256, 56), "IQ2_XXS": Block(256, 66), "IQ2_XS": Block(256, 74),
    "IQ2_S": Block(256, 82), "IQ3_XXS": Block(256, 98), "IQ3_S": Block(256, 110), "IQ4_NL": Block(32, 18),
    "IQ4_XS": Block(256, 136), "TQ1_0": Block(256, 54), "TQ2_0": Block(256, 66),
    "MXFP4": Block(32, 17), "NVFP4": Block(64, 36),
}  # fmt: skip

# for a row that is no multiple of 256: a type with blocks of 32, of about as many bits
FALLBACK = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
}  # fmt: skip


def fitting(block: str, columns: int) -> str:
    """`block`, or what llama.cpp takes instead for rows of `columns` weights; 0: the length of a row is not known."""
    if columns % BLOCKS[block].weights == 0:
        return block
    if block not in FALLBACK:
        raise UserError(
            f"rows of {columns} weights are no whole {block} blocks of {BLOCKS[block].weights}, and llama.cpp has no other type for "
            "them; choose a format of 16 bit"
        )
    other = FALLBACK[block]
    return other if columns % BLOCKS[other].weights == 0 else "F16"
