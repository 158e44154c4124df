"""The path of a whole token is predicted before it starts, and corrected at every layer by what the layer before really used.

As ExpertFlow does (He et al., "ExpertFlow: Optimized Expert Activation and Token Allocation for Efficient Mixture-of-Experts Inference",
arXiv 2410.17954, 2024, sections 3 and 4). Its predictor is a trained network; here counts stand in its place: what tokens used after a
token that used the experts that the sequence's last token used in the layer; the correction adds what tokens used after the experts of
the layer before. Both are counted in the text behind the colon; without one, in what was played before the pass. A path is loaded
`lead` events ahead, from the end of the pass before on; a correction while the layer before computes.
"""

from __future__ import annotations

import numpy as np

from simmoe.policies.guessing import Followers, best, guessed, joined, passes_of, rows_before, rows_that_follow, used
from simmoe.policies.prefetch import Ask
from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.trace import Trace

ARGUMENTS = {"lead": (2, 1, 1024), "experts": (0, 0, 1_000_000)}
NEEDS = ("passes",)


def wanted(trace: Trace, ask: Ask) -> tuple[Ints, Ints]:
    n, layers, experts = trace.n_experts, trace.n_layers, int(ask.arguments["experts"])
    next_token, next_layer = Followers(layers, n), Followers(layers - 1, n)
    if ask.text is not None:
        _learn(next_token, next_layer, ask.text)
    (before, rows), (one, other) = rows_before(trace), rows_that_follow(trace)
    ends, pairs = np.searchsorted(before, np.arange(trace.n_passes + 1)), np.searchsorted(other, trace.pass_ptr)
    layer, found, every = np.arange(layers), [], trace.expert_ids.astype(np.int64)
    for number, ids in enumerate(passes_of(trace)):
        last = every[rows[ends[number] : ends[number + 1]]]
        path, use = used(last, n), used(ids, n)
        said = next_token.share(path)
        begins = np.maximum(number * layers + layer - int(ask.arguments["lead"]), number * layers - 1)
        found.append(guessed(begins, layer, best(said, _many(path, experts)), n))
        corrected = said[1:] + next_layer.share(use[:-1])
        found.append(guessed(number * layers + layer[:-1], layer[1:], best(corrected, _many(use[:-1], experts)), n))
        if ask.text is None:
            next_layer.add(ids[:, :-1], ids[:, 1:])
            mine = slice(pairs[number], pairs[number + 1])
            next_token.add(every[one[mine]], every[other[mine]])
    return joined(found)


def _many(use: Ints, experts: int) -> Ints:
    """How many experts are guessed of each layer: so many, or as many as were used."""
    return np.full(len(use), experts) if experts else np.count_nonzero(use, axis=1)


def _learn(next_token: Followers, next_layer: Followers, text: Trace) -> None:
    ids, (one, other) = text.expert_ids.astype(np.int64), rows_that_follow(text)
    next_token.add(ids[one], ids[other])
    next_layer.add(ids[:, :-1], ids[:, 1:])
