"""The model and the trace of a workload, opened from what names them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from simmoe.play.traced import traced
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads import models


class Opened(NamedTuple):
    model: ModelShape
    trace: Trace | None
    model_name: str | Path | None  # None of a loaded model


def opened(
    trace: str | Path | Trace | None,
    model: str | Path | ModelShape | None,
    format: str | None,
    kv_format: str | None,
    routing: str | None,
) -> Opened:
    """Raises UserError where a trace names no model, or routing is asked for beside one."""
    if trace is None and model is None:
        raise TypeError("a workload needs a trace or a model")
    if trace is not None and routing is not None:
        raise UserError(f"--routing {routing} is drawn where there is no trace: leave --routing or --trace out")
    held = None if trace is None else traced(trace, model)
    if isinstance(model, ModelShape):
        return Opened(model, held, None)
    name = model or (held.meta.get("model") if held else None)
    if not name:
        raise UserError(
            f"the trace does not say its model; name a shape with --model, a file or one of the {len(models.available())} that "
            "`simmoe model list` lists"
        )
    return Opened(models.load(name, format, kv_format), held, name)


def opened_draft(model: str | Path | ModelShape | None, format: str | None) -> ModelShape | None:
    """The draft, where it is a model. Raises UserError."""
    if model is None or isinstance(model, ModelShape):
        if format is not None:
            raise UserError(f"--draft-format {format} is for a draft by name or file: name it with --draft-model")
        return model
    return models.load(model, format)
