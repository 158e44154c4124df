"""The passes of the trace, as they were recorded."""

from __future__ import annotations

from simmoe.simulator.nouns.trace import Trace


def regrouped(trace: Trace, sequences: int | None = None) -> Trace:
    """The trace itself."""
    return trace
