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
from simmoe.workloads.importers.bounds import LAYERS, MOST_LAYERS, bounds

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


OBJECTS = (*TEXT, "vision_config", "audio_config", "quantization_config")
NUMBER_FORMAT = ("dtype", "torch_dtype")
KNOWN_FORMAT = re.compile(  # of PyTorch, which gains one now and then
    r"(torch\.)?(auto|b?float16|float(32|64)?|half|double|u?int(8|16|32|64)|float(4|8)_e\d+m\d+\w*)"
)
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
            if value is not None:
                return self._checked(name, self._of_all_layers(name, value))
        if default is None:
            raise UserError(f"{self.where}: {' or '.join(names)} is missing; is the file complete?")
        return default

    def _checked(self, name: str, value: object) -> int:
        low, high = bounds(name)
        if type(value) is not int or not low <= value <= high:
            raise UserError(
                f"{self.where}: {name} is {reprlib.repr(value)}; it must be a whole number from {low} to {high}"
            )
        return value

    def _of_all_layers(self, name: str, value: Any) -> Any:
        """Some files give one value for each layer; where all are alike it is one value."""
        if not isinstance(value, list) or name in LAYERS:
            return value
        same = all(type(one) is type(value[0]) and one == value[0] for one in value)
        if not same or len(value) < self.layers:
            raise UserError(
                f"{self.where}: {name} is {reprlib.repr(value)}; it must be a whole number, or a list of one for each of {self.layers} "
                "layers, all alike"
            )
        return value[0]

    def offset(self, name: str, period: int) -> int:
        """Where in each period something stands."""
        value = self.number(name, default=0)
        if value >= period:
            raise UserError(f"{self.where}: {name} is {value}; it must be below the period, {period}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.fields.get(name)
        if value is not None and not isinstance(value, bool):
            raise UserError(f"{self.where}: {name} is {reprlib.repr(value)}; it must be true or false")
        return default if value is None else value

    def listed(self, name: str, count: int, most: int) -> list[int] | None:
        """A list of at least `count` whole numbers from 0 to `most`, or an empty one; None where the file has none."""
        value = self.fields.get(name)
        if value is None:
            return None
        whole = isinstance(value, list) and all(
            isinstance(one, int) and 0 <= one <= most for one in value
        )  # true and false too
        if not whole or 0 < len(value) < count:
            raise UserError(
                f"{self.where}: {name} is {reprlib.repr(value)}; it must be a list of {f'{count} ' * (count > 0)}whole numbers from 0 "
                f"to {most}"
            )
        return [int(one) for one in value]

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object; empty where the file has none."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise UserError(f"{self.where}: {name} is {reprlib.repr(value)}; it must be an object {{...}}")
        return value or {}

    @property
    def layers(self) -> int:
        """Number of layers; bounded before any list is made of it."""
        said = next((v for k in ("layers_block_type", "hybrid_override_pattern") if (v := self.fields.get(k))), None)
        listed = len(said) if isinstance(said, (list, str)) else None
        layers = self.number("num_hidden_layers", "num_layers", default=listed)
        if listed not in (None, layers):
            raise UserError(
                f"{self.where}: num_hidden_layers is {layers}, but {listed} layers are listed by their kinds; the two must agree"
            )
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


def check_outer(content: Mapping[str, Any], where: str) -> None:
    """Raises UserError where what holds fields is no object, or the number format no text."""
    for key in OBJECTS:
        if not isinstance(value := content.get(key), (Mapping, type(None))):
            raise UserError(f"{where}: {key} is {reprlib.repr(value)}; it must be an object {{...}}, or null")
    for key in NUMBER_FORMAT:
        if not isinstance(value := content.get(key), (str, type(None))):
            raise UserError(f"{where}: {key} is {reprlib.repr(value)}; it must be a text such as bfloat16, or null")


def number_format(content: Mapping[str, Any]) -> str:
    """What the file says its weights are in, where no number format of that name is known here."""
    said = next((str(value) for key in NUMBER_FORMAT if (value := content.get(key))), "auto")
    return "" if KNOWN_FORMAT.fullmatch(said) else said


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
