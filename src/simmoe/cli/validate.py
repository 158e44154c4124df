"""What `simmoe validate` does: play cases, print a table or JSON, write the page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def validate(a: argparse.Namespace) -> None:
    """simmoe validate. A missed bar is a result and no error."""
    from simmoe.show.screen import Screen
    from simmoe.simulator.files import atomic, check_outputs
    from simmoe.sweeps.validation import case, report, runner

    cases = [case.load(name) for name in a.case or case.names()]  # a typo stops here, before anything is played
    check_outputs({"--write": a.write}, map(case.find, a.case))
    outcomes = [runner.play(one) for one in cases]
    if a.write:
        with atomic(Path(a.write)) as stream:
            stream.write(report.markdown(outcomes))
    if a.json:
        print(json.dumps(report.to_json(outcomes), indent=1, sort_keys=True))
    elif a.write:
        Screen().line(f"wrote {a.write}")
    else:
        report.show_outcomes(outcomes, bool(a.case), Screen())
