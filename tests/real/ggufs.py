"""Small MoE models with random weights, in files that llama.cpp reads: three public geometries with fewer layers and smaller matrices.

Weights are drawn around zero. With a mean, one direction of the hidden states would grow from layer to layer, and in the end all
tokens would go to the same experts; tests/real/routing.py counts where they go.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray

from tests.real.shapes import Shape

POOL = 4 * 2**20  # numbers of one kind that are drawn; a tensor is cut out of them, each from another place on
STEP = 9973  # rows between the places where two tensors begin: a prime number, so that they differ
POSITIONS = 4096
EMBEDDING = "token_embd"
KINDS = {"F16": Kind.F16, "Q4_0": Kind.Q4_0, "Q8_0": Kind.Q8_0}
FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q8_0": 7}  # llama.cpp's numbers of such files


def tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...], Kind]]:
    """Name, dimensions as numpy has them, and format, as llama.cpp names them."""
    d, q, kv, e, f = (
        shape.width, shape.heads * shape.head, shape.kv_heads * shape.head, shape.experts, shape.expert_width
    )  # fmt: skip
    kind = KINDS[shape.format]
    yield EMBEDDING, (shape.vocabulary, d), kind
    yield "output_norm", (d,), Kind.F32
    yield "output", (shape.vocabulary, d), kind
    for i in range(shape.layers):
        block: dict[str, tuple[tuple[int, ...], Kind]] = {
            "attn_norm": ((d,), Kind.F32), "attn_q": ((q, d), kind), "attn_k": ((kv, d), kind),
            "attn_v": ((kv, d), kind), "attn_output": ((d, q), kind), "ffn_norm": ((d,), Kind.F32),
            "ffn_gate_inp": ((e, d), Kind.F32), "ffn_gate_exps": ((e, f, d), kind),
            "ffn_up_exps": ((e, f, d), kind), "ffn_down_exps": ((e, d, f), kind),
        }  # fmt: skip
        block |= {name: ((size,), Kind.F32) for name, size in shape.norms.items()}
        for name, (dimensions, stored) in block.items():
            yield f"blk.{i}.{name}", dimensions, stored


def write(path: Path, shape: Shape, seed: int = 0, weights: bool = True) -> Path:
    """The whole file, or without weights what tells the shape. It has no vocabulary but its size: token numbers are what it is given."""
    writer = gguf.GGUFWriter(path, shape.arch)
    writer.add_name(f"random weights, {path.stem}")
    _describe(writer, shape)
    pools = _Pools(seed)
    for name, dimensions, kind in tensors(shape):
        if weights:
            size = _size(name, shape) if "norm" not in name else 0.0
            writer.add_tensor(f"{name}.weight", pools.cut(size, dimensions, kind), raw_dtype=kind)
        else:
            held = prod(gguf.quant_shape_to_byte_shape(dimensions, kind)) if kind != Kind.F32 else 4 * prod(dimensions)
            writer.add_tensor_info(f"{name}.weight", dimensions, np.dtype(np.float32), held, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    if weights:
        writer.write_tensors_to_file()
    else:
        writer.write_ti_data_to_file()
    writer.close()
    return path


def _describe(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_file_type(FILE_TYPES[shape.format])
    writer.add_block_count(shape.layers)
    writer.add_context_length(POSITIONS)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.expert_width)
    writer.add_expert_feed_forward_length(shape.expert_width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_expert_count(shape.experts)
    writer.add_expert_used_count(shape.top_k)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("no_vocab")


def _size(name: str, shape: Shape) -> float:
    """Of the numbers of a matrix. Products keep the size of what they multiply, 1, and so has the embedding; what a layer adds to the
    hidden state is smaller. Else the mean that attention takes, nearly the same for all tokens, would outweigh what a token is."""
    columns = next(dimensions for one, dimensions, _ in tensors(shape) if one == name)[-1]
    if name == EMBEDDING:
        return 1.0
    adds = name.endswith(("attn_output", "ffn_down_exps"))
    return float(columns**-0.5) * ((2 * shape.layers) ** -0.5 if adds else 1.0)


class _Pools:
    """Random numbers of one file."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)
        self.made: dict[tuple[Kind, int, float], NDArray[np.generic]] = {}
        self.cuts = 0

    def cut(self, size: float, dimensions: tuple[int, ...], kind: Kind) -> NDArray[np.generic]:
        """A matrix of numbers of that size; 0: the ones of a norm."""
        if not size:
            return np.ones(dimensions, np.float32)
        pool, rows = self._pool(kind, dimensions[-1], size), int(np.prod(dimensions[:-1]))
        self.cuts += 1
        places = (np.arange(rows) + self.cuts * STEP) % len(pool)
        return pool[places].reshape(*dimensions[:-1], -1)

    def _pool(self, kind: Kind, columns: int, size: float) -> NDArray[np.generic]:
        key = (kind, columns, size)
        if key not in self.made:
            drawn = self.generator.standard_normal((POOL // columns - 1, columns), np.float32) * np.float32(size)
            self.made[key] = gguf.quants.quantize(drawn, kind)
        return self.made[key]
