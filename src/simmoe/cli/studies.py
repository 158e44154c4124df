"""simmoe sweep, simmoe sweep worker, simmoe dashboard: the commands that make a study, join it and look at it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from simmoe.cli.parser import Parser, integer

if TYPE_CHECKING:
    from simmoe.cli.parser import Commands

PORT = 8080  # of the dashboard, unless told


def add(commands: Commands) -> None:
    sweep = commands.add_parser(
        "sweep", help="search a space of machines, traces, policies and budgets; print the Pareto front",
        usage="simmoe sweep SPACE [--study FILE | --storage URL [--study NAME]] [OPTION …]\n"
        "       simmoe sweep worker --storage URL --study NAME",
        description="A trial is one scenario of SPACE, played. Plays as many as --trials says, then prints those that no other one "
        "beats in all objectives of the space (the Pareto front), each with its command. With --study, a sweep that was stopped or killed "
        "goes on where it was. With --storage, several processes and machines play one study (docs/scale.md).",
    )  # fmt: skip
    sweep.add_argument(
        "space", metavar="SPACE",
        help="search space: YAML file or bundled name (mission, oracle_vs_switch, experts_on_the_cpu). A policy or metric file that "
        "it names is Python code and is executed: read it first",
    )  # fmt: skip
    sweep.add_argument(
        "--study", metavar="FILE|NAME",
        help="journal that keeps every finished trial (default: none); one that is in use is waited for. With --storage the "
        "study's name (default: that of the space)",
    )  # fmt: skip
    _add_shared(sweep)
    sweep.add_argument(
        "--trials", type=integer, metavar="N", help="finished trials in all (default 100; grid: the whole space)"
    )
    sweep.add_argument(
        "--sampler", metavar="NAME", default="nsga2",
        help="which scenarios are tried: nsga2 (default), nsga3, tpe, gp, random, qmc or grid (all)",
    )  # fmt: skip
    sweep.add_argument(
        "--seed", type=integer, metavar="N", default=0, help="the same seed gives the same trials (default 0)"
    )
    sweep.add_argument(
        "--top", type=integer, metavar="N", help="rows of each front, spread evenly over it (default 12)"
    )
    sweep.add_argument("--json", action="store_true", help="print all trials and the fronts as JSON")
    sweep.runs("sweep", "sweep")
    sweep.inner["worker"] = _worker()
    _add_dashboard(commands)


def _worker() -> Parser:
    worker = Parser(
        prog="simmoe sweep worker",
        description="Plays trials of a study that `simmoe sweep SPACE --storage URL` has made, until it holds as many as that asked for. "
        "May be started on any machine that reaches the database, as often as it has cores, and killed at any time. The space is kept in "
        "the study; a policy or metric file that it names is Python code and is executed, and must be the same here.",
    )  # fmt: skip
    worker.add_argument("--study", metavar="NAME", help="the study's name (default: the only one in the database)")
    _add_shared(worker, required=True)
    worker.runs("worker", "studies")
    return worker


def _add_shared(parser: Parser, required: bool = False) -> None:
    parser.add_argument(
        "--storage", metavar="URL", required=required,
        help="database that keeps the study: sqlite:///FILE.db, or postgresql://USER@HOST/DATABASE (needs simmoe[postgres])",
    )  # fmt: skip
    parser.add_argument(
        "--heartbeat", type=integer, metavar="S",
        help="seconds between two signs of life of a process that plays a trial; without three of them the trial is played by another "
        "(default 10)",
    )  # fmt: skip


def _add_dashboard(commands: Commands) -> None:
    dashboard = commands.add_parser(
        "dashboard", help="look at a study in a browser while it is played (needs simmoe[sweep])",
        description="Serves optuna-dashboard on a study, on this machine only and for reading only, until Ctrl-C.",
    )  # fmt: skip
    dashboard.add_argument(
        "study",
        nargs="?",
        metavar="STUDY",
        help="journal of a sweep or, with --storage, name of a study (default: all)",
    )
    dashboard.add_argument("--storage", metavar="URL", help="database that keeps the study")
    dashboard.add_argument(
        "--port", type=integer, metavar="N", default=PORT, help=f"port on 127.0.0.1 (default {PORT}; 0: a free one)"
    )
    dashboard.runs("dashboard", "studies")


def worker(a: argparse.Namespace) -> None:
    """simmoe sweep worker"""
    from simmoe.cli.progress import progress
    from simmoe.show.screen import Screen
    from simmoe.sweeps.database import HEARTBEAT_S
    from simmoe.sweeps.worker import worker as play

    with progress("worker") as tick:
        done = play(a.storage, a.study, report=tick, heartbeat_s=HEARTBEAT_S if a.heartbeat is None else a.heartbeat)
    Screen().print(f"{done.played:,} trials of {done.study} played here; the study has {done.finished:,}")


def dashboard(a: argparse.Namespace) -> None:
    """simmoe dashboard"""
    from simmoe.show.screen import Screen
    from simmoe.sweeps.dashboard import serve

    out = Screen()
    serve(a.study, a.storage, a.port, lambda address: out.line(f"{address} shows the study; Ctrl-C ends it"))
    out.line("The dashboard has ended.")
