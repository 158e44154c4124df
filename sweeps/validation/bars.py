"""What a case must reach. Fitted rows and rows in doubt are never judged; a ratio or an order needs a predicted row in it.

worst, mean, median: of |error| · of_mean: |error| of the mean over rows · exact: every row, up to its own `within` ·
rising: [[id, ...], ...] predictions rise along each chain · ratios: {within: x, pairs: [[a, b], ...]} of a to b.
Of studies: beaten: {by: 2, models: [name, ...]} mean |error| of each model whose errors the rows hold, against ours · clear_pairs:
{gap: 0.05, share: 0.85} of the pairs whose predictions from shared constants differ by more than gap, those in the right order.
measured_pairs: the same of pairs that were measured more than gap apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean, median
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.sweeps.validation.case import Row


@dataclass(frozen=True)
class Line:
    """One row, what the case says of it, and whether the constants were fitted on it."""

    row: Row
    predicted: float
    fitted: bool
    beside: float | None = None

    @property
    def error(self) -> float:
        return self.predicted / self.row.measured - 1

    @property
    def judged(self) -> bool:
        return not self.fitted and not self.row.doubt


@dataclass(frozen=True)
class Verdict:
    """One bar: what it asks, what came out."""

    bar: str
    result: str
    reached: bool


def judge(name: str, bar: Mapping[str, Any], lines: Sequence[Line]) -> list[Verdict]:
    """Verdicts in the order of the case file."""
    for key in bar:
        if key not in BARS:
            raise UserError(f"case {name}: unknown bar {key!r}; known: {', '.join(BARS)}")
    return [verdict for key, value in bar.items() for verdict in BARS[key](name, value, lines)]


def errors(lines: Sequence[Line]) -> list[float]:
    """|error| of every row that is judged."""
    return [abs(line.error) for line in lines if line.judged]


def _statistic(what: str, of: Callable[[list[float]], float]) -> Callable[[str, Any, Sequence[Line]], list[Verdict]]:
    def bar(name: str, most: Any, lines: Sequence[Line]) -> list[Verdict]:
        value = of(errors(lines))
        return [Verdict(f"{what} |error| ≤ {float(most):.0%}", f"{value:.1%}", value <= most)]

    return bar


def _of_mean(name: str, most: Any, lines: Sequence[Line]) -> list[Verdict]:
    judged = [line for line in lines if line.judged]
    error = fmean(line.predicted for line in judged) / fmean(line.row.measured for line in judged) - 1
    return [Verdict(f"mean over rows within {float(most):.0%}", f"{error:+.1%}", abs(error) <= most)]


def _exact(name: str, wanted: Any, lines: Sequence[Line]) -> list[Verdict]:
    judged = [line for line in lines if line.judged]
    off = [line for line in judged if abs(line.error) > float(line.row.facts.get("within", 1e-12))]
    return [Verdict("every row exact, or within what it states", f"{len(judged) - len(off)} of {len(judged)}", not off)]


def _rising(name: str, chains: Any, lines: Sequence[Line]) -> list[Verdict]:
    broken, steps = [], 0
    for low, high in (pair for chain in chains for pair in pairwise(chain)):
        a, b = _pair(name, (low, high), lines)
        steps += 1
        if a.predicted >= b.predicted:
            broken.append(f"{low} < {high}")
    result = f"{steps - len(broken)} of {steps} pairs" + (f"; not {', '.join(broken)}" if broken else "")
    return [Verdict("order", result, not broken)]


def _ratios(name: str, wanted: Any, lines: Sequence[Line]) -> list[Verdict]:
    most, parts, off = float(wanted["within"]), [], False
    for pair in wanted["pairs"]:
        a, b = _pair(name, pair, lines)
        measured, predicted = a.row.measured / b.row.measured, a.predicted / b.predicted
        error = predicted / measured - 1
        off |= abs(error) > most
        parts.append(f"{pair[0]} / {pair[1]}: {predicted:.3g}, measured {measured:.3g} ({error:+.0%})")
    return [Verdict(f"ratios within {most:.0%}", "; ".join(parts), not off)]


def _beaten(name: str, wanted: Any, lines: Sequence[Line]) -> list[Verdict]:
    mine, factor, parts, reached = fmean(errors(lines)), float(wanted["by"]), [], True
    for model in wanted["models"]:
        theirs = fmean(abs(float(line.row.facts["errors"][model])) for line in lines if line.judged)
        parts.append(f"{model.replace('_', ' ')} {theirs:.1%}")
        reached &= theirs >= factor * mine
    return [Verdict(f"simpler models at least {factor:g} times as wrong", ", ".join(parts), reached)]


def _clear_pairs(name: str, wanted: Any, lines: Sequence[Line]) -> list[Verdict]:
    rows = [(float(line.row.facts["pooled_s"]), line.row.measured) for line in lines if line.judged]
    return _in_order("clear pairs", wanted, rows)


def _measured_pairs(name: str, wanted: Any, lines: Sequence[Line]) -> list[Verdict]:
    rows = [(line.row.measured, line.predicted) for line in lines if line.judged]
    return _in_order(f"pairs measured {float(wanted['gap']):.0%} apart", wanted, rows)


def _in_order(what: str, wanted: Any, rows: Sequence[tuple[float, float]]) -> list[Verdict]:
    """Pairs whose first numbers differ by more than the gap: how many of them the second numbers put in the same order."""
    clear = [(a, b) for a, b in combinations(rows, 2) if abs(a[0] - b[0]) > float(wanted["gap"]) * min(a[0], b[0])]
    right = sum((a[0] < b[0]) == (a[1] < b[1]) for a, b in clear)
    least = float(wanted["share"])
    return [Verdict(f"{least:.0%} of {what} in order", f"{right} of {len(clear)}", right >= least * len(clear))]


def _pair(name: str, ids: Sequence[str], lines: Sequence[Line]) -> tuple[Line, Line]:
    by_id = {line.row.id: line for line in lines}
    for one in ids:
        if one not in by_id:
            raise UserError(f"case {name}: the bar names row {one!r}, which does not exist; rows: {', '.join(by_id)}")
    a, b = by_id[ids[0]], by_id[ids[1]]
    if a.fitted and b.fitted:
        raise UserError(f"case {name}: the bar compares {ids[0]!r} with {ids[1]!r}, both fitted; that predicts nothing")
    return a, b


BARS: dict[str, Callable[[str, Any, Sequence[Line]], list[Verdict]]] = {
    "worst": _statistic("worst", max), "mean": _statistic("mean", fmean), "median": _statistic("median", median),
    "of_mean": _of_mean, "exact": _exact, "rising": _rising, "ratios": _ratios,
    "beaten": _beaten, "clear_pairs": _clear_pairs, "measured_pairs": _measured_pairs,
}  # fmt: skip
