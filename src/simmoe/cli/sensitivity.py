"""simmoe sensitivity: how much the speed of a run follows each figure and knob, and where two ways of a machine break even."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from simmoe.cli.parser import add_scenario, options_of

if TYPE_CHECKING:
    from simmoe.cli.parser import Commands

PLAYS = 80  # about


def add(commands: Commands) -> None:
    sensitivity = commands.add_parser(
        "sensitivity", help="by how many percent tok/s follows each figure of the machine and each knob, the largest first",
        usage="simmoe sensitivity --hw NAME|FILE[@MODE] --trace NAME|FILE [OPTION …]\n"
        "       simmoe sensitivity --gpu NAME --host NAME --model NAME|FILE [OPTION …]\n"
        "       simmoe sensitivity --map NAME --hw NAME|FILE[@MODE] --trace NAME|FILE [OPTION …]",
        description="Plays a run again with every figure of the machine, every constant of the runtime, and budget, context, batch and "
        "depth a little lower and higher. All tokens unless --tokens says otherwise. docs/sensitivity.md says what the numbers mean.",
    )  # fmt: skip
    add_scenario(sensitivity)
    sensitivity.add_argument(
        "--upgrade", metavar="FIGURE=VALUE[,…]:PRICE", action="append",
        help="a change that you could buy, such as link.bandwidth=7GB/s:150USD: what it gives, and for its price; may be given again",
    )  # fmt: skip
    output = sensitivity.add_argument_group("output")
    output.add_argument(
        "--map", metavar="NAME",
        help="in place of that: where one way overtakes another, over two quantities: copy_or_cpu (a missing expert is copied or computed "
        "by the CPU), cache_or_layers (a cache of experts, or whole layers, in the same memory) or kv_or_experts (the KV cache on the "
        "device, or on the CPU and more experts on the device)",
    )  # fmt: skip
    output.add_argument("--json", action="store_true", help="print the result as JSON")
    sensitivity.runs("sensitivity", "sensitivity")


def sensitivity(a: argparse.Namespace) -> None:
    """simmoe sensitivity"""
    from contextlib import suppress

    from simmoe.cli import patience
    from simmoe.cli.common import files_used, print_json
    from simmoe.play.calling import scenario_of
    from simmoe.show.screen import Screen
    from simmoe.simulator.errors import UserError
    from simmoe.sweeps import break_even
    from simmoe.sweeps.sensitivity import sensitivity as play
    from simmoe.sweeps.sensitivity_shown import show_sensitivity

    options = options_of(a)
    with suppress(UserError):  # the answer says it
        patience.told(patience.opened(scenario_of(options)), "sensitivity", PLAYS)
    if a.map is not None and a.upgrade:
        raise UserError(
            "--upgrade stands beside elasticities, and --map is drawn in their place: leave one of them out"
        )
    if a.map is not None:
        drawn = break_even.break_even(a.map, options)
        print_json(drawn.to_json()) if a.json else break_even.show_map(drawn, files_used(options), Screen())
        return
    found = play(**options, upgrades=a.upgrade or ())
    print_json(found.to_json()) if a.json else show_sensitivity(found, files_used(options), Screen())
