"""What each command does: one call of the public API, then a table or JSON."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from simmoe.simulator.errors import UserError


def run(a: argparse.Namespace) -> None:
    """simmoe run"""
    from simmoe import laddering, memory
    from simmoe.commands_hw import machine
    from simmoe.planning import Plan
    from simmoe.workload import Workload
    from simmoe.workloads import trace

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
            _print_json(ladder.to_json())
        else:
            from simmoe import show

            show.show_ladder(ladder, plan, files_used(a), show.console())


def _one(a: argparse.Namespace, workload: Any, plan: Any) -> None:
    from simmoe import advice, bands, laddering, lanes, running, show
    from simmoe.simulator.runlog import Spans
    from simmoe.workload import Workload
    from simmoe.workloads.regroup import first_tokens

    spans = Spans() if a.perfetto else None
    result = running.play(workload, plan, workload.engine(a.engine, spans=spans is not None), spans)
    if a.per_token:
        lanes.write_per_token(result, Path(a.per_token))
    if spans is not None:
        lanes.write_perfetto(result, spans, Path(a.perfetto))
    found = bands.band(result) if a.band else None
    if a.json:
        _print_json(result.to_json() | ({"band": found and asdict(found)} if a.band else {}))
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


def files_used(a: argparse.Namespace) -> list[str]:
    """Which of the named inputs are files of the user's, in place of bundled ones."""
    from simmoe import hardware_profiles, policies
    from simmoe.workloads import models, trace

    found = [hardware_profiles.find(a.hw), trace.find(a.trace)]
    if a.model:
        found.append(models.find(a.model))
    if a.eviction not in ("nothing", "everything"):
        found.append(policies.find("eviction", a.eviction))
    bundled = {hardware_profiles.FOLDER, trace.BUNDLED, models.FOLDER, policies.FOLDER / "eviction"}
    return [str(path) for path in found if path.parent not in bundled]


def trace_check(a: argparse.Namespace) -> None:
    """simmoe trace check"""
    from simmoe.workloads import trace

    loaded = trace.load(a.trace)
    stated = "digest ok" if "digest" in loaded.meta else "no digest in meta"
    shape = f"{loaded.n_tokens:,} tokens × {loaded.n_layers} layers × top-{loaded.top_k} of {loaded.n_experts}"
    print(f"{trace.find(a.trace).name}: trace format v1, {shape}, {stated}")


def trace_info(a: argparse.Namespace) -> None:
    """simmoe trace info"""
    from simmoe.workloads import describe, trace

    facts = describe.describe(trace.load(a.trace))
    if a.json:
        _print_json(facts)
    else:
        for name, value in facts.items():
            print(f"{name:24} {value if not isinstance(value, float) else f'{value:.4g}'}")


def model_import(a: argparse.Namespace) -> None:
    """simmoe model import"""
    from simmoe.simulator.units import nbytes
    from simmoe.workloads import model_import as importer
    from simmoe.workloads import models

    shape = importer.import_model(Path(a.file))
    if a.name:
        shape["name"] = a.name
    out = Path(a.out or f"{shape['name']}.yaml")
    importer.write_shape(shape, out, force=a.force)
    model = models.load(str(out))
    print(
        f"{out}: {model.total_params / 1e9:.2f} B parameters, {len(model.moe_layers)} MoE layers, top-{model.top_k}; at {model.format} "
        f"{nbytes(model.dense_bytes)} dense + {nbytes(model.all_expert_bytes)} of routed experts"
    )


def tokens_option(text: str | None, default: int | None) -> int | None:
    """The value of --tokens; None plays all."""
    if text is None:
        return default
    if text == "all":
        return None
    if not text.isdigit():
        raise UserError(f"--tokens {text!r} is not a number of tokens; give a whole number or all")
    return int(text)


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=1, sort_keys=True))
