"""How evenly the experts are used. Load counts tokens, importance sums gate weights (Shazeer et al. 2017, section 4)."""

from __future__ import annotations

import numpy as np

from simmoe.workloads.locality.routing import Floats, Routing


def load(routing: Routing) -> Floats:
    """float64 [layers, experts]: tokens that use each expert."""
    return _sums(routing, None)


def importance(routing: Routing) -> Floats | None:
    """float64 [layers, experts]: sum of gate weights over tokens; None without gate weights."""
    if routing.gate is None:
        return None
    return _sums(routing, routing.gate.astype(np.float64))


def _sums(routing: Routing, weights: Floats | None) -> Floats:
    layers, width = routing.n_layers, routing.n_experts + 1
    keys = np.arange(layers)[None, :, None] * width + routing.ids + 1  # column 0 takes the unused slots
    flat = None if weights is None else weights.ravel()
    sums = np.bincount(keys.ravel(), flat, minlength=layers * width)
    return np.asarray(sums.reshape(layers, width)[:, 1:], np.float64)


def variation(amounts: Floats) -> Floats:
    """float64 [layers]: standard deviation over experts / mean (coefficient of variation); 0 = even, NaN = all zero."""
    with np.errstate(invalid="ignore"):
        return np.asarray(amounts.std(1) / amounts.mean(1), np.float64)


def max_over_mean(amounts: Floats) -> Floats:
    """float64 [layers]: the busiest expert against the fair share; 1 = even."""
    with np.errstate(invalid="ignore"):
        return np.asarray(amounts.max(1) / amounts.mean(1), np.float64)


def entropy(amounts: Floats) -> Floats:
    """float64 [layers]: entropy of the shares / log(experts); 1 = even (also with one expert), NaN = all zero."""
    if amounts.shape[1] == 1:
        return np.ones(len(amounts))
    with np.errstate(invalid="ignore"):
        share = amounts / amounts.sum(1, keepdims=True)
    nats = -(share * np.log(np.where(share > 0, share, 1))).sum(1)
    return np.asarray(nats / np.log(amounts.shape[1]), np.float64)


def sorted_load(amounts: Floats) -> Floats:
    """float64 [experts]: load against the fair share, the busiest expert of each layer first, mean over used layers (NaN without any)."""
    used = amounts[amounts.sum(1) > 0]
    if not len(used):
        return np.full(amounts.shape[1], np.nan)
    return np.asarray(np.sort(used / used.mean(1, keepdims=True), 1)[:, ::-1].mean(0), np.float64)
