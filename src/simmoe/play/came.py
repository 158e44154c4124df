"""Which lengths came of a distribution or of a file: what a result says beside what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from simmoe.play import arrival_file
from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.trace import Trace


def came_of(trace: Trace, options: Iterable[str]) -> dict[str, dict[str, float]]:
    """Of the sequences of a trace, by option: mean, p50 and p99 (by nearest rank) and the longest, in tokens."""
    whose = np.unique(trace.sequence, return_inverse=True)[1].reshape(-1)
    answers = np.bincount(whose, weights=trace.decodes).astype(np.int64)
    depths = np.full(len(answers), np.iinfo(np.int64).max)
    np.minimum.at(depths, whose, trace.position)
    each = {"prompt": np.bincount(whose) - answers, "generate": answers, "depth": depths}
    return {name: _spread(each[name]) for name in options}


def _spread(tokens: Ints) -> dict[str, float]:
    ranks = {f"p{p}": int(np.percentile(tokens, p, method="inverted_cdf")) for p in (50, 99)}
    return {"mean": float(tokens.mean()), **ranks, "max": int(tokens.max())}


def came_said(trace: Trace, asked: Mapping[str, str]) -> tuple[str, ...]:
    """The same in a line; none where nothing was asked."""
    said = [
        f"--{name} {arrival_file.named(asked[name])}: mean {one['mean']:,.0f}, p50 {one['p50']:,}, p99 {one['p99']:,}, at most "
        f"{one['max']:,} tokens"
        for name, one in came_of(trace, asked).items()
    ]
    return (f"Each request has its own length. {'; '.join(said)}",) if said else ()
