"""What llama.cpp takes of a card beside weights and caches: its compute buffer, and what CUDA keeps beside that.

The buffer is laid out for the largest pass, with the logits of all its tokens (llama-context.cpp reserves that graph): logits and hidden
states are alive together at the end of a pass; in a layer of experts on the CPU one matrix of all its experts, copied to the card, is
alive beside what the experts compute with. Both are not alive at once, so the larger of the two counts. For 201,088 words of vocabulary,
a width of 2,880 and 512 tokens that is the 398.38 MiB which the program prints for gpt-oss; for Mistral 7B it prints 115.01 MiB, and
the dense FFN makes it 116.
"""

from __future__ import annotations

from collections.abc import Iterable

from simmoe.simulator.nouns.model import Layer, ModelShape

NUMBER_BYTES = 4  # activations are f32
BESIDE_BYTES = 2**29  # memory pools, fragments and workspaces of kernels: assumed


def buffer_bytes(model: ModelShape, microbatch: int, blocks_on_cpu: int, carries: bool) -> int:
    """Of passes of at most `microbatch` tokens. carries: such passes copy the weights of `blocks_on_cpu` blocks to the card."""
    return of_graph(model, microbatch, model.layers[:blocks_on_cpu] if carries else ()) + BESIDE_BYTES


def of_graph(model: ModelShape, microbatch: int, carried: Iterable[Layer]) -> int:
    """What one pass needs. carried: layers whose experts it may copy to the card."""
    alive = [_end(model, microbatch)]
    copied = {layer for layer in carried if layer.n_experts}
    for layer in {layer for layer in model.layers if layer.n_experts}:
        inside = _inside(model, layer, layer.expert.params, model.top_k, microbatch)
        alive.append(inside + (layer.expert_bytes // _matrices(layer) if layer in copied else 0))
    alive += [_inside(model, layer, layer.ffn.params, 1, microbatch) for layer in {*model.layers} if layer.ffn.params]
    return max(alive)


def _end(model: ModelShape, tokens: int) -> int:
    """Logits and the hidden states that they come from; of a model whose width is not known the logits are left out."""
    words = (model.head.params - model.width) // model.width if model.width else 0
    return (words + model.width) * tokens * NUMBER_BYTES


def _inside(model: ModelShape, layer: Layer, params: int, slots: int, tokens: int) -> int:
    """Gate, up and their product of each token's slots, and four hidden states of each token."""
    inner = params // _matrices(layer) // model.width if model.width else 0
    return (3 * slots * inner + 4 * model.width) * tokens * NUMBER_BYTES


def _matrices(layer: Layer) -> int:
    return 2 if "ungated" in layer.features else 3


def device_bytes(
    model: ModelShape, blocks_on_cpu: int, context: int, microbatch: int, carries: bool, apart: bool = True
) -> dict[str, int]:
    """What llama.cpp puts on one card by kind. apart: there is host memory beside the card, in which the input embedding stays."""
    experts = sum(layer.expert_bytes for layer in model.layers[blocks_on_cpu:])
    parts = {
        "dense": model.dense_bytes - model.embedding.bytes * apart,
        "kv": model.kv_bytes(context, microbatch),
        "experts": experts,
        "compute": buffer_bytes(model, microbatch, blocks_on_cpu, carries),
    }
    return {**parts, "total": sum(parts.values())}


def least_blocks(
    model: ModelShape, room_bytes: int, context: int, microbatch: int, carries: bool, apart: bool = True
) -> int | None:
    """The fewest blocks from 0 whose experts must be on the CPU so that the rest fits into `room_bytes`; None: no number is enough."""
    if device_bytes(model, 0, context, microbatch, carries, apart)["total"] <= room_bytes:
        return 0
    number = len(model.layers)
    left = room_bytes - device_bytes(model, number, context, microbatch, carries, apart)["total"]
    while number > 1 and left >= model.layers[number - 1].expert_bytes:
        number -= 1
        left -= model.layers[number].expert_bytes
    return number if left >= 0 else None
