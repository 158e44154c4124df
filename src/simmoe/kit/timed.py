"""Scenarios with a machine and a clock, for files whose work time tells on: how they are drawn, played by every engine, and recounted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simmoe import policies
from simmoe.kit.eviction import not_compiled, writes
from simmoe.kit.referee import broken
from simmoe.kit.scenarios import NO_STARTS, SCENARIOS, Say, Scenario, drawn_budget, drawn_trace, in_turn
from simmoe.play.decided import Decided, decided
from simmoe.play.plan import Plan, missing_of
from simmoe.play.popularity import counts_first, source, unplayed
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.decide.decisions import first_events
from simmoe.simulator.decide.laws import BrokenLaw
from simmoe.simulator.decide.missing import loads_low
from simmoe.simulator.errors import UserError
from simmoe.simulator.naming import named
from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware, Link, Tier, Upstream
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.simulator.nouns.run import WITHDRAWN
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time import engines
from simmoe.simulator.time.recurrence import CompiledPlayer

TB = 10**12  # bytes a second: a byte each picosecond
LEADS = 3  # of recorded guesses
TIMELINES = ("overlapped", "serial", "sync")


class Timed(NamedTuple):
    """One thing to play on a machine."""

    number: int
    workload: Workload
    plan: Plan

    def __str__(self) -> str:
        plan, sizes = self.plan, "/".join(map(str, self.workload.model.expert_bytes.tolist()))
        cancel = ", cancel" if plan.cancel else ""
        early = (
            f"prefetch {Path(plan.prefetch).name} into {plan.prefetch_into}{cancel}" if plan.prefetch else "no prefetch"
        )
        return (
            f"scenario {self.number} (experts of {sizes} B, room {plan.budget_bytes:,} B, scope {plan.scope}, timeline {plan.timeline}, "
            f"{early}, miss {Path(plan.miss).name})"
        )


def drawn(value: str, prefetches: tuple[str | None, ...], misses: tuple[str, ...]) -> Iterator[Timed]:
    """The same ones every time. value: what is checked, and what is told behind its name; one of the others is played beside it each time.
    Raises UserError."""
    if source(value) and not counts_first(value):
        raise UserError(
            f"{value}: the kit draws texts of its own; write :first=20% behind the name, or leave :{source(value)} out"
        )
    for number in range(SCENARIOS):
        rng = np.random.default_rng(number)
        trace = _with_guesses(rng, drawn_trace(rng, layers=1 + number % 3, experts=3 + number % 7))
        miss = misses[number % len(misses)]
        hw, model = _machine(rng), _model(rng, trace, loads_low(policies.load("miss", miss)))
        scope, into = ("global", "layer")[number // 2 % 2], ("cache", "buffers")[number // 4 % 2]
        workload = Workload(
            hw, trace, model, batch=2 if number % 6 == 5 else None, unplayed=unplayed({"prefetch": value})
        )
        prefetch = prefetches[number % len(prefetches)]
        cancel = prefetch is not None and number % 3 > 0
        plan = Plan(
            drawn_budget(rng, model.expert_bytes, trace.n_experts, scope),
            scope=scope,
            timeline=TIMELINES[number // 3 % 3],
            cold_per_sequence=number % 8 == 7,
            seed=number,
            prefetch=prefetch,
            miss=miss,
            prefetch_into=into if prefetch else "cache",
            cancel=cancel,
            page_cache_bytes=0
            if cancel or hw.link.upstream is None or model.low
            else 3 * int(model.expert_bytes.max()),
            start="cold",
        )
        yield Timed(number, workload, plan)


def played(case: Timed, engine: str = "plain") -> Run:
    """Raises UserError, which names the scenario."""
    with blaming(case):
        return play(case.workload, case.plan, engines.named(engine))


@contextmanager
def blaming(case: Timed) -> Iterator[None]:
    """Errors name the scenario, and the file where it is to blame."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}; {case}") from None
    except BrokenLaw as error:
        raise writes(policies.load("miss", case.plan.miss), error, case) from None


