"""Tables for people, with what made them printed above."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from simmoe.play import advice
from simmoe.play.cautions import cautions
from simmoe.play.confidence import Band
from simmoe.play.guess import Guess
from simmoe.play.ladder import Ladder
from simmoe.play.plan import Plan, memory_of
from simmoe.play.requests import Served, columns
from simmoe.play.result import Run
from simmoe.play.room import cuts
from simmoe.play.what_if import Tried
from simmoe.play.workload import Workload
from simmoe.policies import runtime as runtimes
from simmoe.show.grid import Column, Grid, with_values
from simmoe.show.legend import MEANS, OF_PASSES, legend
from simmoe.show.screen import Screen
from simmoe.simulator.decide.start import COLD
from simmoe.simulator.units import nbytes

ENERGY = "J/token"
COLUMNS = (
    Column("experts resident", text=True),
    Column("memory", 2),
    Column("tok/s"),
    Column("TTFT first", 3),
    Column("TTFT later", 7),
    Column("TPOT p50", 4),
    Column("p95", 8),
    Column("p99", 9),
    Column("hit rate", 1),
    Column("loaded/token", 6),
    Column("waiting", 5),
    Column(ENERGY, 10),
)
OF_REQUESTS = (
    Column("requests/s", 1),
    Column("request TTFT p95", 1),
    Column("request TPOT p95", 1),
    Column("goodput"),
    Column("meet it", 1),
)
NOT_ALWAYS = {ENERGY, *(column.name for column in OF_REQUESTS)}  # columns of what not every run has
OF_SEQUENCES = {"TTFT first", "TTFT later"}  # where no requests arrive


def show_ladder(ladder: Ladder, plan: Plan, on_cpu: list[Tried], as_played: str, files: list[str], out: Screen) -> None:
    heading(ladder.workload, replace(plan, start=COLD), ladder.nothing.engine, files, out)
    memory = memory_of(ladder.workload, plan)
    serving = ladder.nothing.requests is not None
    grid = with_values(Grid((*COLUMNS, *OF_REQUESTS), tuple(_ladder_rows(ladder))), NOT_ALWAYS | OF_SEQUENCES)
    out.print(legend(out.table(grid), MEANS | OF_PASSES if serving else MEANS))
    whose = " left to the device" * bool(plan.placement)
    out.print(
        f"100 % = {nbytes(memory.left_bytes)} of routed experts{whose}. Every rung starts {started(ladder.start)}; the bound everything "
        f"starts full. {empty_slots(ladder.runs)}"
    )
    for line in advice.ladder_lines(ladder, on_cpu, as_played) or [nothing_decoded(ladder.workload)]:
        out.print(line)


def _ladder_rows(ladder: Ladder) -> Iterator[tuple[str, ...]]:
    yield "bound: nothing", *_cells(ladder.nothing), *request_cells(ladder.nothing)
    for rung in ladder.rungs:
        name = f"{rung.label} ({nbytes(rung.budget_bytes)})"
        yield name, *((*_cells(rung.run), *request_cells(rung.run)) if rung.run else (rung.why_not,))
    everything = ladder.everything
    short = memory_of(ladder.workload, everything.plan).short_by(everything.plan.budget_bytes)
    yield f"bound: everything{', does not fit' * bool(short)}", *_cells(everything), *request_cells(everything)


def show_run(run: Run, found: list[Tried], on: str, files: list[str], out: Screen) -> None:
    heading(run.workload.begun, run.plan, run.engine, files, out)
    share = memory_of(run.workload, run.plan).share(run.plan.budget_bytes)
    grid = Grid(COLUMNS, ((f"{share:.1%} ({nbytes(run.plan.budget_bytes)})", *_cells(run)),))
    grid = with_values(grid, {ENERGY} if run.requests is None else {ENERGY} | OF_SEQUENCES)
    out.print(legend(out.table(grid), MEANS if run.requests is None else MEANS | OF_PASSES))
    split = run.memory_bytes
    out.print(f"Starts {started(run.start)}. {empty_slots([run])}")
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
    for tier, held in run.other_memory_bytes.items():
        out.print(f"  {tier}: {', '.join(f'{part} {nbytes(n)}' for part, n in held.items())}")
    for one in run.devices():
        parts = ", ".join(f"{name} {nbytes(n)}" for name, n in one["memory_bytes"].items())
        parts += f" of {nbytes(one['capacity_bytes'])}" if "capacity_bytes" in one else ""
        parts += f"; {_experts_of(run, one['expert_count'])}" if "expert_count" in one else ""
        layers = f" (layers {one['layers']})" if "layers" in one else ""
        out.print(f"  {one['name']}{layers}: {parts}")
    for line in filter(None, (of_the_fabric(run), not_of_the_device(run), of_prefetches(run), of_verify_passes(run))):
        out.print(line)
    if run.requests is not None:
        show_requests(run, run.requests, out)
    if run.prompt_tok_s:
        out.print(f"Prompts are read at {number(run.prompt_tok_s)} tok/s.")
    if run.tok_s:
        out.print(
            "A token's time: "
            + ", ".join(f"{share:.1%} {name}" for name, share in advice.shares(run) if share >= 0.001)
        )
        said = advice.sentence(run, found)
        out.print(said[:1].upper() + said[1:] + (f", tried with {on}." if on and found else "."))
        if line := energy_line(run):
            out.print(line)
    else:
        out.print(nothing_decoded(run.workload))


def _experts_of(run: Run, count: int) -> str:
    """What a device has of experts: some, or a part of each."""
    parts = run.workload.alike
    return f"{count:,} experts" if parts == 1 else f"1/{parts} of each of {count:,} experts"


def not_of_the_device(run: Run) -> str:
    """What the hit rate leaves out, and which of the misses the miss rule had not loaded; empty where there are none of either."""
    of, said = run.decode, list[str]()
    if of.placed:
        runtime = run.workload.runtime
        where = (
            "in host memory, read over the link in every pass"
            if runtime and runtime.only_stores
            else "placed on the CPU"
        )
        said.append(
            f"{of.placed / of.requests:.1%} of the requests are for experts {where}, which the hit rate leaves out"
        )
    if sent := of.on_cpu - of.placed:
        said.append(
            f"the miss rule sent {sent / of.of_device:.1%} of the{' other' * bool(of.placed)} requests to the CPU"
        )
    if of.substituted:
        said.append(f"the miss rule replaced {of.substituted / of.of_device:.1%} of the requests by resident experts")
    if of.dropped:
        said.append(f"the miss rule dropped {of.dropped / of.of_device:.1%} of the requests")
    if of.low_precision:
        held = f", {of.low_hits / of.low_precision:.1%} of them from their pool" * bool(run.decisions.pooled)
        said.append(f"low copies served {of.low_precision / of.of_device:.1%} of the requests{held}")
    return f"In decode {'; '.join(said)}." if said else ""


def of_the_fabric(run: Run) -> str:
    """What several devices send each other; empty for one device."""
    found = run.crossing
    if found is None:
        return ""
    share = "" if found.elsewhere is None else f"; {found.elsewhere:.1%} of what a token uses next is on another device"
    return (
        f"Over the fabric {nbytes(round(found.bytes_per_token))} a token, prompts included{share}. The busiest device of a layer has "
        f"{found.imbalance:.2f} times the mean of all ({found.worst_imbalance:.2f} in the worst layer)."
    )


def of_prefetches(run: Run) -> str:
    """What became of the prefetches; empty without a prefetcher."""
    if run.plan.prefetch is None:
        return ""
    useful, late, wasted, cancelled = (f"{one.count:,} ({nbytes(one.bytes)})" for one in run.prefetched)
    withdrawn = f", {cancelled} cancelled before they started" * run.plan.cancel
    return f"Prefetches: {useful} useful, of which {late} came late; {wasted} wasted{withdrawn}."


def of_verify_passes(run: Run) -> str:
    """What they keep, and how many experts their rows ask for together; empty where there are none."""
    found = run.verify_passes
    if found is None:
        return ""
    kept = (
        ""
        if found.acceptance is None
        else f", {found.accepted:,} of {found.drafted:,} guesses kept ({found.acceptance:.1%})"
    )
    return (
        f"Verify passes: {found.tokens / found.chunks:.2f} tokens each{kept}. One asks for {found.experts:.1f} of "
        f"{found.n_experts} experts a layer, a row alone for {number(found.experts_of_a_row)}; {found.sparsity:.0%} are not read."
    )


def started(start: str) -> str:
    """The start of a run, for a sentence."""
    return start.replace("warm-up", "after a warm-up") if "warm-up" in start else start


def empty_slots(runs: list[Run]) -> str:
    """How many requests of the device met an empty slot."""
    counts = sorted({run.cold_misses for run in runs})
    several = f"{counts[0]:,} to " if len(counts) > 1 else ""
    noun = "request" if counts == [1] else "requests"
    return f"{several}{counts[-1]:,} {noun} met an empty slot." if counts else ""


def show_requests(run: Run, found: Served, out: Screen) -> None:
    """What the requests of a clock-driven run waited for."""
    block = found.to_json()
    names = (
        Column(f"{block['n']} requests, waits included", text=True),
        *map(Column, ("p50", "p90", "p95", "p99", "mean")),
    )
    rows = tuple(
        (name, *(seconds(ms / 1e3) for ms in block[key].values()))
        for name, key in (("TTFT", "ttft_ms"), ("TPOT", "tpot_ms"), ("in all", "e2e_ms"), ("in the queue", "queue_ms"))
        if block[key] is not None
    )
    out.table(Grid(names, rows))
    came = "" if found.arrivals_per_s is None else f"they came at {number(found.arrivals_per_s)}/s; "
    batch = "" if found.mean_batch is None else f"{number(found.mean_batch)} sequences in a decode pass, "
    out.print(
        f"{number(block['tokens_per_s'])} tokens/s and {number(block['requests_per_s'])} requests/s over "
        f"{seconds(found.makespan_ps / 1e12)}, {seconds(found.idle_ps / 1e12)} of it idle; {came}{batch}"
        f"{number(found.mean_in_system)} requests there on average, {number(found.mean_in_queue)} of them in the queue."
    )
    if found.log.rows:
        out.print(_given_up(found))
    for line in of_experts(found), of_goodput(found):
        if line:
            out.print(line)


def _given_up(found: Served) -> str:
    """What a schedule of rows and blocks refused, gave up and computed again."""
    given_up = found.given_up
    parts = [
        f"{given_up['preemptions']:,} preemptions, {given_up['recomputed_tokens']:,} tokens computed again",
        f"{given_up['prefix_cached_tokens']:,} found in the prefix cache" * (given_up["prefix_cached_tokens"] > 0),
        f"{given_up['refused']:,} requests refused, which can never fit" * (given_up["refused"] > 0),
        f"at most {given_up['most_kv_blocks']:,} blocks of KV cache held",
    ]
    return "; ".join(part for part in parts if part) + "."


def of_experts(found: Served) -> str:
    """The union of the experts of a pass."""
    said = zip(found.experts, ("pass that reads prompts", "pass that decodes"))
    each = [f"{number(mean)} in a {which}" for mean, which in said if mean is not None]
    return f"Distinct experts of an MoE layer: {', '.join(each)}."


def of_goodput(found: Served) -> str:
    """How many requests were served as quickly as was asked for; empty where nothing was."""
    good = found.goodput
    if good is None:
        return ""
    asked = [f"{name} {seconds(ps / 1e12)}" for name, ps in zip(("TTFT", "TPOT"), good.slo) if ps is not None]
    late = [f"{count:,} {what}" for count, what in ((good.late_first, "late with the first token"), (good.late_others, "with the others"),
            (len(found.log.refused), "refused")) if count]  # fmt: skip
    missed = f" ({', '.join(late)})" if late else ""
    return f"Goodput at {' and '.join(asked)}: {number(good.per_s)} requests/s; {good.share:.1%} of {good.of:,} requests meet it{missed}."


def heading(workload: Workload, plan: Plan, engine: str, files: list[str], out: Screen) -> None:
    facts = workload.facts()
    out.print(f" (engine {engine}): {workload.hw.title}", lead="Simulated")
    out.print(of_runtime(workload))
    out.print(
        f"model {workload.memory.what}; {trace_named(workload)} {facts['trace']['digest'][:12]}, {played(workload)}; "
        f"eviction {plan.eviction}, scope {plan.scope}, timeline {plan.timeline}{extras(workload, plan)}, "
        f"{workload.kv_for}",
    )
    out.print(inputs(files))
    for note in (small_model(workload), *cautions(workload, plan)):
        if note:
            out.print(note)


def of_runtime(workload: Workload) -> str:
    """Whose kernels are timed, and what to know of it."""
    runtime = workload.runtime
    if runtime is None:
        low, high = (f"{share:.0%}" for share in runtimes.ENGINES_REACH)
        return f"Ideal runtime: real engines decode at {low} to {high} of such speeds; --runtime NAME times one (simmoe runtime list)"
    threads = f", {workload.knobs.threads} threads" if workload.knobs.threads else ""
    threads += f", {workload.knobs.batch_threads} threads in large passes" if workload.knobs.batch_threads else ""
    return f"Runtime {runtime.name}{threads}: constants of builds {runtime.builds} (simmoe runtime show {runtime.name})"


def trace_named(workload: Workload) -> str:
    """The trace by its router, where it says one."""
    if workload.text.routing is not None:
        return f"synthetic routing {workload.text.routing}"
    router = workload.trace.meta.get("router")
    return f"trace of router {router}" if router else "trace"


def extras(workload: Workload, plan: Plan) -> str:
    """What the plan says beyond a plain cache."""
    into = " into buffers" * (plan.prefetch_into == "buffers") + " with cancelling" * plan.cancel
    said = {
        "prefetch": plan.prefetch and plan.prefetch + into,
        "miss": plan.miss if plan.miss != "fetch" else None,
        "placement": plan.placement,
        "arrivals": plan.arrivals,
        "rate": plan.rate,
    }
    words = [f"{name} {value}" for name, value in said.items() if value]
    words += ["CUDA graphs"] * workload.graphs + ["write-back"] * plan.write_back
    words += [f"page cache {nbytes(plan.page_cache_bytes)}"] * (plan.page_cache_bytes > 0)
    return "".join(f", {word}" for word in words)


def show_band(run: Run, found: Band, out: Screen) -> None:
    """The ranges around tok/s."""
    (slow, fast), (low, high) = found.hardware, found.text
    texts = f", {number(low)} to {number(high)} over texts like this one (90 %, block bootstrap of the decode passes)"
    engine = ", the runtime's constants and what its laws leave" if run.workload.runtime else ""
    out.print(
        f"Simulated {number(run.tok_s)} tok/s: {number(slow)} to {number(fast)} at the ends of the profile's ranges{engine}"
        f"{texts if run.workload.text.routing is None else ''}"
        + (f"; prompts {number(found.prompt[0])} to {number(found.prompt[1])}." if found.prompt else ".")
    )
    if found.requests:
        out.print(_of_waits(found.requests))


def _of_waits(found: Mapping[str, tuple[float, float]]) -> str:
    """What requests get at the ends of all figures."""
    said = [
        f"{name} p95 {seconds(low / 1e3)} to {seconds(high / 1e3)}"
        for name in ("TTFT", "TPOT")
        if (ends := found.get(f"request_{name.lower()}_p95_ms"))
        for low, high in [ends]
    ]
    said.append(f"{' to '.join(map(number, found['requests_per_s']))} requests/s")
    if ends := found.get("slo_share"):
        said.append(f"{ends[0]:.1%} to {ends[1]:.1%} of them meet the targets")
    return f"The requests there: {', '.join(said)}."


def show_guess(found: Guess, out: Screen) -> None:
    """What the drawn routing leaves open."""
    others, parts = " and ".join(found.others), list[str]()
    if found.tok_s is not None and not found.exact:
        parts.append(f"{number(found.tok_s[0])} to {number(found.tok_s[1])} tok/s")
    if found.ttft_first_s is not None:
        ends = dict.fromkeys(seconds(end) for end in found.ttft_first_s)  # once where both read alike
        parts.append(f"TTFT {' to '.join(ends)}")
    if found.exact:
        out.print(
            "Decoding takes this time with any routing: no expert is loaded into a cache, and those of each layer are all on one unit."
        )
    if parts:
        out.print(f"With the routing {found.routing}, {others}: {', '.join(parts)}.")


def nothing_decoded(workload: Workload) -> str:
    """Why there is no speed of decoding, and no advice on it."""
    return f"No decode pass is played ({how_much(workload)}): there is no tok/s, and no advice on it; {advice.to_decode(workload)}."


def energy_line(run: Run) -> str:
    """Energy and heat in decode; empty where the profile has no figures."""
    found = run.energy
    if found is None:
        return ""
    line = f"Estimated energy in decode: {found['joules_per_token']:.3g} J per token at {found['decode_watts']:.3g} W"
    line += " of the device; what the CPU that computes draws is not in it" * bool(run.decode.on_cpu)
    if found.get("sustained_clock_share", 1.0) < 1:
        line += f"; it can hold {found['sustained_watts']:.3g} W: expect {found['sustained_clock_share']:.0%} of the clock in the long run"
    return line + "."


def inputs(files: list[str]) -> str:
    """Which inputs were the user's own."""
    return f"inputs: {'bundled' if not files else 'from ' + ', '.join(files) + '; the others bundled'}"


