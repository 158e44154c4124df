"""The trace of a scenario, opened; where it is the file of another program, its model says what that file leaves open."""

from __future__ import annotations

from pathlib import Path

from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads import models
from simmoe.workloads.foreign.building import told_by
from simmoe.workloads.format import trace as traces


def traced(trace: str | Path | Trace, model: str | Path | ModelShape | None) -> Trace:
    """The checked trace. model: tells experts, top-k and layers of a file of another program. Raises UserError."""
    if isinstance(trace, Trace) or model is None or traces.foreign(traces.find(trace)) is None:
        return traces.given(trace)
    return traces.load(trace, told_by(model if isinstance(model, ModelShape) else models.load(model)))
