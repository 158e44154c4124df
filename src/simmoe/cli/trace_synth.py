"""simmoe trace fit and trace synth: twins of traces, and routing that is drawn."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from simmoe.cli.parser import integer
from simmoe.simulator.files import check_new

if TYPE_CHECKING:
    from simmoe.cli.parser import Commands


def add(actions: Commands) -> None:
    """The two verbs."""
    fit = actions.add_parser("fit", help="write the twin of a trace: statistics that routing like it is drawn from")
    fit.add_argument("trace", metavar="NAME|FILE")
    fit.add_argument("--out", required=True, metavar="FILE", help="the YAML to write")
    fit.add_argument("--force", action="store_true", help="overwrite the output file")
    fit.runs("trace_fit", "trace_synth")
    synth = actions.add_parser("synth", help="draw a trace from a class of routing or from a twin")
    synth.add_argument(
        "--routing",
        required=True,
        metavar="CLASS|FILE",
        help="uniform, typical, like:qwen3-30b, like:mixtral, … or a twin",
    )
    synth.add_argument(
        "--model", metavar="NAME|FILE", help="draw for this model's layers, experts and top-k (default: the twin's)"
    )
    synth.add_argument(
        "--prompt", type=integer, default=512, metavar="N", help="prompt tokens of each sequence (default 512)"
    )
    synth.add_argument(
        "--generate", type=integer, default=128, metavar="N", help="decoded tokens of each sequence (default 128)"
    )
    synth.add_argument("--sequences", type=integer, default=1, metavar="N", help="one after the other (default 1)")
    synth.add_argument("--seed", type=integer, default=0, help="the same seed gives the same trace (default 0)")
    synth.add_argument("--out", required=True, metavar="FILE", help="the npz to write")
    synth.add_argument("--force", action="store_true", help="overwrite the output file")
    synth.runs("trace_synth", "trace_synth")


def trace_fit(a: argparse.Namespace) -> None:
    """simmoe trace fit"""
    from simmoe.show.screen import Screen
    from simmoe.workloads.format import trace as traces
    from simmoe.workloads.synthetic import twinfile
    from simmoe.workloads.synthetic.fitting import fit

    check_new(a.out, [a.trace], a.force)
    recorded = traces.load(a.trace)
    twin = fit(recorded)
    twinfile.save(twin, Path(a.out))
    Screen().line(
        f"{a.out}: twin of {twin.name}, {twin.numbers:,} numbers for {recorded.expert_ids.size:,} ids; "
        f"simmoe trace synth --routing {a.out} draws from it"
    )


def trace_synth(a: argparse.Namespace) -> None:
    """simmoe trace synth"""
    from simmoe.show.screen import Screen
    from simmoe.workloads import models, synthetic
    from simmoe.workloads.format import trace as traces

    check_new(a.out, [a.routing], a.force)
    sizes = (a.prompt, a.generate, a.sequences, a.seed)
    if a.model is None:
        drawn = synthetic.routing_of(a.routing, *sizes)
    else:
        drawn = synthetic.routing_for(models.load(a.model), a.routing, *sizes)
        drawn = replace(drawn, meta={**drawn.meta, "model": a.model})
    saved = traces.save(drawn, a.out)
    Screen().line(
        f"{a.out}: {saved.n_tokens:,} tokens × {saved.n_layers} layers × top-{saved.top_k} of {saved.n_experts}, "
        f"{saved.meta['router']}: drawn, no recording"
    )
