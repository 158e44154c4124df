"""Bytes of each ggml type: weights per block, bytes per block, and bytes that begin each row.

Numbers: ggml/include/ggml.h of https://github.com/ggml-org/llama.cpp, whose blocks are those of workloads/models/blocks.py. The fork
https://github.com/ikawrakow/ik_llama.cpp has types of its own (numbers, blocks and row_meta_size in its ggml/src/ggml.c).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from simmoe.workloads.models.blocks import BLOCKS

NUMBERS = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
OTHERS = {  # number: (name, weights per block, bytes per block, bytes per row besides)
    31: ("Q4_0_4_4", 32, 18, 0), 32: ("Q4_0_4_8", 32, 18, 0), 33: ("Q4_0_8_8", 32, 18, 0), 41: ("Q1_0", 128, 18, 0),
    133: ("Q6_0", 32, 26, 0), 134: ("IQ1_BN", 64, 13, 2), 135: ("IQ2_BN", 64, 16, 4), 137: ("IQ2_K", 256, 76, 0),
    138: ("IQ3_K", 256, 110, 0), 139: ("IQ4_K", 256, 144, 0), 140: ("IQ5_K", 256, 176, 0), 141: ("IQ6_K", 256, 212, 0),
    144: ("IQ4_KS", 256, 136, 4), 145: ("IQ2_KS", 256, 70, 2), 146: ("IQ4_KSS", 256, 128, 4), 151: ("Q8_KV", 32, 32, 8),
    152: ("IQ5_KS", 256, 168, 4), 153: ("IQ2_KT", 256, 68, 4), 154: ("IQ3_KT", 256, 100, 4), 155: ("IQ4_KT", 256, 128, 4),
    156: ("IQ3_KS", 256, 102, 2), 157: ("IQ2_KL", 256, 86, 2), 158: ("IQ1_KT", 256, 56, 4), 219: ("IQ1_S_R4", 32, 6, 2),
    229: ("IQ1_M_R4", 32, 7, 2), 398: ("Q8_KV_R8", 32, 32, 4), 399: ("Q8_K_R8", 256, 258, 0),
}  # fmt: skip
INTERLEAVED = {  # rows that lie between each other: the same bytes as the type that the name begins with
    202: "Q4_0_R8", 206: "Q5_0_R4", 208: "Q8_0_R8", 210: "Q2_K_R4", 211: "Q3_K_R4", 212: "Q4_K_R4", 213: "Q5_K_R4", 214: "Q6_K_R4",
    216: "IQ2_XXS_R4", 217: "IQ2_XS_R4", 218: "IQ3_XXS_R4", 220: "IQ4_NL_R4", 221: "IQ3_S_R4", 222: "IQ2_S_R4", 223: "IQ4_XS_R8",
    230: "BF16_R16", 233: "Q6_0_R4", 335: "IQ2_BN_R4", 337: "IQ2_K_R4", 338: "IQ3_K_R4", 339: "IQ4_K_R4", 340: "IQ5_K_R4",
    344: "IQ4_KS_R4", 352: "IQ5_KS_R4", 353: "MXFP4_R8",
}  # fmt: skip
Sizes = tuple[str, int, int, int]
PLAIN: dict[int, Sizes] = {**{number: (name, *BLOCKS[name], 0) for number, name in NUMBERS.items()}, **OTHERS}
BY_NAME = {name: (weights, block, row) for name, weights, block, row in PLAIN.values()}
GGML_TYPES: dict[int, Sizes] = {
    **PLAIN,
    **{number: (name, *BY_NAME[name.rpartition("_R")[0]]) for number, name in INTERLEAVED.items()},
}
OF_THE_FORK = 97


def nbytes(kind: int, dims: Sequence[int]) -> int:
    """Bytes of a tensor of a known type; dims: fastest first, the length of a row."""
    _, weights, block, row = GGML_TYPES[kind]
    return math.prod(dims[1:]) * (dims[0] // weights * block + row)


def named(kind: int) -> str:
    """A type as a message names it."""
    if kind in GGML_TYPES:
        return GGML_TYPES[kind][0]
    return f"ggml type {kind}" + (" (of the fork ik_llama.cpp)" if kind >= OF_THE_FORK else "")
