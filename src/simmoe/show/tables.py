"""Tables for people, with what made them printed above."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from simmoe.play import advice
from simmoe.play.confidence import Band
from simmoe.play.ladder import Ladder
from simmoe.play.plan import Plan
from simmoe.play.requests import Served
from simmoe.play.result import Run
from simmoe.play.workload import Workload
from simmoe.simulator.link_time import about_links
from simmoe.simulator.units import nbytes

COLUMNS = (
    "experts resident",
    "memory",
    "tok/s",
    "TTFT cold",
    "TTFT warm",
    "TPOT p50",
    "p95",
    "p99",
    "hit rate",
    "loaded/token",
    "waiting",
)


class _Output(Console):
    def on_broken_pipe(self) -> None:
        """The reader of the output has gone: the command ends as usual, where rich would end it with status 1."""
        raise BrokenPipeError


def console() -> Console:
    """Wide enough for the table when the output is not a terminal."""
    plain = _Output()
    return plain if plain.is_terminal else _Output(width=150)


def show_ladder(ladder: Ladder, plan: Plan, files: list[str], out: Console) -> None:
    heading(ladder.workload, plan, ladder.nothing.engine, files, out)
    table = _table()
    every = ladder.workload.model.all_expert_bytes
    table.add_row("[dim]bound: nothing[/]", *_cells(ladder.nothing))
    for rung in ladder.rungs:
        name = f"{rung.label} ({nbytes(rung.budget_bytes)})"
        table.add_row(name, *(_cells(rung.run) if rung.run else (rung.why_not, *[""] * (len(COLUMNS) - 2))))
    table.add_row("[dim]bound: everything[/]", *_cells(ladder.everything))
    print_whole(table, out)
    out.print(
        f"100 % = {nbytes(every)} of routed experts. A rung starts empty, so 100 % still pays each first load; the bound starts full."
    )
    for line in advice.ladder_lines(ladder):
        out.print(line)


def show_run(run: Run, changes: list[tuple[str, float]], files: list[str], out: Console) -> None:
    heading(run.workload, run.plan, run.engine, files, out)
    table = _table()
    share = run.plan.budget_bytes / run.workload.model.all_expert_bytes
    table.add_row(f"{share:.1%} ({nbytes(run.plan.budget_bytes)})", *_cells(run))
    print_whole(table, out)
    split = run.memory_bytes
    out.print(
        "Memory: "
        + " + ".join(f"{name} {nbytes(n)}" for name, n in split.items() if name != "total")
        + f" = {nbytes(split['total'])}"
        + (
            f"; {nbytes(run.decisions.unused_bytes)} of the budget fill no whole slot"
            if run.decisions.unused_bytes
            else ""
        )
    )
    for one in run.devices() if run.plan.device_budgets else ():
        parts = ", ".join(f"{name} {nbytes(n)}" for name, n in one["memory_bytes"].items())
        out.print(f"  {one['name']}: {parts}", highlight=False)
    if run.requests is not None:
        show_requests(run, run.requests, out)
    if run.tok_s:
        out.print(
            "A token's time: "
            + ", ".join(f"{share:.1%} {name}" for name, share in advice.shares(run) if share >= 0.001)
        )
        out.print(advice.sentence(run, changes)[:1].upper() + advice.sentence(run, changes)[1:] + ".")
        if line := energy_line(run):
            out.print(line)


def show_requests(run: Run, found: Served, out: Console) -> None:
    """What the requests of a clock-driven run waited for."""
    block = found.to_json()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{block['n']} requests, waits included", no_wrap=True)
    for name in ("p50", "p95", "p99", "mean"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, key in (("TTFT", "ttft_ms"), ("TPOT", "tpot_ms"), ("in all", "e2e_ms"), ("in the queue", "queue_ms")):
        if block[key] is not None:
            table.add_row(name, *(seconds(ms / 1e3) for ms in block[key].values()))
    print_whole(table, out)
    batch = "" if found.mean_batch is None else f"{number(found.mean_batch)} sequences in a decode pass, "
    out.print(
        f"{number(block['tokens_per_s'])} tokens/s and {number(block['requests_per_s'])} requests/s over "
        f"{seconds(found.makespan_ps / 1e12)}, {seconds(found.idle_ps / 1e12)} of it idle; {batch}"
        f"{number(found.mean_in_system)} requests there on average."
    )


def print_whole(table: Table, out: Console) -> None:
    """A wide table on a narrow console: let lines run over rather than cut its numbers."""
    out.width = max(out.width, out.measure(table, options=out.options.update(max_width=10_000)).maximum)
    out.print(table)


def heading(workload: Workload, plan: Plan, engine: str, files: list[str], out: Console) -> None:
    facts, meta = workload.facts(), workload.trace.meta
    out.print(f"[bold]Simulated[/] (engine {engine}): {workload.hw.title}", highlight=False)
    out.print(
        f"model {workload.memory.what}; trace of router {meta.get('router', '?')} {facts['trace']['digest'][:12]}, {played(workload)}; "
        f"eviction {plan.eviction}, scope {plan.scope}, timeline {plan.timeline}{extras(workload, plan)}, "
        f"KV for {workload.context:,} positions",
        highlight=False,
    )
    out.print(inputs(files), highlight=False)
    for note in (small_model(workload), *about_links(workload.hw)):
        if note:
            out.print(note, highlight=False)


def extras(workload: Workload, plan: Plan) -> str:
    """What the plan says beyond a plain cache."""
    into = " into buffers" * (plan.prefetch_into == "buffers")
    said = {
        "prefetch": plan.prefetch and plan.prefetch + into,
        "miss": plan.miss if plan.miss != "fetch" else None,
        "placement": plan.placement,
        "arrivals": plan.arrivals,
    }
    words = [f"{name} {value}" for name, value in said.items() if value]
    words += ["CUDA graphs"] * workload.graphs + ["write-back"] * plan.write_back
    words += [f"page cache {nbytes(plan.page_cache_bytes)}"] * (plan.page_cache_bytes > 0)
    return "".join(f", {word}" for word in words)


def show_band(run: Run, found: Band, out: Console) -> None:
    """The ranges around tok/s."""
    (slow, fast), (low, high) = found.hardware, found.text
    out.print(
        f"Simulated {number(run.tok_s)} tok/s: {number(slow)} to {number(fast)} at the ends of the profile's ranges, "
        f"{number(low)} to {number(high)} over texts like this one (90 %, block bootstrap of the decode passes)."
    )


def energy_line(run: Run) -> str:
    """Energy and heat in decode; empty where the profile has no figures."""
    found = run.energy
    if found is None:
        return ""
    line = f"Estimated energy in decode: {found['joules_per_token']:.3g} J per token at {found['decode_watts']:.3g} W"
    if found.get("sustained_clock_share", 1.0) < 1:
        line += f"; it can hold {found['sustained_watts']:.3g} W: expect {found['sustained_clock_share']:.0%} of the clock in the long run"
    return line + "."


def inputs(files: list[str]) -> str:
    """Which inputs were the user's own."""
    return f"inputs: {'bundled' if not files else 'from ' + ', '.join(files) + '; the others bundled'}"


