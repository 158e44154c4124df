"""simmoe offload: what the offload runtime measures that the simulator cannot say."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simmoe.cli.parser import integer
from simmoe.simulator.errors import Missing, UserError

if TYPE_CHECKING:
    from simmoe.cli.parser import Commands
    from simmoe.workloads.offload.missing import Rule
    from simmoe.workloads.offload.quality import Setting
    from simmoe.workloads.oracle_moe.zoo import Entry

RULES = ("fetch", "drop", "substitute", "cache_aware", "hobbit")
BUDGETS = ("25%", "50%", "75%")


def add(commands: Commands) -> None:
    offload = commands.add_parser("offload", help="the offload runtime: what a miss rule costs in quality, measured")
    actions = offload.add_subparsers(metavar="ACTION", required=True)
    quality = actions.add_parser(
        "quality", help="perplexity of a small model whose missing experts are dropped, replaced or rounded (needs simmoe[moe])",
        usage="simmoe offload quality MODEL … [--rule NAME …] [--budget 25%% …] [OPTION …]",
        description="Trains the models of the zoo anew where --work has no checkpoint of them (docs/bundled_models.md says how long that "
        "takes), plays the text of their traces behind each budget with each rule, and prints perplexity, hits and bytes beside those of "
        "the model with every expert resident. The quality is that of a small model: a proxy.",
    )  # fmt: skip
    quality.add_argument(
        "name",
        nargs="+",
        metavar="MODEL",
        help="of the zoo (`simmoe zoo list`), or tiny, which trains in about a minute",
    )
    quality.add_argument(
        "--rule", action="append", metavar="NAME",
        help=f"miss rule, NAME or NAME=VALUE or a file, may be given again (default {', '.join(RULES)}). A file is Python code and is "
        "executed: read it first",
    )  # fmt: skip
    share = f"share of all experts that is resident, may be given again (default {', '.join(BUDGETS)})"
    quality.add_argument("--budget", action="append", metavar="SHARE", help=share.replace("%", "%%"))
    quality.add_argument(
        "--slots", type=integer, metavar="N", help="the same as a number of experts, in place of --budget"
    )
    quality.add_argument(
        "--eviction", metavar="NAME", default="lru", help="lru (default), fifo, lfu, lfu_resident, random"
    )
    quality.add_argument(
        "--sequences", type=integer, metavar="N", default=49,
        help="how many sequences of the trace's text are played, 2 to 49 (default 49: all)",
    )  # fmt: skip
    quality.add_argument(
        "--low-bits",
        type=integer,
        metavar="N",
        default=4,
        help="bits of a weight in a copy of low precision: 2, 3, 4 (default) or 8",
    )
    quality.add_argument(
        "--work",
        metavar="DIR",
        default="runs",
        help="folder for checkpoints, from which a stopped training goes on (default runs)",
    )
    quality.add_argument(
        "--out", metavar="FILE", help="JSON file into which the results are put, beside those that stand there"
    )
    quality.add_argument("--json", action="store_true", help="print the results as JSON")
    quality.runs("quality", "offload")


def quality(a: argparse.Namespace) -> None:
    """simmoe offload quality"""
    try:
        import tokenizers  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise Missing(
            f"measuring quality needs {error.name}, which is not installed; run: pip install 'simmoe[moe]'"
        ) from None
    from simmoe.cli.common import print_json
    from simmoe.show.grid import Column, Grid
    from simmoe.show.progress import progress
    from simmoe.show.screen import Screen
    from simmoe.workloads.offload import measured
    from simmoe.workloads.offload.quality import entry_of

    chosen = [
        (entry := entry_of(name), _settings(a, entry)) for name in a.name
    ]  # a typo stops here, before anything is trained
    if not 2 <= a.sequences <= min(entry.recipe.trace_sequences for entry, _ in chosen):
        raise UserError(f"--sequences {a.sequences}: give 2 to {chosen[0][0].recipe.trace_sequences}")
    found: list[dict[str, Any]] = []
    with progress() as report:
        for entry, settings in chosen:
            found += _measured(a, entry, settings, report)
    if a.json:
        print_json({"rows": found})
        return
    heading, *cells = measured.table(found)
    columns = tuple(Column(name, rank, name in ("model", "rule")) for rank, name in enumerate(heading))
    Screen().table(Grid(columns, tuple(map(tuple, cells))))


def _measured(a: argparse.Namespace, entry: Entry, settings: list[Setting], report: Any) -> list[dict[str, Any]]:
    """The results of one model; each stands in --out as soon as it is there."""
    from simmoe.workloads.offload import measured, quality

    model, text, found = quality.trained(entry, Path(a.work), report), quality.text_of(entry, a.sequences), []
    for one in quality.measure(model, entry, text, a.eviction, settings, report):
        found.append(one.to_json())
        if a.out:
            measured.write(Path(a.out), found)
    return found


def _settings(a: argparse.Namespace, entry: Entry) -> list[Setting]:
    from simmoe.simulator.naming import named
    from simmoe.workloads.offload.quality import Setting

    if not entry.recipe.moe_layers or entry.router == "dense":
        raise UserError(f"{entry.name} has no experts; `simmoe zoo list` lists models that have")
    experts = len(entry.recipe.moe_layers) * entry.recipe.n_experts
    slots = [a.slots] if a.slots is not None else [_slots(word, experts) for word in a.budget or BUDGETS]
    if min(slots) < 1 or max(slots) > experts:
        raise UserError(
            f"{min(slots) if min(slots) < 1 else max(slots)} experts cannot be resident: {entry.name} has {experts}"
        )
    rules = [(Path(named(word).name).stem, *_rule(word, a.low_bits)) for word in a.rule or RULES]
    return [Setting(name, argument, count, rule) for count in slots for name, argument, rule in rules]


def _rule(word: str, low_bits: int) -> tuple[dict[str, float], Rule]:
    from simmoe import policies
    from simmoe.policies import arguments
    from simmoe.workloads.offload import rounding
    from simmoe.workloads.offload.missing import Rule

    if low_bits not in rounding.BITS:
        raise UserError(f"--low-bits {low_bits}: choose one of {', '.join(map(str, rounding.BITS))}")
    module = policies.load("miss", word)
    numbers = arguments.given("miss", word, module)
    return numbers, Rule(module, arguments.as_whole(numbers), low_bits)


def _slots(word: str, experts: int) -> int:
    """Whole experts within a percentage of all."""
    known = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%", word)
    if known is None:
        raise UserError(f"--budget {word!r} is no share of the experts; write a percentage such as 25%")
    return int(experts * float(known[1]) / 100)
