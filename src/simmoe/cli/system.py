"""simmoe system: published systems, a runtime and its policies each."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from simmoe.cli.common import print_json


def system_list(a: argparse.Namespace) -> None:
    """simmoe system list"""
    from simmoe.policies import system as systems
    from simmoe.show.grid import Column, Grid
    from simmoe.show.screen import Screen

    known = [systems.load(name) for name in systems.names()]
    if a.json:
        print_json({"schema": 1, "systems": [systems.said(one) for one in known]})
        return
    columns = (Column("name", text=True), Column("sets", text=True, wraps=True))
    Screen().table(Grid(columns, tuple((one.name, _words(one.options)) for one in known)))


def system_show(a: argparse.Namespace) -> None:
    """simmoe system show"""
    from simmoe.play.scenario import OPTIONS
    from simmoe.play.systems import values_of
    from simmoe.policies import system as systems
    from simmoe.show.screen import Screen

    one, out = systems.load(a.name), Screen()
    values_of(a.name, OPTIONS)  # what it names must be options
    if a.json:
        print_json(systems.said(one))
        return
    out.print(f"{one.title} ({one.name})")
    out.print(f"Source: {one.source}.")
    if one.lacks:
        out.print(f"Not simulated: {one.lacks}.")
    out.print(f"--system {a.name} is, where none of these is given:")
    out.command(_words(one.options))


def _words(options: Mapping[str, str]) -> str:
    """Options as the command line has them."""
    return " ".join(f"--{name.replace('_', '-')} {word}" for name, word in options.items())
