"""simmoe policies: policies side by side on one trace, and the check of a policy of one's own."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod
from typing import Any

from simmoe.cli import patience
from simmoe.cli.common import files_used, print_json
from simmoe.cli.curve import policies_of
from simmoe.cli.parser import options_of
from simmoe.kit import check_kit
from simmoe.play import ladder
from simmoe.play.calling import scenario_of
from simmoe.play.gaps import BOUNDS
from simmoe.play.policy_table import AXES, USUAL, compare_policies
from simmoe.play.scenario import OPTIONS
from simmoe.play.traced import traced
from simmoe.show.policies import show_policies
from simmoe.show.progress import stages
from simmoe.show.screen import Screen
from simmoe.simulator.errors import UserError


def policies(a: argparse.Namespace) -> None:
    """simmoe policies"""
    several = {name: _several(name, words) for name in AXES if (words := getattr(a, name))}
    for name in AXES:
        setattr(a, name, None)
    options = options_of(a)
    if options.get("trace") and "tokens" not in options:
        options["tokens"] = ladder.usual_tokens(traced(options["trace"], options.get("model")))
    _told(options, several)
    with stages() as say:
        found = compare_policies(
            **{**options, **several}, report=lambda label, done, of: say(f"policies: {label}", done, of)
        )
    if a.json:
        print_json(found.to_json())
        return
    show_policies(found, files_used({**options, **several}), Screen())


def _several(name: str, words: list[str]) -> list[object]:
    """The values of --prefetch none,next_layer, or of the option given several times."""
    option = OPTIONS[name]
    parts = (
        policies_of(words, name)
        if option.is_policy and name != "scope"
        else [part for word in words for part in word.split(",")]
    )
    return list(dict.fromkeys(option.parsed(part) for part in parts))


def _told(options: Mapping[str, Any], several: Mapping[str, Sequence[object]]) -> None:
    """How long it will take, if it does."""
    with suppress(UserError):  # the rows say it
        scenario = scenario_of({**options, **{name: values[0] for name, values in several.items()}})
        if scenario.trace is not None:
            scenario = replace(scenario, trace=traced(scenario.trace, scenario.model))
        rows = prod(map(len, several.values())) if several else len(USUAL)
        patience.told(scenario, "policies", 3 * rows + len(BOUNDS))


def policies_check(a: argparse.Namespace) -> None:
    """simmoe policies check"""
    screen = Screen()
    with stages() as say:
        lines = check_kit(a.policy, say=say)
    for line in lines:
        screen.line(line)
