"""The commands that train: `simmoe trace make` for a recipe of one's own, `simmoe zoo` for the bundled models."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from simmoe.show.grid import Column, Grid
from simmoe.show.progress import progress
from simmoe.show.screen import Screen
from simmoe.simulator.errors import Missing
from simmoe.workloads.format import trace as trace_format
from simmoe.workloads.oracle_moe import zoo
from simmoe.workloads.oracle_moe.recipe import choose


def trace_make(a: argparse.Namespace) -> None:
    """simmoe trace make"""
    recipe = choose(a.preset, a.steps, a.seed)
    _make(zoo.Entry(a.router, recipe, a.router, guesses=True), Path(a.out or f"{a.router}.npz"), Path(a.work))


def zoo_make(a: argparse.Namespace) -> None:
    """simmoe zoo make"""
    chosen = [zoo.entry(name) for name in a.name]
    for entry in chosen:
        _make(entry, Path(a.out) / f"{entry.name}.npz", Path(a.work))


def _make(entry: zoo.Entry, out: Path, work_dir: Path) -> None:
    try:
        import tokenizers  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise Missing(f"training needs {error.name}, which is not installed; run: pip install 'simmoe[moe]'") from None
    from simmoe.workloads.oracle_moe.make import make

    with progress() as report:
        made = make(entry, out, work_dir=work_dir, progress=report)
    record = json.loads(out.with_suffix(".training.json").read_text("utf-8"))
    trace = (
        f"{out}: {made.n_tokens:,} tokens, digest {made.meta['digest'][:12]}" if made else f"{entry.name}: no experts"
    )
    Screen().line(f"{trace}, proxy perplexity {record['quality']['proxy_ppl']:.1f}")


def zoo_list(a: argparse.Namespace) -> None:
    """simmoe zoo list"""
    rows = [_row(entry) for entry in zoo.entries().values()]
    if a.json:
        print(json.dumps(rows, indent=1, sort_keys=True))
        return
    out = Screen()
    out.print("the zoo: models trained on the bundled text (proxy = quality of the small model)")
    columns = tuple(
        Column(name.replace("_", " "), rank, name in ("name", "router", "geometry")) for name, rank in RANKS.items()
    )
    cells = (tuple("–" if row[name] is None else str(row[name]) for name in RANKS) for row in rows)
    out.table(Grid(columns, tuple(cells)))


RANKS = {  # of the columns: the last leaves first where a terminal is narrow
    "name": 0, "router": 0, "geometry": 2, "experts": 0, "top_k": 0, "seed": 3, "tokens_trained": 1, "proxy_ppl": 0,
}  # fmt: skip


def _row(entry: zoo.Entry) -> dict[str, str | int | float | None]:
    record = trace_format.BUNDLED / f"{entry.name}.training.json"
    quality = json.loads(record.read_text("utf-8"))["quality"] if record.exists() else {}
    return {
        "name": entry.name,
        "router": entry.router,
        "geometry": entry.recipe.name,
        "experts": entry.recipe.n_experts,
        "top_k": entry.recipe.top_k,
        "seed": entry.recipe.seed,
        "tokens_trained": entry.recipe.steps * entry.recipe.batch * entry.recipe.length,
        "proxy_ppl": quality.get("proxy_ppl"),
    }
