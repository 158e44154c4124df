"""Measured quality of miss rules that change the output: the committed results, and what a run may say of its own. No torch here.

`simmoe offload quality` measures (quality.py); docs/offload.md shows these rows as a table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simmoe.simulator.files import atomic
from simmoe.workloads.format.trace import BUNDLED

COMMITTED = Path(__file__).with_name("quality.json")
KEYS = ("model", "rule", "argument", "low_bits", "eviction", "slots", "sequences")  # what tells one row from another
BITS = (2, 3, 4, 8)  # of a weight in a low copy that the runtime makes
Row = Mapping[str, Any]


def rows(path: Path = COMMITTED) -> list[dict[str, Any]]:
    """One for each model, rule and budget; none where nothing was measured yet."""
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    return found


def merged(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """A row that was measured again replaces the old one."""
    found = {json.dumps([row[key] for key in KEYS]): row for row in (*old, *new)}
    return sorted(
        found.values(), key=lambda row: (row["model"], row["slots"], row["rule"], json.dumps(row["argument"]))
    )


def write(path: Path, new: Iterable[Row]) -> None:
    """Into `path`, beside the rows that stand there."""
    kept = merged(rows(path), new)
    with atomic(path) as stream:
        stream.write(
            "\n".join(['{"rows": [', ",\n".join(json.dumps(row, sort_keys=True) for row in kept), "]}"]) + "\n"
        )


def quality(
    meta: Mapping[str, Any], rule: str, argument: Mapping[str, float], eviction: str, slots: int, low_bits: int | None = None
) -> Row | None:  # fmt: skip
    """What was measured on the model that made the trace of this `meta`, from the most text; None where nothing was.

    argument: the numbers that the rule is told, by name. slots: whole experts that fit into the budget, of one cache for all layers.
    low_bits: of the low copies, where the rule asks for some.
    """
    wanted = {
        "recipe_digest": meta.get("recipe_digest"), "rule": rule, "argument": dict(argument), "eviction": eviction, "slots": slots
    }  # fmt: skip
    if low_bits is not None:
        wanted["low_bits"] = low_bits
    found = [row for row in rows() if all(row[key] == value for key, value in wanted.items())]
    return max(found, key=lambda row: row["sequences"], default=None)


def said(
    meta: Mapping[str, Any], rule: str, argument: Mapping[str, float], eviction: str, slots: int, low_bits: int | None = None
) -> str:  # fmt: skip
    """One line beside the speed of a run whose miss rule changes the output."""
    row = quality(meta, rule, argument, eviction, slots, low_bits)
    copies = "" if low_bits is None else f", with copies of {low_bits} bits"
    if row is not None:
        return (
            f"Proxy perplexity {row['proxy_ppl']:.2f} with {rule}, {row['proxy_ppl_resident']:.2f} without: {change(row)}, "
            f"measured on {row['tokens']:,} tokens{copies}"
        )
    model = maker(meta)
    if model is None:
        return "Quality not measured: the offload runtime has no weights of this model; docs/offload.md shows what small models lose"
    bits = "" if low_bits is None else f" --low-bits {low_bits}"
    return f"Quality not measured: simmoe offload quality {model} --rule {told(rule, argument)} --eviction {eviction} --slots {slots}{bits}"


def change(row: Row) -> str:
    """How much larger the perplexity is, in percent, and the standard error of that."""
    return f"{(row['ratio'] - 1) * 100:+.2f} ± {row['ratio_error'] * 100:.2f} %"


def maker(meta: Mapping[str, Any]) -> str | None:
    """The model of the zoo that made the trace of this `meta`."""
    wanted = meta.get("recipe_digest")
    for record in sorted(BUNDLED.glob("*.training.json")) if wanted else ():
        if json.loads(record.read_text("utf-8")).get("recipe_digest") == wanted:
            return record.name.removesuffix(".training.json")
    return None


def told(rule: str, argument: Mapping[str, float]) -> str:
    """A rule with its numbers, as the command line takes it."""
    words = [
        f"{name}={number * 100:g}%" if isinstance(number, float) else f"{name}={number}"
        for name, number in argument.items()
    ]
    return "=".join([rule, *([",".join(words)] if words else [])])


def table(found: Sequence[Row]) -> list[list[str]]:
    """Heading and cells."""
    heading = [
        "model",
        "experts resident",
        "rule",
        "proxy ppl",
        "change",
        "hits",
        "stand-ins",
        "dropped",
        "low",
        "MB loaded",
    ]
    return [heading, *(_cells(row) for row in found)]


def _cells(row: Row) -> list[str]:
    def share(key: str) -> str:
        return f"{row[key] / row['requests'] * 100:.1f} %" if row[key] else "–"

    bits = f", {row['low_bits']} bits" if row["low_bits"] else ""
    return [
        row["model"], f"{row['slots']} of {row['experts']}", told(row["rule"], row["argument"]) + bits,
        f"{row['proxy_ppl']:.2f}", change(row), share("hits"),
        share("substituted"), share("dropped"), share("low"), f"{row['bytes'] / 1e6:,.0f}",
    ]  # fmt: skip
