"""What `simmoe run` does: one scenario from options or from a file, played, then a table or JSON."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from simmoe.cli import patience
from simmoe.cli.common import files_used, print_json
from simmoe.cli.parser import given, options_of
from simmoe.play import advice, break_even_draft, devices, inputs, saved, what_if
from simmoe.play import confidence as bands
from simmoe.play import guess as guessing
from simmoe.play import ladder as laddering
from simmoe.play import run as running
from simmoe.play.calling import load_scenario, scenario_of
from simmoe.play.passes import clock_driven
from simmoe.play.plan import Plan
from simmoe.play.result import Run
from simmoe.play.scenario import OPTIONS, Scenario
from simmoe.play.traced import traced
from simmoe.play.what_if import Tried
from simmoe.play.workload import Workload
from simmoe.play.would_fit import told
from simmoe.policies import runtime as runtimes
from simmoe.show import draft
from simmoe.show import files as lanes
from simmoe.show import tables as show
from simmoe.show.screen import Screen
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import check_outputs
from simmoe.simulator.nouns.run import Spans
from simmoe.simulator.nouns.trace import DECODE


def run(a: argparse.Namespace) -> None:
    """simmoe run"""
    scenario = _scenario(a)
    one = _one_budget(scenario)
    for option in ("per_token", "perfetto", "band"):
        if getattr(a, option) and not one:
            raise UserError(f"--{option.replace('_', '-')} shows one run: add --budget or --memory")
    if a.force and not a.save:
        raise UserError("--force overwrites the file of --save: add --save FILE, or leave it out")
    if a.save is not None:
        saved.writable(Path(a.save), a.force)
    outputs = {"--per-token": a.per_token, "--perfetto": a.perfetto, "--save": a.save}
    check_outputs(outputs, [*inputs.files(OPTIONS, vars(scenario)), *([a.file] if a.file else [])])
    opened = scenario
    if scenario.trace is not None:
        opened = replace(scenario, trace=(trace := traced(scenario.trace, scenario.model)))
        if (
            not one and a.file is None and a.tokens is None and not _says_lengths(scenario)
        ):  # of a file nothing is left open
            scenario = replace(scenario, tokens=laddering.usual_tokens(trace))
            opened = replace(opened, tokens=scenario.tokens)
    with told(opened):
        if drawn := opened.trace is None:  # drawing takes long, too
            patience.told(opened, "run", *_times(a, opened, one))
        workload = opened.workload()
        plan = scenario.plan(workload)
        if not drawn:
            running.require(workload, plan)  # a refusal is one line
            patience.told(opened, "run", *_times(a, opened, one))
        if a.perfetto:
            devices.refuse(plan, workload.hw, "--perfetto (a lane for one device and its link)")
        (_one if one else _ladder)(a, scenario, workload, plan)
    if a.save:
        scenario.save(a.save, force=a.force)


def _one_budget(scenario: Scenario) -> bool:
    """Whether one budget is played, in place of a ladder of them: one that is said, or what the device holds, without a trace and
    under an engine that keeps everything resident."""
    said = scenario.budget is not None or scenario.memory is not None
    resident = scenario.runtime != runtimes.IDEAL and not scenario.engine_of_runtime().streams
    return said or scenario.eviction in BOUNDS or scenario.trace is None or resident


def _times(a: argparse.Namespace, scenario: Scenario, one: bool) -> tuple[int, int, int | None]:
    """How often the text is played and drawn: at each rung; or once and for the ranges of the machine and of the routing. And how many
    changes are tried."""
    if not one:
        return len(laddering.RUNGS) + 3, 1, None
    drawn, banded = scenario.trace is None, a.band or scenario.trace is None
    changes = 0 if a.json or clock_driven(scenario.schedule) is not None else what_if.ABOUT
    changes += break_even_draft.ABOUT * bool(scenario.draft)
    return 1 + 2 * banded + 2 * drawn, 1 + 2 * drawn, changes


def _says_lengths(scenario: Scenario) -> bool:
    """Whether the options say how many tokens are played."""
    return scenario.trace is None or scenario.prompt is not None or scenario.generate is not None


def _scenario(a: argparse.Namespace) -> Scenario:
    if a.file is None:
        return scenario_of(options_of(a))
    if beside := given(a):
        raise UserError(
            f"{a.file} says all that is played: leave {beside[0].flag} out, or write the options without the file"
        )
    return load_scenario(a.file)


def _ladder(a: argparse.Namespace, scenario: Scenario, workload: Workload, plan: Plan) -> None:
    ladder = laddering.climb(workload, plan, scenario.engine)
    if a.json:
        print_json(ladder.to_json())
        return
    on_cpu, as_played = list[Tried](), ""
    if advice.speaks(ladder):
        held = advice.largest(ladder)
        start: dict[str, Any] = {"start": held.plan.start, "warm_up": held.plan.warm_up}
        chosen = start | ({} if a.tokens or a.file else {"tokens": scenario.tokens})
        given_too = {"start": scenario.start, "warm_up": scenario.warm_up}
        as_played = what_if.words({name: value for name, value in chosen.items() if value != given_too.get(name)})
        at = replace(scenario, budget=advice.asked(ladder, held), **start)
        on_cpu = what_if.measured(at, held, list(what_if.on_the_cpu(held)))
    show.show_ladder(ladder, plan, on_cpu, as_played, files_used(vars(scenario)), Screen())


def _one(a: argparse.Namespace, scenario: Scenario, workload: Workload, plan: Plan) -> None:
    if a.band and not (workload.trace.phase == DECODE).any():
        raise UserError(
            f"--band is about the speed of decoding, and no decode pass is played ({show.played(workload)}); leave --band out"
        )
    spans = Spans() if a.perfetto else None
    result = running.play(workload, plan, spans=spans, wish=scenario.engine)
    if a.per_token:
        lanes.write_per_token(result, Path(a.per_token))
    if spans is not None:
        lanes.write_perfetto(result, spans, Path(a.perfetto))
    banded = a.band or scenario.trace is None or result.workload.runtime is not None
    found, left_open = bands.band(result) if banded else None, guessing.guess(scenario, result)
    part, on = _part(scenario, result)
    pays = break_even_draft.pays(part, result)
    if a.json:
        beside: dict[str, Any] = {"band": found and asdict(found)} if banded else {}
        beside |= {"routing": left_open.to_json()} if left_open else {}
        beside |= {"draft": pays.to_json() | ({"on": on} if on else {})} if pays else {}
        print_json(result.to_json() | beside)
        return
    out = Screen()
    show.show_run(result, _tried(part, on, result), on, files_used(vars(scenario)), out)
    if pays is not None:
        draft.show_draft(result, pays, on, out)
    if left_open is not None:
        show.show_guess(left_open, out)
    if found is not None:
        show.show_band(result, found, out)


def _part(scenario: Scenario, run: Run) -> tuple[Scenario, str]:
    """On how much of the trace changes are tried: all that is played where that is short, else a part with decode passes; and the option
    that says so."""
    if not run.tok_s or run.serving is not None:
        return scenario, ""
    tokens = laddering.enough_tokens(run.workload.begun.trace, run.workload.warm_up_tokens)
    return (scenario, "") if tokens is None else (replace(scenario, tokens=tokens), f"--tokens {tokens}")


def _tried(part: Scenario, on: str, run: Run) -> list[Tried]:
    """What changes would give. None where requests arrive: a part of them is another load."""
    if not run.tok_s or run.serving is not None:
        return []
    return what_if.tried(part, what_if.played(part) if on else run)
