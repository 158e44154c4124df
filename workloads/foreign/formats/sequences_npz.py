"""npz of `expert_ids` [tokens, layers, top_k], `n_experts` and `seq_start`: how public collections of routing are commonly repacked.

`seq_start` holds the first token of each sequence. Optional: `phase` [tokens] (0 = prompt, 1 = decode), `weights` (of `expert_ids`' shape),
`meta` (a JSON object: `model`, `first_moe_layer`, source and licence). Without `phase` every token counts as decoded.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.simulator.reading import parse_json
from simmoe.workloads.foreign.building import Pass, Stated, prompt_rows, request, trace
from simmoe.workloads.foreign.file import Array, File

NEEDED = ("expert_ids", "n_experts", "seq_start")


def recognises(file: File) -> bool:
    return {"expert_ids", "n_experts"} <= file.names and "pass_ptr" not in file.names


def read(file: File, stated: Stated) -> Trace:
    if missing := [name for name in NEEDED if name not in file.names]:
        file.fail(f"array {missing[0]!r} is missing; this layout has {', '.join(NEEDED)}")
    ids, said = file.array("expert_ids"), _meta(file)
    if ids.ndim != 3 or ids.dtype.kind not in "iu" or not ids.size:
        file.fail(f"expert_ids is {ids.dtype} of shape {ids.shape}; it must be whole numbers [tokens, layers, top_k]")
    weights, phase = (_beside(file, name, shape) for name, shape in (("weights", ids.shape), ("phase", ids.shape[:1])))
    passes, notes = list[Pass](), set[str]()
    for number, (a, b) in enumerate(pairwise(_edges(file, len(ids)))):
        rows, noted = prompt_rows(file, stated, b - a, None if phase is None else _prompt(file, number, phase[a:b]))
        notes |= set(noted)
        passes += request(number, ids[a:b], rows, None if weights is None else weights[a:b])
    first = said.get("first_moe_layer", 0)
    layers = list(range(first, first + ids.shape[1])) if type(first) is int else None
    kept = {name: value for name, value in said.items() if name in ("source", "licence", "corpus")}
    experts = file.array("n_experts").reshape(-1)[:1].tolist()
    return trace(
        file,
        stated,
        passes,
        layers=layers,
        experts=experts[0] if experts else 0,
        notes=sorted(notes),
        recorded_model=said.get("model"),
        **kept,
    )


def _edges(file: File, tokens: int) -> list[int]:
    """The first token of each sequence, then the end."""
    edges = [*file.array("seq_start").reshape(-1).tolist(), tokens]
    if edges[0] != 0 or any(type(a) is not int or a >= b for a, b in pairwise(edges)):
        file.fail(f"seq_start must rise from 0 to below {tokens}, the tokens; it begins {edges[:3]}")
    return edges


def _prompt(file: File, sequence: int, phase: Array) -> int:
    if phase.dtype.kind not in "iub" or not np.isin(phase, (PREFILL, DECODE)).all():
        file.fail(f"phase of sequence {sequence} is {phase.dtype}, {phase[:3].tolist()} …; 0 is prompt and 1 is decode")
    if (np.diff(phase.astype(int)) < 0).any():
        file.fail(
            f"phase of sequence {sequence} falls back to the prompt; its rows must be those of the prompt, then decoded ones"
        )
    return int((phase == PREFILL).sum())


def _meta(file: File) -> dict[str, Any]:
    text = file.array("meta") if "meta" in file.names else np.array("{}")
    said = parse_json(str(text[()]), f"{file.path}: meta") if text.ndim == 0 and text.dtype.kind == "U" else None
    if not isinstance(said, dict):
        file.fail("meta is not a JSON object in a 0-d unicode array")
    return said


def _beside(file: File, name: str, shape: tuple[int, ...]) -> Array | None:
    if name not in file.names:
        return None
    array = file.array(name)
    if array.shape != shape:
        file.fail(f"{name} has shape {array.shape}; with these expert_ids it must be {shape}")
    return array
