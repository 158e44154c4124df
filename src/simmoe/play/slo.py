"""Goodput: how many requests are served as quickly as was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simmoe.play.kinds import ps_of
from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.errors import UserError

if TYPE_CHECKING:
    from simmoe.play.plan import Plan


class Slo(NamedTuple):
    """The most that a request may take, as its user sees it (a service level objective); None = any time."""

    ttft_ps: int | None
    tpot_ps: int | None

    def late(self, arrival_ps: Ints, first_ps: Ints, finish_ps: Ints, tokens: Ints) -> tuple[Flags, Flags]:
        """[requests] whose first token came too late (-1: never), and whose other tokens did. A request of one token has no other."""
        none = np.zeros(len(arrival_ps), bool)
        first = none if self.ttft_ps is None else (first_ps < 0) | (first_ps - arrival_ps > self.ttft_ps)
        others = none
        if self.tpot_ps is not None:
            others = (tokens > 1) & (finish_ps - first_ps > self.tpot_ps * (tokens - 1))
        return first, others


class Goodput(NamedTuple):
    """Of a run. What was refused is missed."""

    slo: Slo
    met: int
    of: int
    late_first: int
    late_others: int
    per_s: float

    @property
    def share(self) -> float:
        return self.met / self.of

    def to_json(self) -> dict[str, Any]:
        asked = {"ttft_ms": self.slo.ttft_ps, "tpot_ms": self.slo.tpot_ps}
        return {
            **{name: None if ps is None else ps / 1e9 for name, ps in asked.items()},
            "met": self.met, "share": self.share, "late_ttft": self.late_first, "late_tpot": self.late_others,
            "requests_per_s": self.per_s,
        }  # fmt: skip


def slo_of(plan: Plan) -> Slo | None:
    """What the plan asks for; None of nothing."""
    if plan.ttft is None and plan.tpot is None:
        return None
    return Slo(*(None if said is None else ps_of(said, "") for said in (plan.ttft, plan.tpot)))


def refuse(plan: Plan, schedule: str) -> None:
    """Raises UserError for a wish about requests where none arrive."""
    for name in ("arrivals", "rate", "ttft", "tpot"):
        if (value := getattr(plan, name)) is not None:
            raise UserError(
                f"--{name} {value} is for a clock-driven schedule, and the passes of --schedule {schedule} are known "
                "beforehand: name one, such as --schedule continuous, or leave it out"
            )
