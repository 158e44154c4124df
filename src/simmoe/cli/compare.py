"""simmoe compare: machines side by side."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simmoe.cli.parser import add_options, add_scenario, options_in, options_of
from simmoe.play.scenario import OPTIONS
from simmoe.simulator.errors import UserError
from simmoe.sweeps.comparing import EXTRA

if TYPE_CHECKING:
    from simmoe.cli.parser import Commands

VALUES, BISECTED = 17, 8  # of an axis, about: those of a range, and what lies between two
QUESTION = {name: option for name, option in EXTRA.items() if name != "row"}  # rows are read as commands are


def add(commands: Commands) -> None:
    compare = commands.add_parser(
        "compare", help="machines side by side on the same traces and policies: speed, cost, and where the order changes",
        usage="simmoe compare --hw NAME|FILE[@MODE] … --trace NAME|FILE … [OPTION …]\n"
        "       simmoe compare --gpu NAME … --host NAME … --model NAME|FILE [OPTION …]\n"
        "       simmoe compare --model NAME|FILE --row 'OPTIONS' --row 'OPTIONS' … [OPTION …]",
        description="One row for each combination of --hw (or of --gpu and --host), --trace and --eviction, or for each --row. "
        "With neither --budget nor --memory each machine plays with what it holds. All tokens unless --tokens says otherwise.",
    )  # fmt: skip
    add_scenario(compare, several=True)
    add_options(compare, EXTRA, several=True)
    compare.add_argument_group("output").add_argument("--json", action="store_true", help="print the rows as JSON")
    compare.runs("compare", "compare")


def compare(a: argparse.Namespace) -> None:
    """simmoe compare"""
    from simmoe.cli.common import files_used, print_json
    from simmoe.show.screen import Screen
    from simmoe.sweeps.compare import combined
    from simmoe.sweeps.compare import compare as play
    from simmoe.sweeps.show_comparison import show_comparison

    rows = [options_in(text, "--row") for text in a.row or ()]
    options = options_of(a, several=True)
    _tell(options, rows, a.over or ())
    done = play(**options, **options_of(a, several=True, declared=QUESTION), row=rows)
    if a.json:
        print_json(done.to_json())
        return
    files = dict.fromkeys(file for own in rows or ({},) for file in files_used(combined(options, own)))
    show_comparison(done, list(files), Screen())


def _tell(options: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], axes: Sequence[str]) -> None:
    """How long it will take, of the first row of each trace that stands for all of its rows; axes: along which they are played, too.

    Memory, rates, times and the figures of a machine leave a workload as it is; along any other axis each value makes one.
    """
    from simmoe.cli import patience
    from simmoe.play.calling import scenario_of
    from simmoe.play.traced import traced
    from simmoe.sweeps.compare import combined
    from simmoe.sweeps.over import texts
    from simmoe.sweeps.player import PLAYS

    with suppress(UserError):  # the comparison says it
        several = [combined(options, own) for own in rows or ({},)]
        for number, one in enumerate(several if rows else several[:1], 1):
            counts = [len(value) for name in ("hw", "eviction") if isinstance(value := one.get(name), list)]
            first = {
                name: value[0] if isinstance(value, list) and OPTIONS[name].about.several else value
                for name, value in one.items()
            }
            made, each = math.prod(counts), PLAYS * math.prod(counts)
            along = [texts(axis, number if rows else None) for axis in axes]
            for trace in one["trace"] if isinstance(one.get("trace"), list) else [one.get("trace")]:
                scenario = scenario_of({**first, "trace": trace})
                if scenario.trace is not None:
                    scenario = replace(scenario, trace=traced(scenario.trace, scenario.model))
                others = [
                    (replace(scenario, **at), _often(each, values), _often(made, values))
                    for values in along if values for at in values
                ]  # fmt: skip
                plays = 1 + sum(_values(axis) for axis, values in zip(axes, along, strict=True) if values is None)
                patience.told(scenario, "compare", each * plays, opens=made, others=others)


def _often(each: int, values: Sequence[Any]) -> int:
    """So many times for each value of an axis, and for what is bisected beside it."""
    return each * (len(values) + BISECTED) // len(values)


def _values(axis: str) -> int:
    """How many values of an axis are played, about."""
    said = axis.partition("=")[2]
    return (said.count(",") + 1 if said and ".." not in said else VALUES) + BISECTED
