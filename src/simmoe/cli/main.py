"""The command line: argparse only, so that --help starts at once; each command imports what it needs when it runs."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from argparse import SUPPRESS
from collections.abc import Sequence
from typing import TYPE_CHECKING

from simmoe.cli import (
    compare,
    explain,
    offload,
    plan,
    report,
    require,
    sensitivity,
    serve_curve,
    studies,
    trace_import,
    trace_synth,
)
from simmoe.cli.parser import Parser, add_scenario, integer
from simmoe.simulator.errors import UserError
from simmoe.simulator.version import VERSION

if TYPE_CHECKING:
    from simmoe.cli.parser import Commands


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 on success, 1 for what a check found, 2 with one line on standard error for a user's mistake."""
    _open_streams()
    code: int | None = None
    try:
        try:
            arguments, rest = parser().parse_known_args(argv)
            if rest:
                arguments.parser.unknown(rest)
            code = arguments.command(arguments)
        finally:  # --help and --version end in SystemExit, and a full disk is noticed here
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone: nothing is wrong
        _drop_output()
    except KeyboardInterrupt:
        print("simmoe: interrupted", file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        from simmoe.simulator.plain import plain

        if isinstance(error, OSError) and error.filename is None:  # standard output cannot be written to
            _drop_output()
        print(f"simmoe: {plain(str(error))}", file=sys.stderr)
        return 2
    return code or 0


def _drop_output() -> None:
    """What is still to be printed goes nowhere: Python would try again at its end, and fail with a traceback."""
    with contextlib.suppress(OSError):  # a caller's stream has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_streams() -> None:
    """Standard output and error that were closed before the start go nowhere; a character that they cannot show is escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (until the end)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def parser() -> Parser:
    top = Parser(
        prog="simmoe", description="How fast will this Mixture-of-Experts model run on that machine, and what should I change?",
        epilog="Start with: simmoe run --hw jetson_orin.yaml --trace oracle.npz",
    )  # fmt: skip
    top.add_argument("--version", action="version", version=f"simmoe {VERSION}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    plan.add(commands)
    explain.add(commands)
    compare.add(commands)
    require.add(commands)
    sensitivity.add(commands)
    studies.add(commands)
    report.add(commands)
    _add_policies(commands)
    _add_curve(commands)
    serve_curve.add(commands)
    _add_locality(commands)
    _add_trace(commands)
    _add_zoo(commands)
    offload.add(commands)
    _add_model(commands)
    _add_hw(commands)
    _add_runtime(commands)
    _add_system(commands)
    _add_calibrate(commands)
    _add_validate(commands)
    return top


def _add_run(commands: Commands) -> None:
    run = commands.add_parser(
        "run", help="simulate a model or a trace on a machine: speed, where a token's time goes, what would help",
        usage="simmoe run --hw NAME|FILE[@MODE] --trace NAME|FILE [OPTION …]\n"
        "       simmoe run --hw NAME|FILE[@MODE] --model NAME|FILE [OPTION …]\n"
        "       simmoe run --gpu NAME --host NAME --model NAME|FILE [OPTION …]\n       simmoe run FILE.yaml [--json …]",
        description="Plays the passes that a routing trace recorded. With --budget or --memory: one run with that much memory for experts, "
        "all tokens. With neither: a ladder, one row for each of several budgets (12.5 … 100 % of the expert bytes, and what the device "
        "really holds), over all tokens where numba is installed and the trace is short, else over the first 2,048. Without a trace: "
        "routing is drawn in the geometry of --model, for a prompt of 512 tokens and 128 generated ones; one run, in which the device "
        "holds what fits, with the ranges that the drawn routing and the machine's figures leave open.",
    )  # fmt: skip
    run.add_argument(
        "file", nargs="?", metavar="FILE.yaml",
        help="play again, to the byte, what --save wrote. A policy file that it names is Python code and is executed: read it first",
    )  # fmt: skip
    add_scenario(run)
    output = run.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print the result as JSON")
    output.add_argument("--save", metavar="FILE", help="write the scenario, to be played again (docs/scenario.md)")
    output.add_argument("--force", action="store_true", help="overwrite the file of --save")
    one = "(with --budget or --memory)"
    output.add_argument(
        "--band", action="store_true", help=f"how sure tok/s is: the profile's ranges, and other text {one}"
    )
    output.add_argument("--per-token", metavar="FILE", help=f"write one CSV row per forward pass {one}")
    output.add_argument("--perfetto", metavar="FILE", help=f"write a timeline for ui.perfetto.dev {one}")
    run.runs("run", "run")


def _add_policies(commands: Commands) -> None:
    policies = commands.add_parser(
        "policies", help="policies and systems side by side on one trace, and how far each stays from what none can beat",
        usage="simmoe policies --hw NAME|FILE[@MODE] --trace NAME|FILE [--eviction NAME,NAME,…]\n"
        "                       [--prefetch NAME,…] [--miss NAME,…] [--scope SCOPE,…] [--system NAME,…] [OPTION …]\n"
        "       simmoe policies check NAME|FILE",
        description="One row for each combination of the lists; without any: a few eviction policies. The memory for experts is a "
        "quarter of them unless --budget or --memory says otherwise. All rows play the same passes. docs/policies.md says what each policy "
        "does. check: plays an eviction policy, a prefetcher or a miss rule, such as a file of yours, under a referee "
        "(docs/extending/kit.md).",
    )  # fmt: skip
    add_scenario(policies)
    policies.add_argument_group("output").add_argument("--json", action="store_true", help="print the rows as JSON")
    policies.runs("policies", "policies")
    check = policies.add_subparsers(metavar="[check]", required=False, prog="simmoe policies").add_parser("check")
    check.add_argument(
        "policy",
        metavar="NAME|FILE",
        help="an eviction policy, a prefetcher or a miss rule, with what it is told behind its name; a file is executed",
    )
    check.runs("policies_check", "policies")


def _add_curve(commands: Commands) -> None:
    curve = commands.add_parser(
        "curve", help="hit rate, loaded bytes and speed at every size of the memory for experts, beside the bound of all policies",
        usage="simmoe curve --trace NAME|FILE [--model NAME|FILE] [--eviction NAME,NAME,…] [--scope SCOPE]\n"
        "       simmoe curve --trace NAME|FILE --hw NAME|FILE[@MODE] [--eviction NAME,NAME,…] [OPTION …]",
        description="Plays a trace from empty slots at every size. lru and, with experts of one size, belady take one pass for all sizes; "
        "other policies are played at the sizes of the table. Without a machine: hit rates and bytes. With --hw, or --gpu and --host, also "
        "tokens a second. docs/curves.md says what is exact.",
    )  # fmt: skip
    add_scenario(curve)
    output = curve.add_argument_group("output")
    output.add_argument("--html", metavar="FILE", help="also write a page with plots (needs simmoe[sweep])")
    output.add_argument("--json", action="store_true", help="print all curves as JSON")
    curve.runs("curve", "curve")


def _add_locality(commands: Commands) -> None:
    locality = commands.add_parser(
        "locality", help="how local the routing of traces is: switches, reuse, SRP and SCH, balance, predictability",
        description="Measures each trace by itself and shows them side by side; no hardware, model or time is involved. "
        "docs/locality.md defines every row.",
    )  # fmt: skip
    locality.add_argument("trace", nargs="+", metavar="TRACE", help="routing trace: bundled name or npz file")
    locality.add_argument("--html", metavar="FILE", help="also write a page with plots (needs simmoe[sweep])")
    locality.add_argument("--json", action="store_true", help="print all measures as JSON")
    locality.runs("locality", "locality")


def _add_trace(commands: Commands) -> None:
    trace = commands.add_parser("trace", help="make, draw, import, check, describe, cut or join routing traces")
    actions = trace.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="say whether a trace obeys format v1")
    info = actions.add_parser("info", help="describe a trace: shape, phases, reuse, origin")
    for action, name in ((check, "trace_check"), (info, "trace_info")):
        action.add_argument("trace", metavar="NAME|FILE")
        action.runs(name, "trace")
    info.add_argument("--json", action="store_true", help="print the description as JSON")
    make = actions.add_parser(
        "make", help="train a small model on the bundled text and record its routing (needs simmoe[moe])"
    )
    make.add_argument("--router", required=True, metavar="NAME|FILE", help="oracle, switch, … or a router file")
    make.add_argument("--out", metavar="FILE", help="the npz to write (default ROUTER.npz)")
    make.add_argument(
        "--preset",
        metavar="NAME",
        default="9x24",
        help="recipe, MoE layers x experts: 9x24 (default), 2x4, 4x8, 8x16, 12x64 or tiny",
    )
    make.add_argument(
        "--steps", type=integer, metavar="N", help="training steps, warm-up and branch together (default: the preset's)"
    )
    make.add_argument(
        "--seed", type=integer, metavar="N", default=0, help="of all that is drawn in training (default 0)"
    )
    _add_work(make)
    make.runs("trace_make", "zoo")
    trace_import.add(actions)
    trace_synth.add(actions)


def _add_zoo(commands: Commands) -> None:
    zoo = commands.add_parser(
        "zoo", help="the bundled traces and the small models behind them: list them, or train any again"
    )
    actions = zoo.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every trace and model with its router, experts, top-k and quality")
    listing.add_argument("--json", action="store_true", help="print the list as JSON")
    listing.runs("zoo_list", "zoo")
    make = actions.add_parser("make", help="train a model again and record its trace (needs simmoe[moe])")
    make.add_argument("name", nargs="+", metavar="NAME")
    make.add_argument(
        "--out", default=".", metavar="DIR", help="folder for NAME.npz and NAME.training.json (default .)"
    )
    _add_work(make)
    make.runs("zoo_make", "zoo")


def _add_work(parser: Parser) -> None:
    parser.add_argument(
        "--work",
        metavar="DIR",
        default="runs",
        help="folder for checkpoints, from which a stopped training goes on (default runs)",
    )


def _add_model(commands: Commands) -> None:
    model = commands.add_parser("model", help="model shapes: list, show, import from a model's own files")
    actions = model.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the bundled shapes")
    listing.add_argument("--json", action="store_true", help="print the list as JSON")
    listing.runs("model_list", "model")
    show = actions.add_parser(
        "show", help="the layers of a model by kind: what they keep, their experts and their words"
    )
    show.add_argument("name", metavar="NAME|FILE", help="a bundled name, a shape, or what a model is published as")
    show.add_argument(
        "--format", metavar="NAME", help="storage format of the weights (default: stored bytes, else as released)"
    )
    show.add_argument("--json", action="store_true", help="print it as JSON")
    show.runs("model_show", "model")
    load = actions.add_parser(
        "import", help="write a shape from config.json, a GGUF file or model.safetensors.index.json (headers only)"
    )
    load.add_argument("file", metavar="FILE")
    load.add_argument("--out", metavar="FILE", help="the YAML to write (default NAME.yaml)")
    load.add_argument("--name", help="name of the shape (default: from the file)")
    load.add_argument("--force", action="store_true", help="overwrite the output file")
    load.runs("model_import", "model")


def _add_runtime(commands: Commands) -> None:
    runtime = commands.add_parser("runtime", help="engines whose costs a run can have: list them, show their constants")
    actions = runtime.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the bundled runtimes")
    show = actions.add_parser("show", help="every constant of a runtime with kind, range and source")
    show.add_argument("name", metavar="NAME|FILE")
    for one, does in ((listing, "runtime_list"), (show, "runtime_show")):
        one.add_argument("--json", action="store_true", help="print it as JSON")
        one.runs(does, "runtime")


def _add_system(commands: Commands) -> None:
    system = commands.add_parser(
        "system", help="published systems, a runtime and its policies each: list them, show one"
    )
    actions = system.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the bundled systems, and what --system NAME sets")
    show = actions.add_parser("show", help="where a system is described, what it sets, what of it is not simulated")
    show.add_argument("name", metavar="NAME|FILE")
    for one, does in ((listing, "system_list"), (show, "system_show")):
        one.add_argument("--json", action="store_true", help="print it as JSON")
        one.runs(does, "system")


def _add_hw(commands: Commands) -> None:
    hw = commands.add_parser("hw", help="hardware profiles: list, show, check, compare their figures")
    actions = hw.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the bundled machines, or the hosts that a GPU can be put into")
    listing.add_argument("--hosts", action="store_true", help="list the hosts")
    show = actions.add_parser("show", help="every figure of a machine with kind, range and source")
    show.add_argument("name", nargs="?", metavar="NAME|FILE[@MODE]")
    show.add_argument(
        "--gpu", metavar="NAME|FILE[@MODE]", help="in place of a name: the profile whose GPU is put into --host"
    )
    show.add_argument("--host", metavar="NAME|FILE", help="the host; without --gpu its own figures")
    check = actions.add_parser("check", help="say whether a profile is complete, consistent and can be true")
    check.add_argument("name", metavar="NAME|FILE")
    diff = actions.add_parser("diff", help="what differs between two machines, and by how much")
    for which in ("a", "b"):
        diff.add_argument(which, metavar="NAME|FILE[@MODE]")
    detect = actions.add_parser(
        "detect", help="name the parts of this machine, or of another by its reports, and write its profile",
        description="Runs nvidia-smi, rocm-smi, lscpu, dmidecode (as root) and system_profiler, as far as they are there, and reads names, "
        "counts and sizes in their output; nothing leaves the machine. docs/hardware_format.md says what to ask another machine.",
    )  # fmt: skip
    detect.add_argument(
        "--from", dest="from_", nargs="+", metavar="FILE|FOLDER", help="outputs of another machine, under any name"
    )
    compose = actions.add_parser("compose", help="write the profile of a GPU in a host, to change by hand")
    for part in ("gpu", "host"):
        compose.add_argument(part, metavar=part.upper())
    for action, required in ((detect, False), (compose, True)):
        action.add_argument("--out", metavar="FILE", required=required, help="the profile to write")
        action.add_argument("--force", action="store_true", help="overwrite it; write it with what cannot be true")
    compose.runs("hw_compose", "hw_parts")
    for action, name, module in (
        (listing, "hw_list", "hw"), (show, "hw_show", "hw"), (check, "hw_check", "hw"), (diff, "hw_diff", "hw"),
        (detect, "hw_detect", "hw_parts"),
    ):  # fmt: skip
        action.add_argument("--json", action="store_true", help="print the same as JSON")
        action.runs(name, module)


def _add_calibrate(commands: Commands) -> None:
    calibrate = commands.add_parser(
        "calibrate", help="measure this machine and write its profile",
        description="Measures products, copies, the disk and all at once, in less than two minutes, and writes a hardware profile. "
        "docs/calibrate.md says how.",
    )  # fmt: skip
    calibrate.add_argument("--out", metavar="FILE", help="the profile to write (default NAME.yaml)")
    calibrate.add_argument("--name", help="name of the profile (default this_machine, or that of --out)")
    calibrate.add_argument(
        "--force",
        action="store_true",
        help="overwrite the profile; write it beside foreign load, or with what cannot be true",
    )
    calibrate.add_argument("--rows", metavar="FILE", help="write the profile from these rows; measure nothing")
    calibrate.add_argument("--save-rows", metavar="FILE", help="also write what was measured, a JSON object a line")
    calibrate.add_argument("--quick", action="store_true", help="20 seconds in place of two minutes, wider ranges")
    calibrate.add_argument(
        "--device", choices=("cpu", "cuda"), help="what computes (default: cuda where torch sees it)"
    )
    calibrate.add_argument(
        "--home",
        choices=("disk", "memory"),
        help="where experts live that are not resident (default: memory beside a GPU of its own memory, else disk)",
    )
    calibrate.add_argument("--disk", metavar="DIR", help="folder on the disk to measure (default .); left as it was")
    calibrate.add_argument("--observed", nargs="*", help=SUPPRESS)  # of older versions: names the command of today
    calibrate.runs("calibrate", "calibrate")


def _add_validate(commands: Commands) -> None:
    validate = commands.add_parser(
        "validate", help="published measurements against the simulator: predicted, measured, error",
        description="Plays every case of sweeps/validation/cases, or those named: constants are fitted on some rows, the others predicted. "
        "A missed bar is a result: the exit code stays 0. SIMMOE_TRACES names the folder of recorded traces that four cases need. "
        "absolute plays the table of absolute speed, engines on machines that their constants were not fitted on: minutes.",
    )  # fmt: skip
    validate.add_argument(
        "case", nargs="*", metavar="CASE", help="bundled case or YAML file (default: all bundled), or absolute"
    )
    validate.add_argument("--json", action="store_true", help="print the result as JSON")
    validate.add_argument("--write", metavar="FILE", help="write the page, such as docs/validation.md")
    validate.runs("validate", "validate")
