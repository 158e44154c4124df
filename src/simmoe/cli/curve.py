"""What `simmoe curve` does: curves over every size of the memory for experts, as a table, JSON or a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from simmoe import policies
from simmoe.cli.common import files_used, print_json
from simmoe.cli.parser import options_of
from simmoe.play import curve as curves
from simmoe.play import ladder
from simmoe.play.traced import traced
from simmoe.plots import curve as plots
from simmoe.plots import page
from simmoe.show import curve as show
from simmoe.show.screen import Screen
from simmoe.simulator.files import check_outputs
from simmoe.simulator.naming import named
from simmoe.workloads.format import trace as traces


def curve(a: argparse.Namespace) -> None:
    """simmoe curve"""
    names = policies_of(a.eviction or [",".join(curves.USUAL)])
    a.eviction = None
    options = options_of(a)
    plotly_js = page.plotly_script() if a.html else ""
    check_outputs({"--html": a.html}, [traces.find(options["trace"])] if options.get("trace") else [])
    with_machine = any(name in options for name in ("hw", "gpu", "host"))
    if with_machine and options.get("trace") and "tokens" not in options:
        opened = traced(options["trace"], options.get("model"))
        options["tokens"] = ladder.usual_tokens(opened)
    found = curves.curve(eviction=names, **options)
    if a.html:
        page.write(Path(a.html), plots.page(found.to_json()), plotly_js)
    if a.json:
        print_json(found.to_json())
        return
    show.show_curves(found, files_used({**options, "eviction": names}), Screen())


def policies_of(words: list[str], kind: str = "eviction") -> list[str]:
    """The policies of --eviction lru,lookahead=8,share=20%,belady: what follows a comma is a policy's name, or a number of the policy
    before."""
    found = list[str]()
    for word in words:
        for number, part in enumerate(word.split(",")):
            head = named(part).name
            known = head in policies.names(kind) or Path(head).exists() or "=" not in part
            if number and not known:
                found[-1] += f",{part}"
            else:
                found.append(part)
    return found
