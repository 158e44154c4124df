"""What `simmoe.serve_curve` gives: goodput at each rate that was played, and the rate that a box holds, for each budget."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from simmoe.play import arrival_file
from simmoe.play.busy import Busiest, busiest
from simmoe.play.load_words import WHOLE, rate_word
from simmoe.play.requests import columns
from simmoe.play.result import Run, versions
from simmoe.play.slo import Slo
from simmoe.play.tabular import Record, Tabular
from simmoe.play.workload import Workload
from simmoe.show.tables import seconds
from simmoe.simulator.version import RESULT_SCHEMA

FEW = 10  # times as long as a request stays: so long arrivals should last at least, that the first and the last tell little
SHOWN = ("requests_per_s", "goodput_per_s", "request_ttft_p50_ms", "request_ttft_p99_ms", "request_tpot_p50_ms", "request_tpot_p99_ms",
         "request_e2e_p50_ms", "request_e2e_p99_ms", "request_queue_p99_ms", "mean_batch", "experts_per_pass")  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A rate that was played. rate: whole, in 1 / WHOLE a second; 0 = all requests arrive at once."""

    rate: int
    share: float  # of the requests that meet the targets
    met: bool  # as many as are wanted, and they come no faster than the busiest resource has time for
    numbers: dict[str, float | None]
    busiest: Busiest
    lasts_s: float  # from the first arrival to the last
    alone: bool  # each request has ended before the next arrives: a lower rate changes nothing

    @property
    def per_s(self) -> float:
        return self.rate / WHOLE

    @property
    def word(self) -> str:
        """As --rate takes it."""
        return rate_word(Fraction(self.rate, WHOLE))

    def to_json(self) -> dict[str, Any]:
        return {
            "rate_per_s": self.per_s if self.rate else None, "share": self.share, "met": self.met, **self.numbers,
            "busiest": self.busiest.name, "bound_per_s": self.busiest.requests_per_s,
        }  # fmt: skip


def point(rate: int, run: Run, share: Fraction, at_once_per_s: float = 0.0) -> Point:
    """at_once_per_s: what the busiest resource has time for where all come at once, whose batches are larger; or the cache overrun."""
    found = run.requests
    assert found is not None and found.goodput is not None
    good, record = found.goodput, columns(found)
    lasts = int(found.arrival_ps.max() - found.arrival_ps.min()) / 1e12
    at_most = busiest(run)
    met = Fraction(good.met, good.of) >= share and Fraction(rate, WHOLE) <= max(at_most.requests_per_s, at_once_per_s)
    alone = bool((found.finish_ps[:-1] <= found.arrival_ps[1:]).all())
    return Point(rate, good.share, met, {name: record[name] for name in SHOWN}, at_most, lasts, alone)


@dataclass(frozen=True)
class Curve:
    """One budget. points: rising in rate; at_once: all requests at 0. ranges: lowest and highest rate of each stretch that meets the
    targets. held_between_per_s: what is held with every figure of the machine and of the engine at its slow and at its fast end. Of a
    budget that cannot be played, why."""

    label: str
    budget_bytes: int
    at_once: Point | None = None
    points: tuple[Point, ...] = ()
    ranges: tuple[tuple[Point, Point], ...] = ()
    held_between_per_s: tuple[float, float] = (0.0, 0.0)
    why_not: str = ""
    cautions: tuple[str, ...] = ()  # what to know of its runs, whatever the rate
    command: str | None = None  # `simmoe run` at the rate that is held

    @property
    def held(self) -> Point | None:
        """The highest rate up to which every rate meets the targets, as far as was played."""
        return self.ranges[0][1] if self.ranges else None

    @property
    def last(self) -> Point | None:
        """The highest rate that meets them at all; another than `held` where the curve is not monotone."""
        return self.ranges[-1][1] if self.ranges else None

    def notes(self, asked: ServeCurve) -> list[str]:
        """What to know beside the rate."""
        held, last, said = self.held, self.last, list[str]()
        if held is None or last is None or self.at_once is None:
            return said
        if last.rate != held.rate:
            parts = ", ".join(f"{low.word} to {high.word}" for low, high in self.ranges[1:])
            said.append(f"{self.label}: not monotone: some rates above {held.word} meet the targets too ({parts})")
        stays_s = (held.numbers["request_e2e_p50_ms"] or 0) / 1e3
        more = asked.more(held.per_s * FEW * stays_s)
        above = next((one for one in self.points if one.rate > last.rate), None)
        if above is not None and above.share >= asked.share:
            said.append(
                f"{self.label}: the targets bound nothing here: at more than {last.word} requests come faster than the "
                f"{above.busiest.name} works, and of {asked.requests:,} enough still meet them, before the queue is long; {more} "
                "would tell more"
            )
        elif held.lasts_s < FEW * stays_s:
            said.append(
                f"{self.label}: {asked.requests:,} requests arrive within {seconds(held.lasts_s)}, and half of them stay "
                f"{seconds(stays_s)} or longer: with {more} it may hold less"
            )
        return said

    def to_json(self) -> dict[str, Any]:
        bound = self.held and self.held.busiest
        return {
            "label": self.label, "budget_bytes": self.budget_bytes, "why_not": self.why_not or None, "command": self.command,
            "holds_per_s": self.held and self.held.per_s, "up_to_per_s": self.last and self.last.per_s,
            "holds_between_per_s": None if self.why_not else list(self.held_between_per_s),
            "ranges_per_s": [[low.per_s, high.per_s] for low, high in self.ranges],
            "at_once": self.at_once and self.at_once.to_json(), "bound_per_s": bound and bound.requests_per_s,
            "busiest": bound and bound.name, "points": [one.to_json() for one in self.points],
        }  # fmt: skip


