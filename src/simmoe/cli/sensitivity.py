"""simmoe sensitivity: how much the speed of a run follows each figure and knob, and where two ways of a machine break even."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from simmoe.cli.parser import add_scenario, options_of

if TYPE_CHECKING:
    from simmoe.cli.parser import Commands


def add(commands: Commands) -> None:
    sensitivity = commands.add_parser(
        "sensitivity", help="by how many percent tok/s follows each figure of the machine and each knob, the largest first",
        usage="simmoe sensitivity --hw NAME|FILE[@MODE] --trace NAME|FILE [OPTION …]\n"
        "       simmoe sensitivity --gpu NAME --host NAME --model NAME|FILE [OPTION …]",
        description="Plays a run again with every figure of the machine, every constant of the runtime, and budget, context, batch and "
        "depth a little lower and higher. All tokens unless --tokens says otherwise. docs/sensitivity.md says what the numbers mean.",
    )  # fmt: skip
    add_scenario(sensitivity)
    output = sensitivity.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print the result as JSON")
    sensitivity.runs("sensitivity", "sensitivity")


def sensitivity(a: argparse.Namespace) -> None:
    """simmoe sensitivity"""
    from simmoe.cli.common import files_used, print_json
    from simmoe.show.screen import Screen
    from simmoe.sweeps.sensitivity import sensitivity as play
    from simmoe.sweeps.sensitivity_shown import show_sensitivity

    options = options_of(a)
    found = play(**options)
    if a.json:
        print_json(found.to_json())
    else:
        show_sensitivity(found, files_used(options), Screen())
