"""What `simmoe validate` does: play cases, print a table or JSON, write the page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

ABSOLUTE = "absolute"  # the table of absolute speed, which is no case


def validate(a: argparse.Namespace) -> None:
    """simmoe validate. A missed bar is a result and no error."""
    from simmoe.show.screen import Screen
    from simmoe.simulator.files import atomic, check_outputs
    from simmoe.sweeps.validation import case, report, runner

    if ABSOLUTE in a.case:
        return _absolute(a)
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


def _absolute(a: argparse.Namespace) -> None:
    """simmoe validate absolute"""
    from simmoe.show.screen import Screen
    from simmoe.simulator.errors import UserError
    from simmoe.sweeps.validation.absolute import playing, report, rows

    if len(a.case) > 1 or a.write:
        raise UserError(
            "validate absolute stands alone, and --write writes the whole page: leave the other cases, or --write, out"
        )
    outcomes, known = playing.play_all(rows.read())
    if a.json:
        print(json.dumps(report.to_json(outcomes, known), indent=1, sort_keys=True))
    else:
        report.show(outcomes, known, Screen())
