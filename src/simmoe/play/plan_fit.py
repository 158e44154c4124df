"""What llama-fit-params would print for the same -c, -ub and KV format on one card (llama.cpp, common/fit.cpp).

It keeps --fit-target free, 1 GiB by default. Where all fits it changes nothing. Else it puts the dense weights of all blocks on the card
and gives it the experts of the first blocks, as many as fit; the experts of the others go to the CPU by one -ot pattern for each block. Of
the first of those it tries to keep up, and gate too; where not even up fits, the whole feed-forward part of that block goes, with router
and shared experts. It measures by loading the model without its weights, which is what play/buffers.py works out, without what the driver
keeps beside the buffers. Where the dense weights alone are too large it leaves whole blocks to the CPU: not said here.
"""

from __future__ import annotations

from dataclasses import dataclass

from simmoe.play.buffers import of_graph
from simmoe.simulator.nouns.model import ModelShape

MARGIN_BYTES = 2**30  # --fit-target, its default
DOWN, GATE_DOWN, ALL = 1, 2, 3  # how many of the three matrices of the first block's experts go to the CPU
EXPERTS = r"\.ffn_(up|down|gate_up|gate)_(ch|)exps"
FIRST = {DOWN: r"\.ffn_down.*", GATE_DOWN: r"\.ffn_(gate|gate_up|down).*", ALL: r"\.ffn_(gate|up|gate_up|down).*"}


@dataclass(frozen=True)
class Fit:
    """blocks: whose experts go to the CPU, of the first of them perhaps only a part."""

    line: str
    blocks: int


def fitted(model: ModelShape, room_bytes: int, context: int, microbatch: int, carries: bool) -> Fit | None:
    """room_bytes: of the card that are free before the program starts. carries: large passes copy what the CPU has. None: the dense
    weights alone do not fit, and its rule for them is left out here."""
    layers, target = model.layers, room_bytes - MARGIN_BYTES
    rest = model.dense_bytes - model.embedding.bytes + model.kv_bytes(context, microbatch)

    def used(full: int, part: float = 0.0) -> float:
        """Bytes with the experts of the first blocks on the card, and so much of those of the next."""
        held = (
            sum(layer.expert_bytes for layer in layers[:full]) + part * layers[min(full, len(layers) - 1)].expert_bytes
        )
        return rest + held + of_graph(model, microbatch, layers[full:] if carries else ())

    if used(len(layers)) <= target:
        return Fit(f"-c {context} -ngl -1", 0)
    full = next((n for n in reversed(range(1, len(layers))) if used(n) <= target), None)
    if full is None:
        return None
    gone = next((gone for gone in (DOWN, GATE_DOWN) if used(full, 1 - gone / ALL) < target), ALL)
    patterns = [rf"blk\.{full}{FIRST[gone]}", *(rf"blk\.{i}{EXPERTS}" for i in range(full + 1, len(layers) + 1))]
    words = ",".join(f"{pattern}=CPU" for pattern in patterns)
    return Fit(f'-c {context} -ngl {len(layers) + 1} -ot "{words}"', len(layers) - full)
