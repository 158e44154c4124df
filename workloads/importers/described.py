"""What a config.json describes: every parameter by where it stands, and what the attention of each layer keeps.

The parameters come from the rules of families.py, or, for every other family, from transformers' class (extra `hf`). Both name them
alike, so that one set of patterns tells what they are for.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers import caches, classes, families, features, kinds
from simmoe.workloads.importers.config import Config, check_outer, family_of, language, number_format
from simmoe.workloads.importers.places import ELSEWHERE, LAYER, Around, Named, place
from simmoe.workloads.importers.tensors import Kept, Tensor, collect

TWO_STACKS = "an encoder and a decoder are counted as one stack, whose layers all run in every pass; in decoding only the decoder's do"
GROVE = "the small expert of each group is counted half and half with the two experts of the group: the total is right, its reuse is not"
CAUTIONS = {"switch_transformers": TWO_STACKS, "nllb_moe": TWO_STACKS, "grove_moe": GROVE}


@dataclass(frozen=True)
class Described:
    """A model as its config.json describes it."""

    family: str
    config: Config  # with the defaults of its family
    tensors: tuple[Named, ...]
    source: str  # who says which parameters there are
    notes: str = ""
    encoder: int = 0  # layers before those that decode

    @cached_property
    def layers(self) -> int:
        return len(stacks(self.tensors)) or self.config.layers


def describe(content: Mapping[str, Any], where: str, by_class: bool = False) -> Described:
    """by_class: from transformers' class even where a rule is at hand."""
    check_outer(content, where)
    family = family_of(content, where)
    if family in families.known() and not by_class:
        config = Config(families.with_defaults(family, language(content)), where)
        tensors = tuple(families.tensors(family, config))
        return Described(
            family, config, in_one_stack(tensors), f"rules for {family}", _left_out(content), len(_encoder(tensors))
        )
    if not classes.available():
        raise UserError(
            f"{where}: model_type {reprlib.repr(family)} is no family with rules here, and its class {classes.NEEDS}; known without: "
            f"{', '.join(families.known())}; others can be written by hand (docs/models.md)"
        )
    built = classes.build(content, where)
    notes = _left_out(content, built.elsewhere)
    source, encoder = f"class of {family} in transformers", len(_encoder(built.tensors))
    return Described(family, built.config, in_one_stack(built.tensors), source, notes, encoder)


def parts(said: Described, where: str) -> dict[str, Any]:
    """The `parts` of a model file."""
    return collect(placed(said, said.tensors, where), facts(said), said.config.top_k, said.config.width, where)


def caution(said: Described) -> str:
    """What every result of the model has to say: what is counted otherwise than the model does it."""
    found = [CAUTIONS[said.family]] if said.family in CAUTIONS else []
    if words := kinds.unknown(kinds.kinds(said.config, said.layers)):
        found.append(f"layers of {', '.join(words)} are counted as full attention, since no rule here knows them")
    if name := number_format(said.config.fields):
        found.append(
            f"the file says that its weights are in {reprlib.repr(name)}, of which nothing is known here: their bytes are those of --format"
        )
    picks = any(one.get("read") for fact in facts(said) for one in fact.caches)
    if said.config.number("index_n_heads", "index_topk", default=0) and not picks:
        found.append(
            "the file names an indexer that no rule here reads: attention is counted as reading every position"
        )
    return "; ".join(found)


def placed(said: Described, tensors: Sequence[Named], where: str) -> list[Tensor]:
    """What each tensor is for; layers behind the last one predict further tokens and are left out."""
    tied = all("lm_head.weight" not in one.name for one in tensors)
    tensors = [one for one in tensors if not (match := LAYER.match(one.name)) or int(match[1]) < said.layers]
    latent = said.config.number("qk_nope_head_dim", default=0), said.config.number("v_head_dim", default=0)
    return place(tensors, Around(where, said.config.width, tied, latent))


def facts(said: Described) -> list[Kept]:
    """What each layer keeps. An encoder keeps nothing; its decoder one row for each position, read or written."""
    shapes = caches.by_layer(said.tensors, said.layers)
    limits = kinds.limits(said.config, kinds.kinds(said.config, said.layers))
    kept = [caches.kept(of_layer, limit, said.config) for of_layer, limit in zip(shapes, limits)]
    kept = [Kept()] * said.encoder + kept[said.encoder :]
    return [
        replace(fact, features=_features(said, of_layer, limit, fact))
        for of_layer, limit, fact in zip(shapes, limits, kept)
    ]


def _features(said: Described, shapes: features.Shapes, limit: caches.Limit, fact: Kept) -> frozenset[str]:
    """Words of a layer. Llama 4 has norms without weights on queries and keys where it has rotary positions, so no tensor tells them."""
    bare = said.family == "llama4" and limit.kind == kinds.CHUNKED and said.config.flag("use_qk_norm")
    return frozenset(features.of_names(shapes, fact.state_elements > 0) | ({"qk_norm"} if bare else set()))


def stacks(tensors: Sequence[Named]) -> set[int]:
    inside = (LAYER.match(one.name) for one in tensors if not ELSEWHERE.search(one.name))
    return {int(match[1]) for match in inside if match}


def in_one_stack(tensors: Sequence[Named]) -> tuple[Named, ...]:
    """The layers of a decoder counted on from those of its encoder."""
    encoder = _encoder(tensors)
    if not encoder:
        return tuple(tensors)
    return tuple(_further(one, len(encoder)) for one in tensors)


def _encoder(tensors: Sequence[Named]) -> set[int]:
    return stacks([one for one in tensors if one.name.startswith(("encoder.", "model.encoder."))])


def _further(one: Named, by: int) -> Named:
    match = LAYER.match(one.name)
    if not match or "decoder." not in one.name[: match.start(1)]:
        return one
    return Named(f"decoder.block.{int(match[1]) + by}.{match[2]}", one.shape, one.nbytes, one.params)


def _left_out(content: Mapping[str, Any], params: int = 0) -> str:
    """What a model has beside the language model that is counted."""
    towers = [key for key in ("vision_config", "audio_config") if content.get(key)]
    further = language(content).get("num_nextn_predict_layers")
    size = f" ({params / 1e6:,.0f} M parameters)" if params and towers else ""
    said = [f"{' and '.join(key.removesuffix('_config') for key in towers)} left out{size}."] if towers else []
    return " ".join([*said, *([f"{further} layers that predict further tokens left out."] if further else [])])
