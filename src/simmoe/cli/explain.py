"""simmoe explain: measured speeds beside simulated ones, and what explains the difference."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from simmoe.cli.parser import options_of
from simmoe.play.scenario import OPTIONS

if TYPE_CHECKING:
    from simmoe.cli.parser import Commands
    from simmoe.simulator.nouns.hardware import Hardware

TAKEN = (
    "hw",
    "gpu",
    "host",
    "set",
    "model",
    "format",
    "runtime",
    "flags",
    "routing",
    "seed",
)  # of the options of a run
RUNTIMES = {
    "ik_llama.cpp": "ik_llama_cpp",
    "mlx": "mlx",
}  # of rows, by engine; llama.cpp has one for each kind of device


def add(commands: Commands) -> None:
    explain = commands.add_parser(
        "explain", help="measured speeds of a benchmark or a log beside simulated ones, and what explains the difference",
        usage="simmoe explain BENCH [--gpu NAME --host NAME] [--model NAME|FILE]\n"
        "       [--format NAME] [--flags '…'] [--out FILE] [OPTION …]",
        description="Reads what llama-bench, llama-server, vLLM, SGLang, MLX and others print, takes model, format and machine from it as "
        "far as it says them and you do not, plays each row, fits one constant for each kind of row, says which is out of line with other "
        "machines of the engine and what usually is behind that, and which command line is faster.",
    )  # fmt: skip
    explain.add_argument(
        "bench",
        nargs="+",
        metavar="BENCH",
        help="a file with the output, or speeds: tok_s=12.3 (depth=4096 prompt_tok_s=500)",
    )
    for option in (OPTIONS[name] for name in TAKEN):
        text = option.about.help.replace("%", "%%")
        explain.add_argument(option.flag, action="append", metavar=option.about.metavar, help=text)
    explain.add_argument(
        "--out", metavar="FILE", help="write the engine with the fitted constants, a runtime for later runs"
    )
    explain.add_argument("--force", action="store_true", help="overwrite the file of --out")
    explain.add_argument("--json", action="store_true", help="print the result as JSON")
    explain.runs("explain", "explain")


def explain(a: argparse.Namespace) -> None:
    """simmoe explain"""
    from pathlib import Path

    from simmoe.cli.common import print_json
    from simmoe.explain import written
    from simmoe.explain.reading import measured
    from simmoe.explain.told import told
    from simmoe.play.calling import scenario_of
    from simmoe.policies.flags import read
    from simmoe.show import explain as show
    from simmoe.show.screen import Screen
    from simmoe.simulator.errors import UserError
    from simmoe.simulator.files import check_new

    if a.out:
        check_new(a.out, a.bench, a.force)
    elif a.force:
        raise UserError("--force overwrites the file of --out: add --out FILE, or leave it out")
    bench = _bench(a.bench)
    rows, options = measured(bench), options_of(a)
    said = options.pop("flags", None)
    known = told(rows, options, bench)
    if known.missing:
        raise UserError(f"{bench} does not say the whole machine and model; add {', '.join(known.missing)}")
    base = scenario_of({**options, **known.options})
    if "runtime" not in options:
        base = replace(base, runtime=_usual(rows[0].flags.engine, base.machine()))
    if base.runtime == "ideal":
        raise UserError(
            "explain fits the constants of an engine, and ideal has none: name one, such as --runtime llama_cpp_cuda"
        )
    engine = base.engine_of_runtime().engine
    found = show.explained(base, rows, None if said is None else read(engine, said), known.notes)
    if a.out:
        data = written.runtime_file(str(base.runtime), found.fits, bench, base.machine().name, Path(a.out))
        written.write(data, Path(a.out))
    if a.json:
        print_json(show.to_json(found))
        return
    show.show_explained(found, Screen(), a.out)


def _bench(words: list[str]) -> str:
    """One file, or speeds and lengths in several words."""
    from simmoe.simulator.errors import UserError

    if len(words) > 1 and (plain := next((word for word in words if "=" not in word), None)):
        raise UserError(f"{plain!r} stands beside other words: give one file, or speeds such as tok_s=190 depth=4096")
    return " ".join(words)


def _usual(engine: str, machine: Hardware) -> str:
    """The runtime of rows of an engine. Raises UserError where none is bundled."""
    from simmoe.play.usual_runtime import usual_runtime
    from simmoe.simulator.errors import UserError

    if engine != "llama.cpp" and engine not in RUNTIMES:
        raise UserError(
            f"the rows are of {engine}, of which no runtime is usual: name one with --runtime (`simmoe runtime list`)"
        )
    return RUNTIMES.get(engine) or usual_runtime(machine)
