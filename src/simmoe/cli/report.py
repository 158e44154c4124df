"""simmoe report: a study or a result as one page of figures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simmoe.cli.parser import Commands


def add(commands: Commands) -> None:
    report = commands.add_parser(
        "report", help="a study or a result as one page of figures, to read without a network",
        usage="simmoe report STUDY|RESULT.json --out FILE.html [--scenario FILE.yaml] [--name STUDY]",
        description="Writes one HTML file that holds all it needs: Pareto fronts, all axes at once, importances and curves of a study; "
        "where a token's time goes and which experts are resident in a run; machines side by side; curves. docs/reports.md describes it.",
    )  # fmt: skip
    report.add_argument(
        "source",
        metavar="STUDY|RESULT.json",
        help="a study of `simmoe sweep --study`, or what --json of run, compare, sweep, curve, serve-curve or locality printed",
    )
    report.add_argument("--out", metavar="FILE", required=True, help="the page to write, such as report.html")
    report.add_argument(
        "--scenario", metavar="FILE", help="of a run: the file that --save wrote, where its inputs are files of yours"
    )
    report.add_argument("--name", metavar="STUDY", help="of a database that holds several studies: which one")
    report.add_argument("--force", action="store_true", help="overwrite the page")
    report.runs("report", "report")


def report(a: argparse.Namespace) -> None:
    """simmoe report"""
    from simmoe.sweeps.reports.written import report as write

    write(a.source, a.out, scenario=a.scenario, name=a.name, force=a.force)
