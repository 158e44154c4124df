"""Typed look-ups in the metadata of a GGUF file, under the prefix of its architecture."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers.bounds import MOST_LAYERS

COUNTS = ("block_count", "nextn_predict_layers")
POSITIVE = {  # keys in which 0 is no size that a model can have; of a list, one value for each layer, some may be 0
    "attention.head_count", "attention.indexer.head_count", "attention.indexer.top_k", "attention.key_length", "attention.key_length_swa",
    "attention.value_length", "attention.value_length_swa", "embedding_length", "expert_used_count", "kda.head_dim", "ssm.inner_size",
    "ssm.state_size",
}  # fmt: skip


@dataclass(frozen=True)
class Metadata:
    """Fields of a header; where: the file, for messages."""

    fields: dict[str, Any]
    where: str

    @property
    def family(self) -> str:
        return str(self.fields.get("general.architecture", ""))

    def said(self, key: str) -> Any:
        """The value as it stands, None = absent."""
        return self.fields.get(f"{self.family}.{key}")

    def has(self, prefix: str) -> bool:
        return any(key.startswith(f"{self.family}.{prefix}") for key in self.fields)

    def numbers(self, key: str, count: int, default: int | None = None) -> list[int]:
        """One value per layer; most files give a single one for all."""
        said = self.said(key)
        value = default if said is None else said
        values: list[Any] = value if isinstance(value, list) else [value] * count
        if len(values) < count or not all(type(x) is int and 0 <= x < 2**32 for x in values):
            raise self.wrong(key, f"it must be a whole number, or a list of {count}")
        if count and key in POSITIVE and not any(values):
            raise self.wrong(key, "it must be at least 1")
        return values[:count]

    def wrong(self, key: str, rule: str) -> UserError:
        return UserError(f"{self.where}: metadata {self.family}.{key} is {reprlib.repr(self.said(key))}; {rule}")

    def number(self, key: str, default: int | None = None) -> int:
        said = self.said(key)
        if isinstance(said, list) and (key in COUNTS or len(said) < self.layers or any(one != said[0] for one in said)):
            raise self.wrong(key, "it must be one whole number, or a list of one for each layer, all alike")
        return self.numbers(key, 1, default)[0]

    @property
    def layers(self) -> int:
        """Those that run in plain decoding: the last ones of some models only predict further tokens."""
        count = self.number("block_count") - self.number("nextn_predict_layers", default=0)
        if not 0 < count <= MOST_LAYERS:
            raise UserError(f"{self.where}: {count} layers; a model has 1 to {MOST_LAYERS}")
        return count
