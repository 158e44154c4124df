"""Token slots of the busiest of several devices over the mean of all, mean of the MoE layers."""

from __future__ import annotations

from simmoe.play.result import Run


def value(run: Run) -> float:
    return 1.0 if run.crossing is None else run.crossing.imbalance
