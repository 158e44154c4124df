"""A prefetcher of any accuracy: each expert that an event will request is guessed `lead` events before, right with that share of chances;
else another expert is guessed in its place, drawn from those that the event does not request. Drawn with the seed of the run.

No machine has it: it reads what will be requested and says what a prefetcher of that accuracy would be worth.
"""

from __future__ import annotations

import numpy as np

from simmoe.policies.guessing import at_lead, in_order, no_text, pass_of
from simmoe.policies.prefetch import Ask
from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.trace import Trace

ARGUMENTS = {"accuracy": (0.8, 0.0, 1.0), "lead": (1, 1, 1024)}
NEEDS = ("future", "passes")


def wanted(trace: Trace, ask: Ask) -> tuple[Ints, Ints]:
    no_text(ask, "dial")
    draw, lead, n = np.random.default_rng(ask.seed), int(ask.arguments["lead"]), trace.n_experts
    every, obj = at_lead(trace, pass_of(trace), trace.expert_ids, np.arange(trace.n_layers), 0)
    wrong = np.flatnonzero(draw.random(len(obj)) >= ask.arguments["accuracy"])
    others = n - np.bincount(every, minlength=trace.n_passes * trace.n_layers)[every[wrong]]
    rank = (draw.random(len(wrong)) * others).astype(np.int64)
    obj[wrong] = np.where(others > 0, _other(every, obj, wrong, rank, n), -1)
    kept = obj >= 0
    return in_order(every[kept] - lead, obj[kept])


def _other(every: Ints, obj: Ints, wrong: Ints, rank: Ints, n: int) -> Ints:
    """For each wrong guess the expert of its layer that stands at `rank` among those that its event does not request."""
    order = np.lexsort((obj, every))
    begin, end = (np.searchsorted(every, every[wrong], side) for side in ("left", "right"))
    asked, found = obj[order] % n, rank.copy()
    for step in range(
        int((end - begin).max(initial=0))
    ):  # every requested number that is not above it moves it on by one
        at = begin + step
        here = at < end
        found[here] += asked[at[here]] <= found[here]
    return found + obj[wrong] // n * n
