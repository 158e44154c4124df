"""One row of a comparison: a machine, a trace and a policy, played."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from simmoe.play import advice
from simmoe.play.confidence import Band
from simmoe.play.money import Price, price_of
from simmoe.play.result import Run
from simmoe.play.workload import Workload


@dataclass(frozen=True)
class Row:
    """One machine, trace and policy. `run` is None where it cannot run; `why_not` then says why."""

    workload: Workload
    trace: str
    eviction: str
    run: Run | None
    why_not: str = ""
    band: Band | None = None
    own: str = ""  # options that are of this row alone, as the command line writes them; its machine left out
    command: str | None = None  # the `simmoe run` that gives the same; None where an input was no name

    @property
    def waiting(self) -> float | None:
        """Share of decode time in which the device waits."""
        return advice.waiting(self.run) if self.run else None

    @property
    def bound_by(self) -> str | None:
        return advice.bound_by(self.run) if self.run and self.run.tok_s else None

    @cached_property
    def price(self) -> Price | None:
        return price_of(self.workload.hw)