@dataclass(frozen=True, repr=False)
class ServeCurve(Tabular):
    """The curve of each budget."""

    brief = (
        "budget",
        "rate_per_s",
        "share",
        "goodput_per_s",
        "request_ttft_p99_ms",
        "request_tpot_p99_ms",
        "mean_batch",
        "held",
    )

    workload: Workload
    slo: Slo
    share: Fraction
    requests: int
    process: str
    curves: tuple[Curve, ...]

    def title(self) -> str:
        return f"Simulated: {self.workload.named}, {len(self.curves)} budgets, {self.requests:,} requests"

    def records(self) -> list[Record]:
        """A row for each rate that was played. held: it is the highest up to which every rate meets the targets."""
        return [
            {"kind": "simulated", "budget": curve.label, "budget_bytes": curve.budget_bytes, "rate_per_s": one.per_s, "share": one.share,
             "met": one.met, **one.numbers, "held": one == curve.held}
            for curve in self.curves
            for one in curve.points
        ]  # fmt: skip

    @cached_property
    def cautions(self) -> list[str]:
        """What to know of all runs beside their numbers, as `simmoe run` says it."""
        return list(dict.fromkeys(note for curve in self.curves for note in curve.cautions))

    @cached_property
    def of_rates(self) -> list[str]:
        """What to know beside the rates that are held."""
        return [note for curve in self.curves for note in curve.notes(self)]

    def more(self, wanted: float) -> str:
        """How to ask for so many requests, to two digits, and at least twice as many as there were; of files for what they have."""
        number = max(wanted, 2 * self.requests)
        digit = 10 ** max(len(str(int(number))) - 2, 0)
        number = -int(-number // digit) * digit
        files = [one for one in (self.process, *self.workload.lengths.spread.values()) if arrival_file.is_file(one)]
        if files and (there := min(arrival_file.count(one, one) for one in files)) < number:
            return f"--requests {there}" if there > self.requests else "a file of more requests"
        recorded = self.workload.text.routing is None and not self.workload.lengths.asked
        return f"--requests {number}" + " of --prompt and --generate" * recorded

    @property
    def notes(self) -> list[str]:
        return [*self.cautions, *self.of_rates]

    def to_json(self) -> dict[str, Any]:
        asked = {"ttft_ms": self.slo.ttft_ps, "tpot_ms": self.slo.tpot_ps}
        return {
            "schema": RESULT_SCHEMA, "kind": "simulated", "versions": versions(), **self.workload.facts(),
            "targets": {name: None if ps is None else ps / 1e9 for name, ps in asked.items()}, "share": float(self.share),
            "requests": self.requests, "arrivals": self.process, "notes": self.notes,
            "curves": [curve.to_json() for curve in self.curves],
        }  # fmt: skip
