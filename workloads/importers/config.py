"""Reads the config.json of a Hugging Face model: typed look-ups of its fields, and which family of classes it belongs to."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simmoe.simulator import reading
from simmoe.simulator.errors import UserError

MOST_LAYERS = 1_024  # the deepest published model has 126; each layer is described apart
TEXT = (
    "text_config",
    "llm_config",
    "language_config",
    "thinker_config",
)  # where multimodal files keep the language model
SAME_AS = {  # published under a name of its own, built by another family's class
    "kimi_k2": "deepseek_v3",
    "kimi_k25": "deepseek_v3",
    "minimax_m1": "minimax",
    "minimax_text_01": "minimax",
    "granitemoeshared": "granitemoe",
    "hunyuan": "hunyuan_v1_moe",
    "grovemoe": "grove_moe",
}


TOP_K = ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "top_k_experts", "experts_per_token")
ALWAYS = {"switch_transformers": 1, "nllb-moe": 2}  # experts that a token uses, where the class has no field for it


@dataclass(frozen=True)
class Config:
    """Typed look-ups in a config.json; null counts as absent."""

    fields: Mapping[str, Any]
    where: str

    def number(self, *names: str, default: int | None = None) -> int:
        """The first of `names` that is there; of one value per layer, all alike, that value."""
        for name in names:
            value = self.fields.get(name)
            if isinstance(value, list) and value and all(one == value[0] for one in value):
                value = value[0]
            if value is not None:
                if type(value) is not int or not 0 <= value < 2**32:
                    raise UserError(
                        f"{self.where}: {name} is {reprlib.repr(value)}; it must be a whole number from 0 to {2**32 - 1}"
                    )
                return value
        if default is None:
            raise UserError(f"{self.where}: {' or '.join(names)} is missing; is the file complete?")
        return default

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.fields.get(name)
        return default if value is None else bool(value)

    @property
    def layers(self) -> int:
        """Number of layers; bounded before any list is made of it."""
        said = next((v for k in ("layers_block_type", "hybrid_override_pattern") if (v := self.fields.get(k))), None)
        layers = len(said) if isinstance(said, (list, str)) else self.number("num_hidden_layers", "num_layers")
        if not 0 < layers <= MOST_LAYERS:
            raise UserError(
                f"{self.where}: num_hidden_layers is {layers}; it must be a whole number from 1 to {MOST_LAYERS}"
            )
        return layers

    @property
    def width(self) -> int:
        return self.number("hidden_size", "d_model")

    @property
    def top_k(self) -> int:
        """Experts that a token uses."""
        return self.number(*TOP_K, default=ALWAYS.get(str(self.fields.get("model_type"))))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or one line that says why the file is none."""
    content = reading.read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path.name} holds a {type(content).__name__}; a config.json or an index is an object {{...}}")
    return content


def name_of(text: str) -> str:
    """A model name out of a file or folder name."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-._") or "imported"


def language(content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the language model, which a multimodal file keeps in an object of their own."""
    inner: Mapping[str, Any] = next((content[key] for key in TEXT if isinstance(content.get(key), dict)), {})
    outer = {key: value for key, value in content.items() if key not in TEXT}
    whole = {key: outer[key] for key in ("tie_word_embeddings",) if key in outer}  # of the whole model, head included
    return {**outer, **inner, **whole, "model_type": inner.get("model_type", content.get("model_type"))}


def family_of(content: Mapping[str, Any], where: str) -> str:
    """The family whose class builds it, of the language model where there are several."""
    said = language(content).get("model_type")
    if not isinstance(said, str) or not said:
        raise UserError(f"{where}: model_type is {reprlib.repr(said)}; is it the config.json of a Hugging Face model?")
    family = said.removesuffix("_text").replace("-", "_").lower()
    return SAME_AS.get(family, family)
