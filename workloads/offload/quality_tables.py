"""The tables of measured quality in docs/offload.md and docs/policies.md, made from the committed results.

    python -m simmoe.workloads.offload.quality_tables docs/offload.md docs/policies.md

puts each behind its marker. A test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from simmoe.simulator.files import atomic
from simmoe.workloads.offload.measured import Row, change, rows, table, told
from simmoe.workloads.oracle_moe.zoo_tables import filled


def tables(found: Sequence[Row]) -> dict[str, str]:
    """Every Markdown table by name: all results, and a row for each rule where half of the experts are resident."""
    return {"quality": _markdown(table(found)), "quality-at-half": _markdown(_at_half(found))}


def _at_half(found: Sequence[Row]) -> list[list[str]]:
    half = [row for row in found if 2 * row["slots"] == row["experts"]]
    models = list(dict.fromkeys(row["model"] for row in half))
    cells: dict[str, dict[str, str]] = {}
    for row in half:
        bits = f", {row['low_bits']} bits" if row["low_bits"] else ""
        cells.setdefault(told(row["rule"], row["argument"]) + bits, {})[row["model"]] = change(row)
    return [["rule", *models], *([rule, *(mine.get(model, "–") for model in models)] for rule, mine in cells.items())]


def _markdown(found: Sequence[Sequence[str]]) -> str:
    lines = [found[0], ["---"] * len(found[0]), *found[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        page = filled(path.read_text("utf-8"), tables(rows()))
        with atomic(path) as stream:
            stream.write(page)
