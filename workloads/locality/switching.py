"""How often the experts change from one token to the next: temporal activation inconsistency.

Oracle-MoE (ICML 2025, PMLR 267): appendix A.3, change of a token = |e_t \\ e_{t-1}|; Table 4, per 100 tokens and layer.
"""

from __future__ import annotations

import numpy as np

from simmoe.workloads.locality.routing import Floats, Routing, also_in

QUARTERS = 4


def inconsistency_per_100(routing: Routing) -> Floats:
    """float64 [layers]: 100 · Σ|e_t \\ e_{t-1}| / Σ|e_t| over neighbours of a stretch; NaN without any.

    With k slots always used that is the changed experts per token / k · 100; with k = 1, switches per 100 pairs.
    """
    pairs = routing.next_pairs()
    before, now = routing.ids[pairs], routing.ids[pairs + 1]
    used = (now >= 0).sum((0, 2))
    changed = used - also_in(now, before).sum((0, 2))
    with np.errstate(invalid="ignore"):
        return np.asarray(100 * changed / used, np.float64)


def by_quarter(per_layer: Floats) -> Floats:
    """float64 [4]: mean over the MoE layers of each quarter (layer i of n is in quarter ⌊4i/n⌋); NaN for an empty one."""
    quarter = np.arange(len(per_layer)) * QUARTERS // len(per_layer)
    means = np.full(QUARTERS, np.nan)
    for q in np.unique(quarter):
        means[q] = per_layer[quarter == q].mean()
    return means
