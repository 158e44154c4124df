"""`simmoe.compare_policies`: policies side by side on one trace and one machine, and how far each stays from what none can beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from simmoe.play import confidence as bands
from simmoe.play.calling import scenario_of, takes
from simmoe.play.gaps import BELADY, BOUNDS, BYPASS, Bar, Bars
from simmoe.play.identity import is_bound
from simmoe.play.plan import Plan
from simmoe.play.popularity import Unplayed, unplayed
from simmoe.play.quality import Quality, quality_of
from simmoe.play.result import Run, versions
from simmoe.play.run import play
from simmoe.play.scenario import OPTIONS, Scenario, workload_options
from simmoe.play.tabular import Record, Tabular
from simmoe.play.traced import traced
from simmoe.play.workload import Workload
from simmoe.policies import system as systems
from simmoe.policies.runtime import IDEAL
from simmoe.simulator.decide.decisions import BOUNDS as BOUNDED
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.version import RESULT_SCHEMA

AXES = ("system", "eviction", "scope", "prefetch", "miss")  # of which there may be several
USUAL = ("fifo", "lru", "lfu", "s3fifo", "arc", "w_tinylfu")
BUDGET = "25%"
Choices = str | Sequence[str | None] | None
Report = Callable[[str, int, int], None]
SHARED = ("hw", "trace", "model", "set")  # inputs of all rows


@dataclass(frozen=True)
class PolicyRow:
    """One combination. `run` is None where it cannot run; `why_not` then says why."""

    label: str
    scenario: Scenario | None
    run: Run | None = None
    why_not: str = ""
    band: bands.Band | None = None
    bound: bool = False  # nothing that a machine can run
    bars: Mapping[str, Bar] = field(default_factory=dict)
    tok_s: float | None = None  # of belady_bypass what it leaves, which its run does not reach

    @property
    def hit_rate(self) -> float | None:
        """Share of the requests of decode that find the expert on the device; those that a placement gave to the CPU do not."""
        return self.run.decode.hits / self.run.decode.requests if self.run and self.run.decode.requests else None

    @property
    def resident(self) -> float | None:
        """Share of all expert bytes that the device may hold."""
        return None if self.run is None else self.run.plan.budget_bytes / self.run.workload.model.all_expert_bytes

    @property
    def waste(self) -> float | None:
        """Share of the loaded bytes, prompts included, that left or met the end of the run without a request."""
        if self.run is None:
            return None
        return self.run.prefetched.wasted.bytes / self.run.counts.bytes if self.run.counts.bytes else 0.0

    @property
    def gap_ms(self) -> dict[str, float | None]:
        """Milliseconds a token above each bound; None where it is no bound of this row."""
        return {name: bar.gap_ms(self.run) if (bar := self.bars.get(name)) and self.run else None for name in BOUNDS}

    @property
    def quality(self) -> Quality | None:
        """How the output compares with the model's; None where it is another and was not measured."""
        return None if self.run is None else quality_of(self.run)

    def to_json(self) -> dict[str, Any]:
        run, said = self.run, self.scenario
        played = {} if run is None else run.scenario()
        chosen = {name: played["plan"][name] for name in AXES[1:]} if run else {}
        system = None if said is None or said.system is None else systems.load(said.system).name
        return {
            "system": system, **chosen, "bound": self.bound, "why_not": self.why_not, "hit_rate": self.hit_rate, "tok_s": self.tok_s,
            "range_tok_s": self.band and list(self.band.hardware), "bytes_per_token": run and run.bytes_per_token, "waste": self.waste,
            "quality": None if self.quality is None else self.quality._asdict(), "gap_ms": self.gap_ms, "resident": self.resident,
            "runtime": played.get("runtime", {}).get("name", IDEAL), "start": run and run.start, "digest": run and run.digest,
        }  # fmt: skip


