"""simmoe trace: check and describe routing traces."""

from __future__ import annotations

import argparse

from simmoe.cli.common import print_json
from simmoe.show.screen import Screen


def trace_check(a: argparse.Namespace) -> int:
    """simmoe trace check: 1 for a trace that obeys the rules and holds what no recording does."""
    from simmoe.workloads.format import trace
    from simmoe.workloads.format.plausible import doubts

    loaded = trace.load(a.trace)
    stated = "digest ok" if "digest" in loaded.meta else "no digest in meta"
    shape = f"{loaded.n_tokens:,} tokens × {loaded.n_layers} layers × top-{loaded.top_k} of {loaded.n_experts}"
    screen = Screen()
    path = trace.find(a.trace)
    found = trace.foreign(path)
    screen.line(f"{path.name}: {'trace format v1' if found is None else f'a {found} file'}, {shape}, {stated}")
    for doubt in doubts(loaded):
        screen.line(f"not plausible: {doubt}")
    return 1 if doubts(loaded) else 0


def trace_info(a: argparse.Namespace) -> None:
    """simmoe trace info"""
    from simmoe.workloads.format import describe, trace

    facts = describe.describe(trace.load(a.trace))
    if a.json:
        print_json(facts)
    else:
        out = Screen()
        for name, value in facts.items():
            out.line(f"{name:24} {value if not isinstance(value, float) else f'{value:.4g}'}")
