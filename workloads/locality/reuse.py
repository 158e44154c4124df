"""P(an expert of a token is used again by the next token), against what chance and popularity alone would give."""

from __future__ import annotations

import numpy as np

from simmoe.workloads.locality.balance import load
from simmoe.workloads.locality.routing import Floats, Routing, also_in


def at_next_token(routing: Routing) -> Floats:
    """float64 [layers]: Σ|e_t ∩ e_{t+1}| / Σ|e_t| over neighbours of a stretch; NaN without any."""
    pairs = routing.next_pairs()
    now, then = routing.ids[pairs], routing.ids[pairs + 1]
    with np.errstate(invalid="ignore"):
        return np.asarray(also_in(now, then).sum((0, 2)) / (now >= 0).sum((0, 2)), np.float64)


def by_chance(routing: Routing) -> Floats:
    """float64 [layers]: the same if each token drew its experts evenly: (mean experts per token)/E, k/E if all slots are used."""
    return np.asarray(load(routing).sum(1) / len(routing.ids) / routing.n_experts, np.float64)


def by_popularity(routing: Routing) -> Floats:
    """float64 [layers]: the same between two random tokens of the trace: Σ f² / Σ f, f = share of tokens using an expert.

    For k = 1 that is Σp². What reuse exceeds it by is due to the order of the tokens.
    """
    f = load(routing) / len(routing.ids)
    with np.errstate(invalid="ignore"):
        return np.asarray((f**2).sum(1) / f.sum(1), np.float64)