def _record(row: PolicyRow) -> Record:
    said = row.to_json()
    gaps, ends = said.pop("gap_ms"), said.pop("range_tok_s") or (None, None)
    del said["quality"]
    chosen = {name: said.pop(name, None) for name in AXES[1:]}
    names = {name: one["name"] if isinstance(one, dict) else one for name, one in chosen.items()}
    return {
        "kind": "simulated", "label": row.label, **names, **said, "why_not": row.why_not or None,
        "tok_s_low": ends[0], "tok_s_high": ends[1], **{f"gap_{name}_ms": gap for name, gap in gaps.items()},
        "perplexity_ratio": row.quality and row.quality.ratio,
    }  # fmt: skip


@dataclass(frozen=True, repr=False)
class PolicyTable(Tabular):
    """All rows, the fastest first; the bounds of the rows stand among them."""

    brief = (
        "label",
        "tok_s",
        "hit_rate",
        "bytes_per_token",
        "waste",
        *(f"gap_{name}_ms" for name in BOUNDS),
        "bound",
        "why_not",
    )

    rows: tuple[PolicyRow, ...]
    workload: Workload  # of the first row
    plan: Plan

    def title(self) -> str:
        return f"Simulated: {self.workload.named}, {len(self.rows)} choices of policies"

    def records(self) -> list[Record]:
        """A row for each choice and each bound; gap_…_ms: milliseconds a token above that bound."""
        return [_record(row) for row in self.rows]

    def to_json(self) -> dict[str, Any]:
        facts = {name: fact for name, fact in self.workload.facts().items() if name != "runtime"}
        shown = {
            "budget_bytes": self.plan.budget_bytes,
            "rows": [{"label": row.label, **row.to_json()} for row in self.rows],
        }
        return {"schema": RESULT_SCHEMA, "kind": "simulated", "versions": versions(), **facts, **shown}


def silent(label: str, done: int, of: int) -> None:
    """A report to nobody."""


@takes()
def compare_policies(
    hw: str | Path | Hardware | None = None, trace: str | Path | Trace | None = None, *,
    system: Choices = (), eviction: Choices = (), scope: Choices = (), prefetch: Choices = (), miss: Choices = (),
    report: Report = silent, **options: Any,
) -> PolicyTable:  # fmt: skip
    """Simulate every combination of `system`, `eviction`, `scope`, `prefetch` and `miss`, each one or a list, beside their bounds.

    The options are those of `simmoe.run`. With neither budget nor memory: a quarter of the experts, or
    what the placement leaves to the device under an engine that loads nothing while it runs. Without a policy or a system: a few
    eviction policies. `prefetch=None` takes away what a system prefetches. A combination that cannot run is a row with its reason. All rows
    play the same passes: the first rows that one of them counts (first=20%) are played by none. report: told of each row before it is
    played, with how many were and of how many. Raises UserError for a mistake that concerns all of them.
    """
    asked = dict(zip(AXES, (system, eviction, scope, prefetch, miss)))
    several = {name: _several(given) for name, given in asked.items() if given != ()}
    if "system" not in several:
        several.setdefault("eviction", list(USUAL))
    opened = None if trace is None else traced(trace, options.get("model"))
    wanted = [dict(zip(several, one)) for one in product(*several.values())]
    found = [_scenario({"hw": hw, "trace": opened, **options, **one}) for one in wanted]
    scenarios = [one for one in found if isinstance(one, Scenario)]
    if not scenarios:
        raise UserError(str(found[0]))
    return _table(found, [_label(one, several) for one in wanted], scenarios, report)


def _several(given: Any) -> list[Any]:
    values = list(given) if isinstance(given, list | tuple) else [given]
    if not values:
        raise UserError("a list of policies is empty; name at least one")
    return values


def _scenario(options: Mapping[str, Any]) -> Scenario | UserError:
    """Or what is wrong with this combination. Where no memory is said, an engine that loads while it runs gets a quarter."""
    try:
        made = scenario_of(options)
        streams = made.runtime == IDEAL or made.engine_of_runtime().streams
        said = made.budget is not None or made.memory is not None or made.eviction in BOUNDED
        return replace(made, budget=BUDGET) if streams and not said else made
    except UserError as error:
        return error