def judged(cases: list[Timed], file: str, both: bool, state: str, say: Say) -> list[str]:
    """Plays them, has the referee follow, plays them the other way round, by SimPy and compiled. What was checked, a line each.

    Compiled only decides: no text of these files is in the clock, of which each timeline and each kind of machine is a kernel of its own,
    seconds to compile. file: of the policy; state: where it may keep what it remembers. Raises UserError.
    """
    made = [played(case) for case in in_turn(cases, "playing", say)]
    for case, run in zip(cases, made):
        for wrong in (*broken(_seen(case, run), run.decisions), *recounted(run)):
            raise UserError(f"policy {file}: {wrong}; {case}")
    pairs = list(reversed(list(zip(cases, made))))
    for engine, stage, said in (
        ("plain", "playing again", f"when it is played again: keep nothing outside of {state}"),
        ("simpy", "playing by simpy", "under the engine simpy"),
    ):
        for case, run in in_turn(pairs, stage, say):
            if unlike := differing(run, played(case, engine)):
                raise UserError(f"policy {file} gives other {unlike} {said}; {case}")
    lines = [
        f"{len(cases)} scenarios: room and pins kept, hits are what was resident, every request and every prefetch counted once",
        "played again and by the engine simpy: the same decisions and times",
    ]
    if not both or compiled.missing():
        return [*lines, not_compiled(both)]
    own = [
        pair for pair in pairs if Path(named(pair[0].plan.miss).name).name in (file, "fetch")
    ]  # our tests compile the others
    for case, run in in_turn(own, "compiling", say):
        if not _same(run.decisions, _compiled(case, run).decisions):
            raise UserError(f"policy {file} gives other decisions when it is compiled; {case}")
    return [*lines, "compiled: the same decisions"]


def _compiled(case: Timed, run: Run) -> Decided:
    """What the compiled engine decides in the place of that run. The page cache decides nothing."""
    plan = replace(case.plan, page_cache_bytes=0)
    with blaming(case):
        return decided(run.workload, plan, missing_of(run.workload, case.plan), CompiledPlayer())


def recounted(run: Run) -> Iterator[str]:
    """What of the counts does not follow from the trace and from the decisions."""
    counts, made, trace = run.counts, run.decisions, run.workload.trace
    requests, sizes = run.workload.requests, np.repeat(run.workload.model.expert_bytes, trace.n_experts)
    steps = [trace.expert_ids[a:b] for a, b in zip(trace.pass_ptr[:-1].tolist(), trace.pass_ptr[1:].tolist())]
    asked = sum(len(set(step[:, layer].ravel().tolist()) - {-1}) for step in steps for layer in range(trace.n_layers))
    served = counts.hits, counts.misses, counts.on_cpu, counts.substituted, counts.dropped, counts.low_precision
    if not asked == counts.requests == sum(served):
        yield f"{asked} requests are not the {' + '.join(map(str, served))} that were served"
    became, gone = run.prefetched, run.clocks.fate == WITHDRAWN
    early, gone_bytes = run.guesses.obj[made.issued], int(sizes[run.guesses.obj[gone]].sum()) if gone.any() else 0
    kinds = became.useful, became.wasted, became.cancelled
    if (sum(one.count for one in kinds), sum(one.bytes for one in kinds)) != (len(early), int(sizes[early].sum())):
        yield f"{len(early)} prefetches are not the {' + '.join(str(one.count) for one in kinds)} useful, wasted and cancelled ones"
    if became.useful.count != len(made.fresh_by) or became.late.count > became.useful.count:
        yield f"{became.useful.count} prefetches are useful, {became.late.count} of them late, and {len(made.fresh_by)} were hit"
    low, copies = (
        np.isin(made.loads, made.low),
        np.repeat([part.bytes for part in run.workload.model.low], trace.n_experts),
    )
    whole, copied = requests.obj[made.loads[~low]], requests.obj[made.loads[low]]
    crossed = (
        int(sizes[whole].sum())
        + (int(copies[copied].sum()) if len(copied) else 0)
        + int(sizes[early].sum())
        - gone_bytes
    )
    if counts.bytes != crossed or int(run.link_bytes.sum()) != crossed:
        yield f"{counts.bytes} B over the link are not the {crossed} B of the loads"


