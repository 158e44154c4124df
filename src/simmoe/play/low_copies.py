"""Low copies of a model's experts, which a miss rule may serve in place of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import ModelShape
from simmoe.workloads import models
from simmoe.workloads.models.formats import FORMATS

SMALL = ("Q2_K", "IQ2_XXS")  # the usual first


def in_two_formats(model: ModelShape, name: str | Path | None, low_format: str) -> ModelShape:
    """The model with a low copy of one expert of each MoE layer. name: of the model, None of a loaded one. Raises UserError where there
    are none that are smaller."""
    if name is None:
        raise UserError(
            f"--low-format {low_format}: a loaded model has its own formats; name the model or its file, or give it `low`"
        )
    other = models.load(name, low_format)
    if not _smaller(other, model):
        raise UserError(
            f"--low-format {low_format}: a copy of an expert is as large as the expert, {model.name} at {model.format}; "
            f"{_smaller_format(model, name)}"
        )
    return replace(model, low=tuple(other.layers[i].expert for i in other.moe_layers), low_format=other.format)


def _smaller(other: ModelShape, model: ModelShape) -> bool:
    """Whether each of its experts has fewer bytes."""
    low, full = ([one.layers[i].expert.bytes for i in one.moe_layers] for one in (other, model))
    return all(less < more for less, more in zip(low, full))


def _smaller_format(model: ModelShape, name: str | Path) -> str:
    """A format to name, if there is one. Where a row holds no whole blocks of a format, a file keeps it in a larger one."""
    for one in (*SMALL, *FORMATS):
        with suppress(UserError):
            if _smaller(models.load(name, one), model):
                return f"name a smaller format, such as {one}"
    return "no format that is known makes one smaller"
