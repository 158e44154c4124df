"""Typed look-ups in the metadata of a GGUF file, under the prefix of its architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers.bounds import MOST_LAYERS


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
            raise UserError(
                f"{self.where}: metadata {self.family}.{key} is {str(value)[:80]}; it must be a whole number, "
                f"or a list of {count}"
            )
        return values[:count]

    def number(self, key: str, default: int | None = None) -> int:
        return self.numbers(key, 1, default)[0]

    @property
    def layers(self) -> int:
        """Those that run in plain decoding: the last ones of some models only predict further tokens."""
        count = self.number("block_count") - self.number("nextn_predict_layers", default=0)
        if not 0 < count <= MOST_LAYERS:
            raise UserError(f"{self.where}: {count} layers; a model has 1 to {MOST_LAYERS}")
        return count