def how_much(workload: Workload) -> str:
    """How much of the trace is played."""
    if workload.trace.n_tokens < workload.all_tokens:
        return f"first {workload.trace.n_tokens:,} of {workload.all_tokens:,} tokens"
    return f"all {workload.all_tokens:,} tokens"


def played(workload: Workload) -> str:
    """How much of the trace, in which passes."""
    passes = {"prompts in chunks of": workload.prefill_chunk, "batches of": workload.batch}
    chosen = "" if workload.schedule == "recorded" else f", schedule {workload.schedule}"
    chosen += "" if workload.max_batch is None else f" of at most {workload.max_batch} sequences"
    return how_much(workload) + "".join(f", {what} {n}" for what, n in passes.items() if n) + chosen


def small_model(workload: Workload) -> str:
    """What to know about a trace that was recorded from a model trained here; empty for others."""
    if "proxy_ppl" not in (workload.trace.meta.get("quality") or {}):
        return ""
    return "The trace was recorded from a small trained model of this geometry; bytes and times are those of the full shape."


def _table() -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def _cells(run: Run) -> tuple[str, ...]:
    split, ttft = run.memory_bytes, run.ttft_s
    waiting = run.where_ps()["waiting for experts"] / max(int(run.pass_ps[run.decode_passes].sum()), 1)
    rate = run.decode.hit_rate
    return (
        nbytes(split["total"]), number(run.tok_s), seconds(ttft["cold"]), seconds(ttft["warm"]),
        *(seconds(None if (ms := run.tpot_ms(p)) is None else ms / 1e3) for p in (50, 95, 99)),
        "–" if rate is None else f"{rate:.2%}", "–" if run.bytes_per_token is None else nbytes(run.bytes_per_token), f"{waiting:.1%}",
    )  # fmt: skip


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value == 0:
        return "0 s"
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e-6:.3g} us"
