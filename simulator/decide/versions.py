"""Experts in two versions: what is loaded or waits in a pool may be a low copy, the expert in a second, smaller format.

A low copy is an object of its own: that of its expert, plus the number of all experts. So `version_bytes` of a model has the size of both,
by MoE layer: of object o that of number o // experts of a layer.
"""

from __future__ import annotations

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.nouns.decisions import Decisions


def load_objects(requests: Requests, decisions: Decisions) -> Ints:
    """[loads]: what is loaded, an expert or its low copy."""
    obj = requests.obj[decisions.loads]
    return obj + requests.n_objects * low_loads(decisions).astype(np.int64) if len(decisions.low) else obj


def low_loads(decisions: Decisions) -> Ints:
    """int8 [loads]: 1 = a low copy."""
    return np.isin(decisions.loads, decisions.low).astype(np.int8)


def low_hits(decisions: Decisions) -> Ints:
    """Requests that the pool of low copies served without a load."""
    return np.setdiff1d(decisions.low, decisions.loads, assume_unique=True)


def forgotten_bytes(requests: Requests, decisions: Decisions, low_bytes: Ints) -> Ints:
    """int64 [events]: bytes of the low copies that are forgotten with the event; zeros where there is a pool."""
    low = decisions.low[:0] if decisions.pooled else decisions.low
    if not len(low):
        return np.zeros(requests.n_events, np.int64)
    size = low_bytes[requests.obj[low] // (requests.n_objects // len(low_bytes))]
    return np.bincount(requests.event_of_request[low], size, requests.n_events).astype(np.int64)