def _label(chosen: Mapping[str, Any], several: Mapping[str, Sequence[Any]]) -> str:
    """What a row is called: the values of the options of which there are several."""
    names = [name for name, values in several.items() if len(values) > 1] or [next(iter(several))]
    return ", ".join(OPTIONS[name].shown(chosen[name]) for name in names)


def _table(
    found: Sequence[Scenario | UserError], labels: Sequence[str], scenarios: Sequence[Scenario], report: Report
) -> PolicyTable:
    cut, opened, known, rows = _cut(scenarios), dict[str, Workload](), Bars(), list[PolicyRow]()
    for number, (one, label) in enumerate(zip(found, labels)):
        report(label, number, len(found))
        rows.append(_row(one, label, cut, opened, known, len(found)))
    first = next((row.run for row in rows if row.run is not None), None)
    if first is None:
        raise UserError(rows[0].why_not)
    every = sorted([*rows, *_bound_rows(rows)], key=lambda row: -(row.tok_s or 0.0))
    return PolicyTable(tuple(every), first.workload.begun, first.plan)


def _cut(scenarios: Sequence[Scenario]) -> Unplayed | None:
    """The first rows that one of them counts, and that none plays. Raises UserError where they differ."""
    cuts = [cut for one in scenarios if (cut := unplayed(vars(one)))]
    for cut in cuts[1:]:
        if cut.share != cuts[0].share:
            raise UserError(f"{cuts[0].said} and {cut.said} count different first rows; count the same share")
    return cuts[0] if cuts else None


def _row(
    scenario: Scenario | UserError,
    label: str,
    cut: Unplayed | None,
    opened: dict[str, Workload],
    known: Bars,
    runs: int,
) -> PolicyRow:
    if isinstance(scenario, UserError):
        return PolicyRow(label, None, why_not=str(scenario))
    try:
        key = repr([getattr(scenario, name) for name in workload_options() if name not in SHARED])
        workload = opened[key] if key in opened else opened.setdefault(key, scenario.workload(cut))
        plan = scenario.plan(workload)
        engine = workload.engine(scenario.engine, runs=3 * runs + len(BOUNDS))
        run = play(workload, plan, engine)
        bars, bound = known.of(run, engine), is_bound(plan.eviction, plan.prefetch)
        return PolicyRow(label, scenario, run, band=bands.band(run), bound=bound, bars=bars, tok_s=run.tok_s)
    except UserError as error:
        return PolicyRow(label, scenario, why_not=str(error))


def _bound_rows(rows: Sequence[PolicyRow]) -> Iterator[PolicyRow]:
    """Each bound once, however many rows have it; but for those that are rows already."""
    played = {row.run.digest for row in rows if row.run is not None}
    every = list({(bar.name, bar.run.digest, bar.tok_s): bar for row in rows for bar in row.bars.values()}.values())
    scopes = {bar.run.plan.scope for bar in every if bar.name == BELADY}
    placements = {bar.run.plan.placement for bar in every if bar.name == BELADY}
    engines = {_engine(bar.run) for bar in every}
    labels = set[tuple[str, float | None]]()
    for bar in every:
        plan, facts = bar.run.plan, list[str]()
        if bar.name == BELADY:
            facts = [plan.scope] * (len(scopes) > 1) + [str(plan.placement)] * (
                len(placements) > 1 and plan.placement is not None
            )
        label = ", ".join([bar.name, *facts, *[_engine(bar.run)] * (len(engines) > 1)])
        known, mine = (label, bar.tok_s) in labels, bar.name != BYPASS and bar.run.digest in played
        labels.add((label, bar.tok_s))
        if not known and not mine:
            yield PolicyRow(label, None, bar.run, bound=True, bars={}, tok_s=bar.tok_s)


def _engine(run: Run) -> str:
    return run.workload.runtime.name if run.workload.runtime else IDEAL
