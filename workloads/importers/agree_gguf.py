"""What the metadata of a GGUF file says of a layer must be what its tensors say: cache, state and FLOPs would follow the wrong one."""

from __future__ import annotations

from collections.abc import Mapping

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers.features import Shapes
from simmoe.workloads.importers.metadata_gguf import Metadata


def rank_of(metadata: Metadata, shapes: Shapes) -> int:
    """Numbers of the compressed row of latent attention; 0: the layer has another."""
    rank, row = metadata.number("attention.kv_lora_rank", default=0), shapes.get("attn_kv_a_mqa", (0, 0))[1]
    if bool(rank) != bool(row) or (rank and rank + metadata.number("rope.dimension_count") != row):
        there = f"with rope.dimension_count it must be the {row} rows of attn_kv_a_mqa"
        rule = there if row else "a layer has tensors of attention, but no attn_kv_a_mqa for it"
        raise metadata.wrong("attention.kv_lora_rank", rule)
    return rank


def agree(metadata: Metadata, shapes: Shapes, sizes: Mapping[str, int]) -> None:
    """Raises UserError where heads and their widths are not those of the tensors."""
    for name, size in sizes.items():
        dims = shapes.get(name, ())
        if len(dims) > 1 and (found := dims[0 if name == "attn_output" else 1]) != size:
            raise UserError(
                f"{metadata.where}: {name} is for {found} numbers of all heads, where the metadata of {metadata.family} makes {size} "
                "(attention.head_count, head_count_kv, key_length, value_length); the two must agree"
            )


def agree_latent(metadata: Metadata, shapes: Shapes, heads: int) -> None:
    """Raises UserError where the heads of latent attention, or of the indexer beside it, are not those of the tensors."""
    for name in ("attn_k_b", "attn_v_b"):
        if len(dims := shapes.get(name, ())) == 3 and dims[2] != heads:
            raise metadata.wrong("attention.head_count", f"{name} has {dims[2]} heads; the two must agree")
    if width := metadata.number("attention.value_length_mla", default=0):
        agree(metadata, shapes, {"attn_output": heads * width})
    scorer = shapes.get("indexer.proj")
    if scorer and scorer[1] != metadata.number("attention.indexer.head_count"):
        raise metadata.wrong("attention.indexer.head_count", f"indexer.proj has {scorer[1]} heads; the two must agree")


def agree_kda(metadata: Metadata, heads: int, width: int, channels: int) -> None:
    """Raises UserError where the heads of Kimi's delta attention do not make the channels of its convolution."""
    if heads * width != channels:
        raise metadata.wrong("kda.head_dim", f"{heads} heads of it must be the {channels} channels of ssm_conv1d_q")


def agree_states(metadata: Metadata, beyond: int, states: int) -> None:
    """Raises UserError where the channels of a convolution beyond the inner ones are not two rows of states for each group."""
    if beyond > 0 and beyond % (2 * states):
        raise metadata.wrong(
            "ssm.state_size", f"the {beyond} outer channels of ssm_conv1d must be two rows of it for each group"
        )