def how_much(workload: Workload) -> str:
    """How much of the trace is played."""
    if workload.tokens < workload.all_tokens:
        return f"first {workload.tokens:,} of {workload.all_tokens:,} tokens"
    return f"all {workload.all_tokens:,} tokens"


def played(workload: Workload) -> str:
    """How much of the trace, in which passes."""
    passes = {"prompts in chunks of": workload.prefill_chunk, "batches of": workload.batch}
    chosen = "" if workload.schedule == "recorded" else f", schedule {workload.schedule}"
    chosen += "" if workload.room is None else f" of {room_named(workload)}"
    return how_much(workload) + "".join(f", {what} {n}" for what, n in passes.items() if n) + chosen


def room_named(workload: Workload) -> str:
    """What a clock-driven schedule may use."""
    room, schedule = workload.room, workload.clock_driven
    assert room is not None
    said = f"at most {room.max_batch} sequence{'s' * (room.max_batch != 1)}"
    said += f" and {room.max_tokens:,} tokens a pass" * cuts(schedule)
    said += ", with a prefix cache" * room.prefix_cache
    return said + f", on each of {room.ranks} devices" * (room.ranks > 1)


def small_model(workload: Workload) -> str:
    """What to know about a trace that was recorded from a model trained here; empty for others."""
    if "proxy_ppl" not in (workload.trace.meta.get("quality") or {}):
        return ""
    return "The trace was recorded from a small trained model of this geometry; bytes and times are those of the full shape."


