"""What `simmoe locality` does: one call of the public API for each trace, then a table, JSON or a page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def locality(a: argparse.Namespace) -> None:
    """simmoe locality"""
    from simmoe.plots import locality as plots
    from simmoe.plots import page
    from simmoe.show.grid import Column, Grid
    from simmoe.show.screen import Screen
    from simmoe.simulator.files import check_outputs
    from simmoe.workloads import locality as measures
    from simmoe.workloads.format import trace as traces
    from simmoe.workloads.locality import report

    plotly_js = page.plotly_script() if a.html else ""
    files = [traces.find(name) for name in a.trace]
    check_outputs({"--html": a.html}, files)
    named = [(file.stem, measures.locality(file)) for file in files]
    if a.html:
        page.write(Path(a.html), plots.page(named), plotly_js)
    if a.json:
        print(json.dumps({"traces": [{"name": name, **found} for name, found in named]}, indent=1, sort_keys=True))
        return
    own = [str(file) for file in files if file.parent != traces.BUNDLED]
    out = Screen()
    out.print(report.measured(named), lead="Measured")
    for line in report.heading(named, own):
        out.print(line)
    columns = (Column("", text=True), *(Column(name) for name, _ in named))
    out.table(Grid(columns, tuple((label, *cells) for label, cells in report.rows(named)), stacked=True))
    for line in report.notes(named):
        out.print(line)
