"""simmoe plan: the fastest command lines of an engine for a model on a machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from simmoe.cli.parser import options_of
from simmoe.play.plan_setup import CONTEXT, TAKEN
from simmoe.play.scenario import OPTIONS

if TYPE_CHECKING:
    from simmoe.cli.parser import Commands


def add(commands: Commands) -> None:
    plan = commands.add_parser(
        "plan", help="the fastest command lines of an engine for a model on a machine, to paste",
        usage="simmoe plan MODEL --gpu NAME --host NAME [--context 64k] [--goal decode|prompt|both] [OPTION …]",
        description="Searches what llama.cpp, ik_llama.cpp, KTransformers, vLLM or SGLang let one set (what is not on the card, tokens per "
        "pass, op offload, the format of the KV cache), plays what fits, and prints the best three: speed with what machine and engine "
        "leave open, memory left, what bounds each, and what more memory or a faster part would give.",
    )  # fmt: skip
    plan.add_argument("name", metavar="MODEL", help=OPTIONS["model"].about.help.partition(" (default")[0])
    for option in (OPTIONS[name] for name in TAKEN):
        default = {"runtime": " (default: llama.cpp of the device's maker)", "context": f" (default {CONTEXT:,})"}.get(
            option.name, ""
        )
        text = option.about.help.partition(" (default" if default else "\0")[0] + default
        plan.add_argument(option.flag, action="append", metavar=option.about.metavar, help=text.replace("%", "%%"))
    plan.add_argument(
        "--goal", metavar="NAME", default="both",
        help="what is best: decode (most tok/s), prompt (most tokens/s of a prompt of 4,096) or both (least time for 4,096 tokens in and "
        "512 out, default)",
    )  # fmt: skip
    plan.add_argument("--json", action="store_true", help="print the result as JSON")
    plan.runs("plan", "plan")


def plan(a: argparse.Namespace) -> None:
    """simmoe plan"""
    from simmoe.cli.common import print_json
    from simmoe.play.planning import planned
    from simmoe.show.plan import show_plan
    from simmoe.show.screen import Screen

    found = planned({**options_of(a), "model": a.name}, a.goal)
    print_json(found.to_json()) if a.json else show_plan(found, Screen())
