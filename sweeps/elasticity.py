"""What a run's elasticities are: of each figure and knob from both sides, and their sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simmoe.play.result import Run, versions
from simmoe.play.tabular import Record, Tabular
from simmoe.simulator.version import RESULT_SCHEMA
from simmoe.sweeps.upgrades import Upgraded

APART = 0.1  # left and right that differ by more than a tenth are shown both
LITTLE = 0.005  # an elasticity below it is called none
WITHIN = 0.01  # of 1, the law
UNITS = {1: "time", -1: "rate", 0: "other"}  # by the power of time


@dataclass(frozen=True)
class Elasticity:
    """d ln tok/s / d ln of a figure or a knob. None: the run with that step cannot be played, `why_not` says why."""

    path: str
    text: str
    kind: str
    source: str
    power: int  # of time in its unit: 1 a time, -1 a rate, 0 neither
    left: float | None  # from a step down
    right: float | None  # from a step up
    why_not: str = ""

    @property
    def mean(self) -> float:
        known = [side for side in (self.left, self.right) if side is not None]
        return sum(known) / len(known) if known else 0.0

    @property
    def differs(self) -> bool:
        """Whether left and right are told apart."""
        if self.left is None or self.right is None:
            return True
        most = max(abs(self.left), abs(self.right))
        return most >= LITTLE and abs(self.left - self.right) > APART * most

    def about(self) -> Record:
        return {"value": self.text, "source": self.kind, "unit": UNITS[self.power]}

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path, "value": self.text, "kind": self.kind, "source": self.source, "unit": UNITS[self.power], "left": self.left,
            "right": self.right, "mean": self.mean, "why_not": self.why_not,
        }  # fmt: skip


@dataclass(frozen=True, repr=False)
class Sensitivity(Tabular):
    """Elasticities of one run's tok/s, the largest first."""

    brief = ("figure", "value", "source", "elasticity", "down", "up")
    run: Run
    command: str
    figures: tuple[Elasticity, ...]
    knobs: tuple[Elasticity, ...]
    upgrades: tuple[Upgraded, ...] = ()  # that gives most for its price first

    def title(self) -> str:
        return f"{self.run.tok_s:.4g} tok/s; elasticities of all rates less those of all times: {self.rates - self.times:.3f}"

    def records(self) -> list[Record]:
        """Figures and knobs, the largest first."""
        each = sorted((*self.figures, *self.knobs), key=lambda one: -abs(one.mean))
        return [
            {"figure": one.path, "elasticity": one.mean, "down": one.left, "up": one.right, **one.about()}
            for one in each
        ]

    @property
    def rates(self) -> float:
        """Sum of the elasticities of all rates."""
        return sum(one.mean for one in self.figures if one.power < 0)

    @property
    def times(self) -> float:
        """Sum of the elasticities of all times."""
        return sum(one.mean for one in self.figures if one.power > 0)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": RESULT_SCHEMA, "kind": "simulated", "versions": versions(), "command": self.command,
            "scenario": self.run.scenario(), "digest": self.run.digest, "tok_s": self.run.tok_s,
            "figures": [one.to_json() for one in self.figures], "knobs": [one.to_json() for one in self.knobs],
            "upgrades": [one.to_json() for one in self.upgrades],
            "rates": self.rates, "times": self.times, "rates_less_times": self.rates - self.times,
        }  # fmt: skip
