"""What each command does: one call of the public API, then a table or JSON."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from simmoe.cli.common import files_used, print_json, tokens_option
from simmoe.simulator.errors import UserError


def run(a: argparse.Namespace) -> None:
    """simmoe run"""
    from simmoe.cli.hw import machine
    from simmoe.play import ladder as laddering
    from simmoe.play import memory
    from simmoe.play.plan import Plan
    from simmoe.play.workload import Workload
    from simmoe.workloads.format import trace

    one = a.budget is not None or a.memory is not None or a.eviction in ("nothing", "everything")
    for option in ("per_token", "perfetto", "band"):
        if getattr(a, option) and not one:
            raise UserError(f"--{option.replace('_', '-')} shows one run: add --budget or --memory")
    loaded = trace.load(a.trace)
    tokens = tokens_option(a.tokens, None if one else laddering.usual_tokens(loaded))
    workload = Workload(
        machine(a.hw, a.set), loaded, a.model, format=a.format, tokens=tokens, context=a.context, graphs=a.graphs,
        prefill_chunk=a.prefill_chunk, batch=a.batch,
    )  # fmt: skip
    plan = Plan(
        0, a.eviction, a.scope, a.overlap == "on", a.cold_per_sequence, a.seed, a.prefetch, a.miss, a.placement,
        a.prefetch_into, a.write_back, memory.page_cache_of(workload.hw, a.page_cache),
    )  # fmt: skip
    if one:
        _one(a, workload, replace(plan, budget_bytes=memory.budget_of(workload.memory, a.budget, a.memory)))
    else:
        ladder = laddering.climb(workload, plan, a.engine)
        if a.json:
            print_json(ladder.to_json())
        else:
            from simmoe.show import tables as show

            show.show_ladder(ladder, plan, files_used(a), show.console())


def _one(a: argparse.Namespace, workload: Any, plan: Any) -> None:
    from simmoe.play import advice
    from simmoe.play import confidence as bands
    from simmoe.play import ladder as laddering
    from simmoe.play import run as running
    from simmoe.play.workload import Workload
    from simmoe.show import files as lanes
    from simmoe.show import tables as show
    from simmoe.simulator.nouns.run import Spans
    from simmoe.workloads.format.regroup import first_tokens

    spans = Spans() if a.perfetto else None
    result = running.play(workload, plan, workload.engine(a.engine, spans=spans is not None), spans)
    if a.per_token:
        lanes.write_per_token(result, Path(a.per_token))
    if spans is not None:
        lanes.write_perfetto(result, spans, Path(a.perfetto))
    found = bands.band(result) if a.band else None
    if a.json:
        print_json(result.to_json() | ({"band": found and asdict(found)} if a.band else {}))
        return
    sample = result
    if workload.trace.n_tokens > laddering.TOKENS:  # what-ifs need no more than the ladder's share of the trace
        part = first_tokens(workload.trace, laddering.TOKENS)
        workload = Workload(workload.hw, part, workload.model, context=workload.context, graphs=workload.graphs)
        sample = running.play(workload, plan)
    changes = advice.gains(workload, plan, sample) if sample.tok_s else []
    out = show.console()
    show.show_run(result, changes, files_used(a), out)
    if found is not None:
        show.show_band(result, found, out)
