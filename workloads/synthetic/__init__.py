"""Routing without a trace: drawn from a class of models, or from a twin of one (docs/synthetic_routing.md)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.synthetic import twinfile
from simmoe.workloads.synthetic.drawing import draw
from simmoe.workloads.synthetic.scaling import cast, mean, scaled, summary
from simmoe.workloads.synthetic.twin import Ints, Twin, uniform

UNIFORM, TYPICAL, LIKE = "uniform", "typical", "like:"
WORD = re.compile(r"[a-z0-9]+(?:\.[0-9]+)*")  # of a model's name: qwen3, 30b, 3.5
Tokens = int | Sequence[int]  # of all sequences, or of each
MOST_IDS = 2**28  # of a drawn trace: half a gigabyte


def routing_for(
    model: ModelShape, routing: str | Path, prompt: Tokens, generate: Tokens, sequences: int = 1, seed: int = 0
) -> Trace:
    """A trace of the model's geometry: each sequence has one prompt pass, then a decode pass for each generated token.

    prompt, generate: tokens of all sequences, or of each.
    routing: uniform, typical, like:CLASS or a file that `simmoe trace fit` wrote. Raises UserError.
    """
    trace = _drawn(twin_for(model, routing, seed), routing, prompt, generate, sequences, seed)
    return replace(trace, meta={**trace.meta, "model": model.name})


def routing_of(routing: str | Path, prompt: Tokens, generate: Tokens, sequences: int = 1, seed: int = 0) -> Trace:
    """The same in the twin's own geometry. Raises UserError for a class, which has none."""
    if str(routing) in (UNIFORM, TYPICAL) or not (twin := _named(str(routing))).experts_known:
        raise UserError(
            f"routing {routing} is a class, which has no layers and experts of its own; name a model with --model"
        )
    return _drawn(twin, routing, prompt, generate, sequences, seed)


def _drawn(twin: Twin, routing: str | Path, prompt: Tokens, generate: Tokens, sequences: int, seed: int) -> Trace:
    if sequences < 1 or seed < 0:
        raise UserError(f"sequences {sequences}, seed {seed}: give at least one sequence, and a seed from 0")
    prompts, answers = ([one] * sequences if isinstance(one, int) else list(one) for one in (prompt, generate))
    if (tokens := sum(prompts) + sum(answers)) * twin.n_layers * twin.top_k > MOST_IDS:
        raise UserError(
            f"{tokens:,} tokens × {twin.n_layers} layers × top-{twin.top_k} are more than {MOST_IDS:,} ids; draw fewer"
        )
    trace = draw(twin, prompts, answers, seed)
    said = Path(routing).stem if is_file(str(routing)) else str(routing)
    return replace(trace, meta={**trace.meta, "router": f"synthetic, {said}"})


def twin_for(model: ModelShape, routing: str | Path, seed: int) -> Twin:
    """The twin that routing of this model is drawn from. The experts of a class are cast by `seed`. Raises UserError."""
    layer_index, n_experts, top_k = geometry(model)
    if str(routing) == UNIFORM:
        return replace(uniform(len(layer_index), n_experts, top_k), layer_index=layer_index)
    if str(routing) == TYPICAL:
        return cast(typical(layer_index, n_experts, top_k), seed)
    found = _named(str(routing))
    if found.experts_known and (found.n_experts, found.top_k, found.n_layers) == (n_experts, top_k, len(layer_index)):
        return replace(found, layer_index=layer_index)
    return cast(scaled(summary(found) if found.experts_known else found, layer_index, n_experts, top_k), seed)


def usual(model: ModelShape) -> str:
    """The routing of a model that nobody named one for: the class of that model, else the typical one. A class is of a model that its whole
    name stands in, or the first word of its name if layers, experts and top-k are the same as well: Qwen3-Coder is like Qwen3-30B."""
    texts = [WORD.findall(text.lower()) for text in (model.name, model.title)]
    known = {name: WORD.findall(name) for name in twinfile.class_names()}
    named = [name for name, words in known.items() if any(_in_order(words, text) for text in texts)]
    family = [
        name for name, words in known.items() if any(word.startswith(words[0]) for text in texts for word in text)
    ]
    own = named or [name for name in family if _is_as_large(model, name)]
    return LIKE + max(own, key=len) if own else TYPICAL


def _in_order(words: list[str], text: list[str]) -> bool:
    """Whether the text has the words in this order, others between them or not."""
    rest = iter(text)
    return all(word in rest for word in words)


def _is_as_large(model: ModelShape, name: str) -> bool:
    layer_index, n_experts, top_k = geometry(model)
    twin = twinfile.load_class(name)
    return (twin.n_layers, twin.n_experts, twin.top_k) == (len(layer_index), n_experts, top_k)


def is_file(routing: str) -> bool:
    """Whether a routing is the file of a twin, in place of a class."""
    return routing not in (UNIFORM, TYPICAL) and not routing.startswith(LIKE)


def find(routing: str) -> Path:
    """The file of a twin. Raises UserError."""
    _named(routing)
    return Path(routing)


def origin(model: ModelShape, routing: str) -> str:
    """What a routing is drawn from, in words without folders: a class, or whose twin a file is, and whether it is stretched."""
    if not is_file(routing):
        return routing
    twin, (layer_index, n_experts, top_k) = _named(routing), geometry(model)
    said = f"{Path(routing).name}, statistics of {twin.name}"
    if (twin.n_layers, twin.n_experts, twin.top_k) == (len(layer_index), n_experts, top_k):
        return said
    return f"{said} ({twin.n_layers} layers, top-{twin.top_k} of {twin.n_experts}) that are stretched to this model"


def files(routing: str) -> list[Path]:
    """The files that decide what is drawn; those that are there."""
    names = {UNIFORM: [], TYPICAL: twinfile.class_names()}.get(routing, [routing.removeprefix(LIKE)])
    bundled = not is_file(routing)
    found = [twinfile.CLASSES / f"{name}.yaml" if bundled else Path(name) for name in names]
    return [file for file in found if file.is_file()]


def geometry(model: ModelShape) -> tuple[Ints, int, int]:
    """(model layer of each MoE layer, experts, top-k). Raises UserError for a model that routing cannot be drawn for."""
    if not model.moe_layers:
        raise UserError(f"model {model.name} has no MoE layers: there is no routing to draw")
    counts = {model.layers[layer].n_experts for layer in model.moe_layers}
    if len(counts) > 1:
        raise UserError(
            f"model {model.name} has layers of {', '.join(map(str, sorted(counts)))} experts; routing is drawn for one number"
        )
    return np.array(model.moe_layers, np.int64), counts.pop(), model.top_k


def _named(routing: str) -> Twin:
    if routing.startswith(LIKE):
        return twinfile.load_class(routing.removeprefix(LIKE))
    if not Path(routing).is_file():
        known = among(
            routing,
            [UNIFORM, TYPICAL, *(LIKE + name for name in twinfile.class_names())],
            "known:",
            "docs/synthetic_routing.md",
        )
        raise UserError(
            f"unknown routing {routing!r}: no such class or file; {known}; 'simmoe trace fit' makes one of a trace"
        )
    return twinfile.load(Path(routing))


def typical(layer_index: Ints, n_experts: int, top_k: int, without: tuple[str, ...] = ()) -> Twin:
    """The mean of all classes but those `without`, in this geometry."""
    classes = [twinfile.load_class(name) for name in twinfile.class_names() if name not in without]
    return mean([scaled(one, layer_index, n_experts, top_k) for one in classes], TYPICAL)
