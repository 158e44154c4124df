"""What a machine holds for a workload: of its cards each a part, and beside weights and caches what an engine keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simmoe.play import cards
from simmoe.play.engine_files import embeds_on_the_host
from simmoe.play.memory import Memory
from simmoe.play.room import blocks_bytes, in_blocks
from simmoe.play.setting import Setting
from simmoe.simulator.nouns.model import ModelShape


def memory_of(workload: Setting) -> Memory:
    hw, model, kv_bytes = workload.hw, workload.model, workload.kv_bytes
    whole = _of_engine(workload, model, kv_bytes, workload.cpu_blocks)
    if not (owners := workload.owners):
        return Memory(hw, model, kv_bytes, **whole)
    each, sequences = [], kv_bytes // max(model.kv_bytes(workload.context, workload.microbatch), 1)
    for card, name in enumerate(hw.devices):
        part = cards.share_of(model, owners, card)
        kv = part.kv_bytes(workload.context, workload.microbatch) * sequences
        if workload.room is not None and in_blocks(workload.clock_driven):
            kv = blocks_bytes(part, workload.room.kv_blocks, workload.room.max_batch)
        held = _of_engine(workload, part, kv, 0 if card else workload.cpu_blocks)
        each.append(Memory(replace(hw.alone(card), name=f"{name} of {hw.name}"), part, kv, **held))
    return cards.CardsMemory(hw, model, kv_bytes, **whole, cards=tuple(each), owners=owners)


def _of_engine(workload: Setting, model: ModelShape, kv_bytes: int, blocks: int) -> dict[str, Any]:
    """What an engine holds in memory beside weights and caches of a model or a part of it; without one only a draft. blocks: of how many
    of its first layers the CPU has all."""
    hw, runtime, knobs = workload.hw, workload.runtime, workload.knobs
    drafts = workload.draft_model is not None and workload.speculation is not None
    draft = {"draft_bytes": _draft_bytes(workload)} if drafts else {}
    if runtime is None:
        return draft
    beside = runtime.of("buffers.beside")
    carries = knobs.op_offload and runtime.carries and not hw.unified
    layers = model.layers
    dense = sum(x.attention.bytes + x.ffn.bytes + x.shared.bytes for x in layers[:blocks])
    dense += model.head.bytes * (knobs.gpu_layers == 0) + model.embedding.bytes * embeds_on_the_host(runtime)
    apart = hw.cpu is not None and hw.cpu.memory != hw.device.memory
    if not apart:  # one memory has all of it
        dense, blocks = 0, 0
    one = [layer.kv_bytes(workload.context, workload.microbatch) for layer in layers]
    there = 0 if runtime.only_stores else blocks
    kv = kv_bytes * sum(one[: None if apart and not knobs.kv_offload else there]) // max(sum(one), 1)
    return {
        "pass_tokens": 0 if beside is None else workload.largest_pass, "carries": carries, "beside_bytes_of_engine": int(beside or 0),
        "host_dense_bytes": dense, "host_kv_bytes": kv, **draft,
    }  # fmt: skip


def _draft_bytes(workload: Setting) -> int:
    """Weights of the draft, and its KV cache for one sequence."""
    model = workload.draft_model
    assert model is not None
    return model.dense_bytes + model.all_expert_bytes + model.kv_bytes(workload.context, workload.microbatch)
