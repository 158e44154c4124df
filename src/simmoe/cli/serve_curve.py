"""simmoe serve-curve: the rate of requests that a box holds for a time to first token and a time per output token."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from simmoe.cli.parser import add_scenario, options_of

if TYPE_CHECKING:
    from simmoe.cli.parser import Commands


def add(commands: Commands) -> None:
    serve_curve = commands.add_parser(
        "serve-curve", help="the rate of requests that a machine holds for a TTFT and a TPOT, for each budget",
        usage="simmoe serve-curve --hw NAME|FILE[@MODE] --trace NAME|FILE --ttft TIME --tpot TIME [--budget SIZE,…] [OPTION …]\n"
        "       simmoe serve-curve --hw NAME|FILE[@MODE] --model NAME|FILE --prompt N --generate N --requests N --ttft TIME [OPTION …]",
        description="Plays the requests at rates around the one at which the machine serves them when all come at once, and bisects to 1 % "
        "where they cease to meet --ttft and --tpot; then so, to 5 %, with all figures at their slow and at their fast "
        "end. --budget takes several; with neither it nor --memory: 25, 50, 75 and 100 % of the experts, as far as they fit. "
        "The schedule is continuous unless --schedule names another. docs/goodput.md says what is held.",
    )  # fmt: skip
    add_scenario(serve_curve)
    output = serve_curve.add_argument_group("output")
    output.add_argument(
        "--share",
        metavar="PERCENT",
        default="90%",
        help="how many of the requests meet the targets at a rate that is held (default 90%%)",
    )
    output.add_argument("--html", metavar="FILE", help="also write a page with plots (needs simmoe[sweep])")
    output.add_argument("--json", action="store_true", help="print all rates as JSON")
    serve_curve.runs("serve_curve", "serve_curve")


def serve_curve(a: argparse.Namespace) -> None:
    """simmoe serve-curve"""
    from pathlib import Path

    from simmoe.cli import patience
    from simmoe.cli.common import files_used, print_json
    from simmoe.play import inputs
    from simmoe.play.scenario import OPTIONS
    from simmoe.plots import page
    from simmoe.plots import serve_curve as plots
    from simmoe.show.screen import Screen
    from simmoe.simulator.files import check_outputs
    from simmoe.sweeps import serve_curve_shown as shown
    from simmoe.sweeps.serve_curve import RUNS, scenario_of_curve, tried_budgets
    from simmoe.sweeps.serve_curve import serve_curve as play

    budgets = [one for word in a.budget or () for one in word.split(",")]
    a.budget = None
    options = options_of(a)
    plotly_js = page.plotly_script() if a.html else ""
    check_outputs({"--html": a.html}, inputs.files(OPTIONS, options))
    scenario = scenario_of_curve(options)
    rows = len(budgets or tried_budgets(scenario)) or 1
    patience.told(patience.opened(scenario), "serve-curve", RUNS * rows, opens=1)
    found = play(budgets=[OPTIONS["budget"].parsed(one) for one in budgets], share=a.share, report=_tick, **options)
    if a.html:
        page.write(Path(a.html), plots.page(found.to_json()), plotly_js)
    if a.json:
        print_json(found.to_json())
        return
    shown.show_serve_curve(found, files_used(options), Screen())


def _tick(label: str, played: int) -> None:
    """A line now and then."""
    if played % 5 == 0:
        print(f"serve-curve: {label}: {played} rates played", file=sys.stderr, flush=True)
