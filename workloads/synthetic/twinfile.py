"""A twin as a YAML file: what `simmoe trace fit` writes, and each class of routing in classes/ (docs/synthetic_routing.md)."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml

from simmoe.simulator.errors import UserError
from simmoe.simulator.files import atomic, available
from simmoe.simulator.nearest import among
from simmoe.simulator.reading import read_yaml
from simmoe.workloads.models.reader import Check, Flag, Number, PositiveNumber, Text, many, nested, read
from simmoe.workloads.synthetic.twin import QUANTILES, Twin

CLASSES = Path(__file__).parent / "classes"
HEADER = "# Statistics of a model's routing. docs/synthetic_routing.md describes every key.\n"
MOST_WEIGHT = 20.0  # a logarithm: its exponential still fits well into a float32


def number(low: float, high: float) -> Check:
    def check(value: object, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UserError(f"{where} is {reprlib.repr(value)}; it must be a number from {low:g} to {high:g}")
        return float(value)

    return check


def maybe_many(check: Check) -> Check:
    return lambda value, where: () if value == [] else many(check)(value, where)


Weights = Annotated[tuple[float, ...], many(number(-MOST_WEIGHT, MOST_WEIGHT))]
Numbers = Annotated[tuple[int, ...], maybe_many(Number.__metadata__[0])]


@dataclass(frozen=True, kw_only=True)
class LayerFile:
    layer: Number
    popularity: Weights
    stickiness: Weights
    topic_spread: Annotated[float, number(0, 10)]
    targets: Numbers = ()
    partners: Numbers = ()
    lift: Annotated[tuple[float, ...], maybe_many(number(-MOST_WEIGHT, MOST_WEIGHT))] = ()


@dataclass(frozen=True, kw_only=True)
class TwinFile:
    name: Text
    source: Text
    experts_known: Flag
    n_experts: PositiveNumber
    top_k: PositiveNumber
    topic_tokens: Annotated[float, number(1, 1e6)]
    depth_ends: Annotated[tuple[int, ...], many(PositiveNumber.__metadata__[0])]
    layers: Annotated[tuple[LayerFile, ...], many(nested(LayerFile))]

    def __post_init__(self) -> None:
        if self.top_k > self.n_experts:
            raise UserError(f"top_k is {self.top_k}, of {self.n_experts} experts; give n_experts or less")
        ends = self.depth_ends
        if list(ends) != sorted(set(ends)) or ends[-1] != self.n_experts:
            raise UserError(f"depth_ends is {list(ends)}; it must rise and end with n_experts, {self.n_experts}")
        numbers = [one.layer for one in self.layers]
        if numbers != sorted(set(numbers)):
            raise UserError("the layers do not rise; give each model layer once, in order")
        columns = self.n_experts if self.experts_known else len(QUANTILES)
        for one in self.layers:
            self._check(one, columns)

    def _check(self, one: LayerFile, columns: int) -> None:
        pairs = len(self.layers[0].lift)
        for key, wanted in (
            ("popularity", columns), ("stickiness", len(self.depth_ends)), ("targets", pairs), ("partners", pairs), ("lift", pairs),
        ):  # fmt: skip
            if len(getattr(one, key)) != wanted:
                raise UserError(
                    f"layer {one.layer} has {len(getattr(one, key))} numbers of {key}; it must have {wanted}"
                )
        if max((*one.targets, *one.partners), default=0) >= self.n_experts or len(set(one.targets)) < pairs:
            raise UserError(
                f"layer {one.layer}: targets differ, and targets and partners are 0 to {self.n_experts - 1}"
            )


def load(path: Path) -> Twin:
    """The twin or class in a file. Raises UserError."""
    file = read(TwinFile, read_yaml(path), path.name)

    def of(key: str, kind: type) -> Any:
        return np.array([getattr(one, key) for one in file.layers], kind)

    return Twin(
        file.name, file.source, file.n_experts, file.top_k, of("layer", np.int64), of("popularity", np.float64),
        np.array(file.depth_ends, np.int64), of("stickiness", np.float64), file.topic_tokens, of("topic_spread", np.float64),
        of("targets", np.int64), of("partners", np.int64), of("lift", np.float64), file.experts_known,
    )  # fmt: skip


def save(twin: Twin, path: Path) -> None:
    layers = [
        {"layer": int(layer), "popularity": twin.popularity[i].tolist(), "stickiness": twin.stickiness[i].tolist(),
         "topic_spread": float(twin.topic_spread[i]), "targets": twin.targets[i].tolist(), "partners": twin.partners[i].tolist(),
         "lift": twin.lift[i].tolist()}
        for i, layer in enumerate(twin.layer_index)
    ]  # fmt: skip
    data = {
        "name": twin.name, "source": twin.source, "experts_known": twin.experts_known, "n_experts": twin.n_experts,
        "top_k": twin.top_k, "topic_tokens": twin.topic_tokens, "depth_ends": twin.ends.tolist(), "layers": layers,
    }  # fmt: skip
    text = yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    with atomic(path) as stream:
        stream.write(HEADER + text)


def class_names() -> Sequence[str]:
    """Names of the bundled classes, without `like:`."""
    return available(CLASSES, ".yaml")


def load_class(name: str) -> Twin:
    """The bundled class of that name. Raises UserError."""
    if name not in class_names():
        raise UserError(
            f"unknown class like:{name}; {among(name, class_names(), 'known:', 'docs/synthetic_routing.md')}"
        )
    return load(CLASSES / f"{name}.yaml")
