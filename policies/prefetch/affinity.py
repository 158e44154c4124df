"""The experts of the next MoE layer that tokens used most often after those of this one: P(expert of layer l + 1 | expert of layer l).

The inter-layer affinity of ExFlow (Yao et al., "Exploiting Inter-Layer Expert Affinity for Accelerating Mixture-of-Experts Model
Inference", IPDPS 2024, section III), which places experts by it. It is counted in the text behind the colon; without one, in what was
played before the pass. `experts` = how many are guessed; 0 = as many as the layer has just requested.
"""

from __future__ import annotations

import numpy as np

from simmoe.policies.guessing import Followers, best, guessed, joined, passes_of, used
from simmoe.policies.prefetch import Ask
from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.trace import Trace

ARGUMENTS = {"experts": (0, 0, 1_000_000)}
NEEDS = ("passes unless text",)


def wanted(trace: Trace, ask: Ask) -> tuple[Ints, Ints]:
    n, experts, layer = trace.n_experts, int(ask.arguments["experts"]), np.arange(trace.n_layers - 1)
    known = Followers(len(layer), n)
    if ask.text is not None:
        text = ask.text.expert_ids.astype(np.int64)
        known.add(text[:, :-1], text[:, 1:])
    found = []
    for number, ids in enumerate(passes_of(trace)):
        use = used(ids[:, :-1], n)
        many = np.full(len(layer), experts) if experts else np.count_nonzero(use, axis=1)
        found.append(guessed(number * trace.n_layers + layer, layer + 1, best(known.share(use), many), n))
        if ask.text is None:
            known.add(ids[:, :-1], ids[:, 1:])
    return joined(found)
