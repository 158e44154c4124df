"""simmoe require: which machines meet targets, or the least of one quantity with which a machine does."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from simmoe.cli.parser import add_options, options_of
from simmoe.play.scenario import OPTIONS
from simmoe.sweeps.requiring import ASKED, GOODPUT, asked

if TYPE_CHECKING:
    from simmoe.cli.parser import Commands

MACHINE = ("hw", "gpu", "host")
PLAYS = 40  # about, for the least of something
PLAYED = {name: option for name, option in OPTIONS.items() if name not in GOODPUT}


def add(commands: Commands) -> None:
    require = commands.add_parser(
        "require", help="which machines reach a speed, a time to first token, a power, a price; or with how little of one thing",
        usage="simmoe require --model NAME|FILE --tok-s 12 [--ttft 2s] [--power 30W] [--price 2000USD] [OPTION …]\n"
        "       simmoe require --gpu NAME|all … --host NAME|all … --model NAME|FILE --tok-s 12 [OPTION …]\n"
        "       simmoe require --hw NAME|FILE[@MODE] --trace NAME|FILE --tok-s 12 --least budget|memory|FIGURE [OPTION …]",
        description="Plays the options on every bundled machine, or on those that are named. With --least: the smallest budget, memory "
        "or figure of one machine that is enough. docs/require.md says how it is found.",
    )  # fmt: skip
    add_options(require, PLAYED, several=True)
    add_options(require, ASKED)
    output = require.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print the result as JSON")
    require.runs("require", "require")


def require(a: argparse.Namespace) -> None:
    """simmoe require"""
    from simmoe.cli.common import print_json
    from simmoe.show.screen import Screen
    from simmoe.sweeps import require_shown as shown
    from simmoe.sweeps.boxes import machines
    from simmoe.sweeps.least import least
    from simmoe.sweeps.require import boxes_with, one_of
    from simmoe.sweeps.targets import targets_of

    options, question = _options(a), asked(options_of(a, several=True, declared=ASKED))
    targets, names = targets_of(question), machines(options)
    options = {name: value for name, value in options.items() if name not in MACHINE}
    _told(options, names, PLAYS if question.least else 2 * len(names))
    if question.least is None:
        found = boxes_with(targets, names, options, _tick)
        print_json(found.to_json()) if a.json else shown.show_boxes(found, _files(options, names), Screen())
        return
    one = least(targets, question.least, one_of(names, question.least), options)
    print_json(one.to_json()) if a.json else shown.show_least(one, _files(options, names), Screen())


def _options(a: argparse.Namespace) -> dict[str, Any]:
    """The options of a run, machines as lists, the others once. Raises UserError."""
    several = {name: words for name in MACHINE if (words := getattr(a, name))}
    for name in MACHINE:
        setattr(a, name, None)
    return {**options_of(a, declared=PLAYED), **several}


def _told(options: dict[str, Any], names: list[Any], plays: int) -> None:
    """How long it will take, if it does."""
    from contextlib import suppress

    from simmoe.cli import patience
    from simmoe.play.calling import scenario_of
    from simmoe.simulator.errors import UserError

    with suppress(UserError):  # the answer says it
        scenario = scenario_of({**options, "hw": names[0]})
        patience.told(patience.opened(scenario), "require", plays, plays)


def _files(options: dict[str, Any], names: list[Any]) -> list[str]:
    from simmoe.cli.common import files_used

    return files_used({**options, "hw": names})


def _tick(done: int, of: int) -> None:
    """A line now and then."""
    import sys

    if of > 9 and (done % 10 == 0 or done == of):
        print(f"require: {done} of {of} machines", file=sys.stderr, flush=True)