def _cells(run: Run) -> tuple[str, ...]:
    split, ttft = run.memory_bytes, run.ttft_s
    rate, waits = run.decode.hit_rate, advice.waiting(run)
    waiting = "–" if waits is None else f"{waits:.1%}"
    return (
        nbytes(split["total"]), number(run.tok_s), seconds(ttft["first"]), seconds(ttft["later"]),
        *(seconds(None if (ms := run.tpot_ms(p)) is None else ms / 1e3) for p in (50, 95, 99)),
        "–" if rate is None else f"{rate:.2%}", "–" if run.bytes_per_token is None else nbytes(run.bytes_per_token), waiting,
        joules(run),
    )  # fmt: skip


def joules(run: Run) -> str:
    """Estimated energy of a decoded token."""
    return "–" if run.energy is None else f"{run.energy['joules_per_token']:.3g}"


def request_cells(run: Run | None) -> Iterator[str]:
    """What requests that arrive wait for, and how many are served as quickly as was asked for."""
    found = columns(run.requests if run else None)
    yield number(found["requests_per_s"])
    for name in ("request_ttft_p95_ms", "request_tpot_p95_ms"):
        ms = found[name]
        yield seconds(None if ms is None else ms / 1e3)
    good, share = found["goodput_per_s"], found["slo_share"]
    yield "–" if good is None else f"{number(good)}/s"
    yield "–" if share is None else f"{share:.1%}"


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if value < 1 else f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value == 0:
        return "0 s"
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e-6:.3g} us"
