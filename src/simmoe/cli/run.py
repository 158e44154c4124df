"""What `simmoe run` does: one scenario from options or from a file, played, then a table or JSON."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from simmoe.cli.common import files_used, print_json
from simmoe.cli.parser import given, options_of
from simmoe.play import advice, devices, inputs, saved
from simmoe.play import confidence as bands
from simmoe.play import ladder as laddering
from simmoe.play import run as running
from simmoe.play.calling import load_scenario, scenario_of
from simmoe.play.plan import Plan
from simmoe.play.result import Run
from simmoe.play.scenario import OPTIONS, Scenario
from simmoe.play.workload import Workload
from simmoe.show import files as lanes
from simmoe.show import tables as show
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import check_outputs
from simmoe.simulator.nouns.run import Spans
from simmoe.simulator.nouns.trace import DECODE
from simmoe.workloads.format import trace as traces


def run(a: argparse.Namespace) -> None:
    """simmoe run"""
    scenario = _scenario(a)
    one = scenario.budget is not None or scenario.memory is not None or scenario.eviction in BOUNDS
    for option in ("per_token", "perfetto", "band"):
        if getattr(a, option) and not one:
            raise UserError(f"--{option.replace('_', '-')} shows one run: add --budget or --memory")
    if a.force and not a.save:
        raise UserError("--force overwrites the file of --save: add --save FILE, or leave it out")
    if a.save is not None:
        saved.writable(Path(a.save), a.force)
    outputs = {"--per-token": a.per_token, "--perfetto": a.perfetto, "--save": a.save}
    check_outputs(outputs, [*inputs.files(OPTIONS, vars(scenario)), *([a.file] if a.file else [])])
    trace = traces.given(scenario.trace)
    if not one and a.file is None and a.tokens is None:  # of what a file holds nothing is left open
        scenario = replace(scenario, tokens=laddering.usual_tokens(trace))
    workload = replace(scenario, trace=trace).workload()
    plan = scenario.plan(workload)
    if a.perfetto:
        devices.refuse(plan, workload.hw, "--perfetto (a lane for one device and its link)")
    (_one if one else _ladder)(a, scenario, workload, plan)
    if a.save:
        scenario.save(a.save, force=a.force)


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
    else:
        show.show_ladder(ladder, plan, files_used(vars(scenario)), show.console())


def _one(a: argparse.Namespace, scenario: Scenario, workload: Workload, plan: Plan) -> None:
    if a.band and not (workload.trace.phase == DECODE).any():
        raise UserError(
            f"--band is about the speed of decoding, and no decode pass is played ({show.played(workload)}); leave --band out"
        )
    spans = Spans() if a.perfetto else None
    result = running.play(workload, plan, workload.engine(scenario.engine, spans=spans is not None), spans)
    if a.per_token:
        lanes.write_per_token(result, Path(a.per_token))
    if spans is not None:
        lanes.write_perfetto(result, spans, Path(a.perfetto))
    found = bands.band(result) if a.band else None
    if a.json:
        print_json(result.to_json() | ({"band": found and asdict(found)} if a.band else {}))
        return
    out = show.console()
    show.show_run(result, _changes(workload, plan, result), files_used(vars(scenario)), out)
    if found is not None:
        show.show_band(result, found, out)


def _changes(workload: Workload, plan: Plan, sample: Run) -> list[tuple[str, float]]:
    """What single changes would give; the ladder's share of the trace is enough to tell."""
    if workload.trace.n_tokens > laddering.TOKENS:
        workload = workload.first(laddering.TOKENS)
        sample = running.play(workload, plan)
    return advice.gains(workload, plan, sample) if sample.tok_s else []
