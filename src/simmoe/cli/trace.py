"""simmoe trace: check and describe routing traces."""

from __future__ import annotations

import argparse

from simmoe.cli.common import print_json
from simmoe.show.screen import Screen


def trace_check(a: argparse.Namespace) -> None:
    """simmoe trace check"""
    from simmoe.workloads.format import trace

    loaded = trace.load(a.trace)
    stated = "digest ok" if "digest" in loaded.meta else "no digest in meta"
    shape = f"{loaded.n_tokens:,} tokens × {loaded.n_layers} layers × top-{loaded.top_k} of {loaded.n_experts}"
    Screen().line(f"{trace.find(a.trace).name}: trace format v1, {shape}, {stated}")


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
