"""Policies side by side, for people."""

from __future__ import annotations

from collections.abc import Iterator

from simmoe.play.gaps import BELADY, BOUNDS, BYPASS, EVERYTHING
from simmoe.play.policy_table import PolicyRow, PolicyTable
from simmoe.show.grid import Column, Grid, only
from simmoe.show.legend import legend
from simmoe.show.screen import Screen
from simmoe.show.tables import inputs, nothing_decoded, number, of_runtime, played, small_model, trace_named
from simmoe.simulator.decide.decisions import BOUNDS as BOUNDED
from simmoe.simulator.units import nbytes

GAP = {BELADY: "to belady", BYPASS: "to bypass", EVERYTHING: "to all"}
RESIDENT = "resident"
COLUMNS = (
    Column("policy", text=True), Column("tok/s"), Column("range"), Column("hit rate"), Column("loaded/token"), Column("waste"),
    Column("quality"), Column(RESIDENT), *(Column(name) for name in GAP.values()),
)  # fmt: skip
LEGEND = {  # column -> what is said of it
    "hit rate": "hit rate: share of the requests for experts in decode that find the expert on the device",
    "range": "range: tok/s at the ends of the figures' ranges",
    "waste": "waste: share of the loaded bytes that no request used",
    "quality": "quality: how much larger the perplexity is; same where the output is the model's, – where it is another and was not "
    "measured",
    RESIDENT: f"{RESIDENT}: share of all expert bytes that the device may hold",
}
GAPS = (
    f"Gaps in ms a token, – where a bound does not hold for the row. {GAP[BELADY]}: Belady's choice of the same scope, loading on demand "
    "(below 0: a prefetcher is faster); "
    f"{GAP[BYPASS]}: what no policy and no prefetcher beats that loads what is missing; {GAP[EVERYTHING]}: all experts on the device"
)
MARK = "bound: "


def show_policies(table: PolicyTable, files: list[str], out: Screen) -> None:
    for line in dict.fromkeys(_said(table, files)):
        if line:
            out.print(line)
    grid = Grid(COLUMNS, tuple(_cells(row) for row in table.rows), stacked=True)
    same = len({row.resident for row in table.rows if row.run is not None and not row.bound}) == 1
    gone = {RESIDENT} if same else set[str]()
    said = [i for i, column in enumerate(COLUMNS) if column.name not in gone]
    columns = out.table(only(grid, [i for i in said if i < 2 or any(row[i] != "–" for row in grid.rows)]))
    for row in table.rows:
        if row.run is None:
            out.print(f"{row.label}: {row.why_not}")
    if not any(row.tok_s for row in table.rows):
        out.print(nothing_decoded(table.workload))
    out.print(legend(columns, LEGEND))
    out.print(f"{GAPS}.")


def _said(table: PolicyTable, files: list[str]) -> Iterator[str]:
    """What was played, and what to know of it."""
    runs, workload, plan = (
        [row.run for row in table.rows if row.run is not None and row.scenario],
        table.workload,
        table.plan,
    )
    yield f"Simulated (engine {', '.join(sorted({run.engine for run in runs}))}): {workload.hw.title}"
    yield from dict.fromkeys(of_runtime(run.workload) for run in runs)
    trace = f"{trace_named(workload)} {workload.facts()['trace']['digest'][:12]}"
    yield f"model {workload.memory.what}; {trace}, {played(workload)}; {workload.kv_for}"
    whole = workload.model.all_expert_bytes
    if len({run.plan.budget_bytes for run in runs if run.plan.eviction not in BOUNDED}) == 1:
        yield f"Memory for experts: {nbytes(plan.budget_bytes)}, {plan.budget_bytes / whole:.1%} of {nbytes(whole)}"
    yield inputs(files)
    yield small_model(workload)
    for run in runs:
        yield from run.notes


def _cells(row: PolicyRow) -> tuple[str, ...]:
    name = MARK * row.bound + row.label
    if row.run is None:
        return (f"{name} (does not run)", *["–"] * (len(COLUMNS) - 1))
    of, rate, waste = row.run.bytes_per_token, row.hit_rate, row.waste
    ends = "–" if row.band is None else "–".join(map(number, row.band.hardware))
    gaps = [row.gap_ms[bound] for bound in BOUNDS]
    return (
        name, number(row.tok_s), ends, "–" if rate is None else f"{rate:.2%}", "–" if of is None else nbytes(of),
        "–" if waste is None else f"{waste:.1%}", "–" if row.quality is None else row.quality.said, f"{row.resident:.1%}",
        *("–" if gap is None else f"{gap:.3g}" for gap in gaps),
    )  # fmt: skip
