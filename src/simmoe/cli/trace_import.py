"""simmoe trace import, record, cut, join and stats: traces of other programs, and parts of traces."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from simmoe.cli.parser import Parser, integer
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import check_new

if TYPE_CHECKING:
    from simmoe.cli.parser import Commands
    from simmoe.simulator.nouns.trace import Trace
    from simmoe.workloads.foreign.building import Stated


def add(actions: Commands) -> None:
    """The verbs of this file, for `simmoe trace`."""
    _add_import(actions)
    record = actions.add_parser("record", help="record the routing of a transformers model (needs simmoe[hf])")
    record.add_argument(
        "--model",
        required=True,
        metavar="ID|PATH",
        help="of the Hugging Face hub, or a folder; its own code is never run",
    )
    record.add_argument(
        "--prompts", required=True, metavar="FILE", help="a prompt in each line: a text, or a JSON list of token ids"
    )
    record.add_argument(
        "--generate", type=integer, default=128, metavar="N", help="tokens after each prompt (default 128)"
    )
    _writes(record, "trace_record")
    cut = actions.add_parser("cut", help="write a part of a trace")
    cut.add_argument("trace", metavar="NAME|FILE")
    for name, what in (
        ("rows", "tokens"),
        ("passes", "passes"),
        ("sequences", "sequences"),
        ("layers", "model layers"),
    ):
        cut.add_argument(f"--{name}", metavar="A-B,…", help=f"{what} that stay, such as 0-99 or 3,5-8 (default: all)")
    _writes(cut, "trace_cut")
    join = actions.add_parser("join", help="write several traces of one model as one, each with sequences of its own")
    join.add_argument("trace", nargs="+", metavar="NAME|FILE")
    _writes(join, "trace_join")
    stats = actions.add_parser(
        "stats", help="how skewed the use of experts is, how soon they come back, how many a pass needs"
    )
    stats.add_argument("trace", metavar="NAME|FILE")
    stats.add_argument("--json", action="store_true", help="print the same as JSON")
    stats.runs("trace_stats", "trace_import")


def _add_import(actions: Commands) -> None:
    load = actions.add_parser(
        "import", help="make a trace of another program's file: llama.cpp, vLLM, SGLang, KTransformers, logits, …",
        description="The format is told by the content; docs/foreign_traces.md says what each one holds and what is to be said here.",
    )  # fmt: skip
    load.add_argument("file", metavar="FILE")
    load.add_argument(
        "--format",
        metavar="NAME|FILE.py",
        help="in place of the one that is detected; a file is Python code and is executed",
    )
    load.add_argument(
        "--model", metavar="NAME|FILE", help="shape that tells experts, top-k and layers; the trace names it"
    )
    load.add_argument("--experts", type=integer, metavar="N", help="routed experts of a layer, where no file says it")
    load.add_argument("--top-k", type=integer, metavar="K", help="experts of a token, where no file says it")
    load.add_argument(
        "--prompt",
        type=integer,
        metavar="N",
        help="first rows of each sequence that are its prompt, where the file does not say it",
    )
    load.add_argument(
        "--tokens",
        type=integer,
        metavar="N",
        help="rows to draw from counts (default: all that were counted, at most 4,096)",
    )
    load.add_argument("--seed", type=integer, default=0, help="of what is drawn (default 0)")
    _writes(load, "trace_import")


def _writes(parser: Parser, command: str) -> None:
    parser.add_argument("--out", required=True, metavar="FILE", help="the npz to write")
    parser.add_argument("--force", action="store_true", help="overwrite the output file")
    parser.runs(command, "trace_import")


def trace_import(a: argparse.Namespace) -> int:
    """simmoe trace import: 1 for a file that holds what no recording does."""
    from simmoe.workloads.foreign import reader
    from simmoe.workloads.foreign.building import MOST_EXPERTS
    from simmoe.workloads.format.trace import is_own

    check_new(a.out, [a.file], a.force)
    for name in ("experts", "top_k", "prompt", "tokens"):
        low, high = int(name != "prompt"), MOST_EXPERTS if name in ("experts", "top_k") else 2**31 - 1
        if (value := getattr(a, name)) is not None and not low <= value <= high:
            raise UserError(f"--{name.replace('_', '-')} {value} cannot be; give a whole number from {low} to {high:,}")
    if a.seed < 0:
        raise UserError(f"--seed {a.seed} is negative; give 0 or more")
    found = a.format or reader.detect(_existing(a.file))
    if found is None and is_own(Path(a.file)):
        raise UserError(
            f"{a.file} is a trace already, which every command takes: simmoe trace check {a.file} says what it holds"
        )
    return _save(a, reader.read(Path(a.file), _stated(a), a.format), f" (a {found} file)" if found else "")


def _existing(name: str) -> Path:
    if not Path(name).is_file():
        raise UserError(
            f"{name or repr(name)} does not exist or is no file"
            + "; write a pipe to a file first" * Path(name).is_fifo()
        )
    return Path(name)


def _stated(a: argparse.Namespace) -> Stated:
    from simmoe.workloads import models
    from simmoe.workloads.foreign.building import Stated, told_by

    said = {name: getattr(a, name) for name in ("experts", "top_k", "prompt", "tokens", "seed", "model")}
    if a.model is None:
        return Stated(**said)
    shape = models.load(a.model)
    of_model = told_by(shape)
    for name in ("experts", "top_k"):
        if said.pop(name) not in (None, has := getattr(of_model, name)):
            raise UserError(
                f"--{name.replace('_', '-')} {getattr(a, name)} is not what {shape.name} has: {has}; leave it out, or leave out --model"
            )
    return replace(of_model, **said)


def trace_record(a: argparse.Namespace) -> int:
    """simmoe trace record"""
    from simmoe.workloads.foreign import record

    check_new(a.out, [a.prompts], a.force)
    model = record.load(a.model)
    return _save(
        a, record.record(model, record.prompts(_existing(a.prompts), a.model), a.generate, Path(a.prompts)), ""
    )


def trace_cut(a: argparse.Namespace) -> int:
    """simmoe trace cut"""
    from simmoe.workloads.format import editing, trace

    names = ("rows", "passes", "sequences", "layers")
    places = {name: _places(f"--{name}", getattr(a, name)) for name in names if getattr(a, name) is not None}
    if not places:
        raise UserError("say what stays: --rows, --passes, --sequences or --layers, such as --rows 0-99")
    check_new(a.out, [trace.find(a.trace)], a.force)
    return _save(a, editing.cut(trace.load(a.trace), **places), "")


def _places(option: str, text: str) -> list[tuple[int, int]]:
    """Of "3,5-8": [(3, 3), (5, 8)]."""
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,10})(?:\s*-\s*([0-9]{1,10}))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise UserError(
                f"{option} {text!r}: {part.strip()!r} is no number and no rising range; write such as 0-99 or 3,5-8"
            )
        found.append((int(match[1]), int(match[2] or match[1])))
    return found


def trace_join(a: argparse.Namespace) -> int:
    """simmoe trace join"""
    from simmoe.workloads.format import editing, trace

    check_new(a.out, [trace.find(name) for name in a.trace], a.force)
    return _save(a, editing.join([trace.load(name) for name in a.trace], [Path(name).stem for name in a.trace]), "")


def trace_stats(a: argparse.Namespace) -> None:
    """simmoe trace stats"""
    from simmoe.cli.common import print_json
    from simmoe.show.screen import Screen
    from simmoe.workloads.format import trace
    from simmoe.workloads.format.stats import stats

    facts, out = stats(trace.load(a.trace)), Screen()
    if a.json:
        print_json(facts)
        return
    for name, value in facts.items():
        out.line(f"{name:38} {value if not isinstance(value, float) else f'{value:.4g}'}")


def _save(a: argparse.Namespace, made: Trace, source: str) -> int:
    """Write the trace and say what it is; 1 where it is not plausible."""
    from simmoe.show.screen import Screen
    from simmoe.workloads.format import trace
    from simmoe.workloads.format.plausible import doubts

    saved, screen = trace.save(made, a.out), Screen()
    prompts = int((saved.phase == 0).sum())
    shape = f"{saved.n_tokens:,} tokens × {saved.n_layers} layers × top-{saved.top_k} of {saved.n_experts}"
    screen.line(f"{a.out}: {shape}, {saved.n_passes:,} passes, {prompts:,} of them prefill{source}")
    if isinstance(made_of := saved.meta.get("synthetic"), str):
        screen.line(f"synthetic: {made_of}")
    for note in saved.meta.get("import_notes", []):
        screen.line(f"note: {note}")
    for doubt in doubts(saved):
        screen.line(f"not plausible: {doubt}")
    return 1 if doubts(saved) else 0
