"""The rate that a box holds, for people: a table of budgets, and the rates of a single one."""

from __future__ import annotations

from simmoe.show import tables as show
from simmoe.show.grid import Column, Grid
from simmoe.show.screen import Screen
from simmoe.simulator.units import nbytes
from simmoe.sweeps.serve_curve_result import Curve, Point, ServeCurve

TIMES = ("request_ttft_p50_ms", "request_ttft_p99_ms", "request_tpot_p50_ms", "request_tpot_p99_ms")
HEADS = ("TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99")
LEGEND = (
    "holds: the highest rate of arrivals up to which so many requests meet the targets, and with every figure of machine and engine at its "
    "slow and at its fast end (to 5 %; what an engine's laws leave is not in it); goodput: requests a second that do; bound: what the "
    "busiest resource would serve at this rate if it never waited; batch: sequences of a pass that decodes."
)


def show_serve_curve(found: ServeCurve, files: list[str], out: Screen) -> None:
    workload = found.workload
    out.print(f": {workload.hw.title}", lead="Simulated")
    out.print(show.of_runtime(workload))
    out.print(
        f"model {workload.memory.what}, {show.played(workload)}, {workload.kv_for}, {found.requests:,} requests, arrivals {found.process}"
    )
    out.print(show.inputs(files))
    for note in found.cautions:
        out.print(note)
    out.print(_targets(found))
    played = [curve for curve in found.curves if not curve.why_not]
    columns = (
        Column("experts resident", text=True),
        *map(Column, ("holds", "goodput", *HEADS[1::2], "batch", "bound")),
    )
    out.table(Grid(columns, tuple(_of_budget(curve) for curve in played)))
    for curve in found.curves:
        if curve.why_not:
            out.print(f"{curve.label}: {curve.why_not}")
        elif curve.held is None:
            out.print(f"{curve.label}: {_none(curve)}")
    if len(played) == 1:
        rates = (Column("arrivals"), *map(Column, ("meet it", "goodput", "requests/s", *HEADS, "batch")))
        out.table(Grid(rates, tuple(map(_of_rate, played[0].points)), stacked=True))
    for line in (*found.of_rates, LEGEND):
        out.print(line)


def _targets(found: ServeCurve) -> str:
    asked = [f"{name} {show.seconds(ps / 1e12)}" for name, ps in zip(("TTFT", "TPOT"), found.slo) if ps is not None]
    return f"Targets: {' and '.join(asked)} or less, for {float(100 * found.share):g} % of the requests."


def _of_budget(curve: Curve) -> tuple[str, ...]:
    label, held = f"{curve.label} ({nbytes(curve.budget_bytes)})", curve.held
    if held is None or curve.last is None:
        return (label, "none" + _between(curve), *["–"] * 5)
    rate = (held.word if held == curve.last else f"{held.word} … {curve.last.word}") + _between(curve)
    bound = f"{show.number(held.busiest.requests_per_s)}/s ({held.busiest.name})"
    return (label, rate, _per_s(held, "goodput_per_s"), *_times(held, TIMES[1::2]), _batch(held), bound)


def _between(curve: Curve) -> str:
    low, high = curve.held_between_per_s
    return f" ({show.number(low)}–{show.number(high)})" if low < high else ""


def _of_rate(one: Point) -> tuple[str, ...]:
    rates = (_per_s(one, "goodput_per_s"), _per_s(one, "requests_per_s"))
    return (one.word, f"{one.share:.1%}", *rates, *_times(one, TIMES), _batch(one))


def _per_s(one: Point, name: str) -> str:
    return f"{show.number(one.numbers[name])}/s"


def _times(one: Point, names: tuple[str, ...]) -> list[str]:
    return [show.seconds(None if (ms := one.numbers[name]) is None else ms / 1e3) for name in names]


def _batch(one: Point) -> str:
    return show.number(one.numbers["mean_batch"])


def _none(curve: Curve) -> str:
    """Why no rate is held, and what half of the requests get at the slowest."""
    slowest = curve.points[0]
    times = [f"{name} {time}" for name, time in zip(("TTFT", "TPOT"), _times(slowest, TIMES[::2])) if time != "–"]
    waits = f"; there {' and '.join(times)} are the medians" + ", of requests that are alone" * slowest.alone
    return f"no rate is held: even at {slowest.word} only {slowest.share:.1%} of the requests meet the targets{waits}"