def differing(one: Run, other: Run) -> str:
    """What two runs of a scenario do not have in common; empty where they are equal."""
    for what, first, second in (
        ("guesses", one.guesses, other.guesses),
        ("decisions", one.decisions, other.decisions),
        ("times", one.clocks, other.clocks),
    ):
        if not _same(first, second):
            return what
    return "" if (one.counts, one.prefetched) == (other.counts, other.prefetched) else "counts"


def _same(one: Any, other: Any) -> bool:
    return all(_alike(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))


def _alike(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(np.array_equal, one, other))
    return bool(np.array_equal(one, other))  # type: ignore[arg-type]


def _seen(case: Timed, run: Run) -> Scenario:
    """As the referee sees it."""
    workload, plan = run.workload, case.plan
    cold_at = first_events(workload.trace, workload.requests) if plan.cold_per_sequence else NO_STARTS
    return Scenario(
        case.number, workload.requests, workload.model.expert_bytes, plan.budget_bytes, plan.scope, run.guesses, cold_at
    )  # fmt: skip


# --- what is drawn ----------------------------------------------------------------------------------------------------


def _with_guesses(rng: np.random.Generator, trace: Trace) -> Trace:
    """Recorded guesses of the leads 1 to LEADS, three times of four right."""
    guess = np.repeat(trace.expert_ids[None], LEADS, axis=0)
    wrong = rng.random(guess.shape) < 0.25
    guess[wrong] = rng.integers(0, trace.n_experts, int(wrong.sum()))
    for lead in range(1, LEADS + 1):
        guess[lead - 1][:, :lead] = -1
    return replace(trace, predict_lead=np.arange(1, LEADS + 1, dtype=np.int16), predicted_ids=guess)


def _machine(rng: np.random.Generator) -> Hardware:
    """A device, a CPU and a link of some speed; the memory is one or two, a store may stand before it."""
    unified, link = bool(rng.random() < 0.4), TB // int(rng.choice((1, 7, 30)))
    launch, latency, wait = (int(rng.choice(of)) for of in ((0, 2), (0, 3), (1, 9)))
    tiers = {
        "dram": Tier("dram", 10**15, 4 * TB),
        "home": Tier("home", 10**15, 2 * TB),
        "store": Tier("store", 10**15, TB),
    }
    gpu = ComputeUnit("gpu", "dram", TB, launch, {"fp16": TB}, host_wait_ps=wait)
    cpu = ComputeUnit("cpu", "dram" if unified else "home", TB // 2, 1, {"fp16": TB})
    upstream = Upstream("store", TB // 8, 1, bool(rng.random() < 0.5)) if rng.random() < 0.3 else None
    return Hardware(
        "kit", "a machine of a few bytes", unified, tiers, {"gpu": gpu, "cpu": cpu}, Link("home", "dram", link, latency, upstream=upstream),
        ("gpu",), 0, 1,
    )  # fmt: skip


def _model(rng: np.random.Generator, trace: Trace, versions: bool) -> ModelShape:
    """versions: low copies of half the bytes stand beside the experts."""
    layers = []
    for _ in range(trace.n_layers):
        size, flops, more = int(rng.choice((4, 6, 50))), int(rng.integers(0, 4)), int(rng.integers(0, 3))
        shared = Part(2, 2, 1) if more else NO_PART
        layers.append(
            Layer(Part(5, 5 * more, 1), shared=shared, expert=Part(size, size, flops), n_experts=trace.n_experts)
        )
    shape = ModelShape("kit", "fp16", "fp16", tuple(layers), trace.top_k, Part(1, 1, 0), NO_PART)
    low = tuple(replace(layer.expert, bytes=layer.expert.bytes // 2) for layer in layers)
    return replace(shape, low=low, low_format="half") if versions else shape
