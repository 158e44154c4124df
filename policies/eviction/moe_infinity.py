"""MoE-Infinity's activation-aware expert cache (Xue et al., arXiv 2401.14361, 2024, section on expert caching).

The victim has the least (share + epsilon) * (1 - layer / layers): `share` is the part of its layer's activations in the sequence at hand
that went to the expert, and early layers, whose experts a prefetcher foresees least, weigh more. Ties go to the oldest stamp. Each token
slot whose expert is resident at the end of its event is an activation; they are counted anew when a pass brings a new sequence. Layers
are those of the scope group, epsilon is 2**-20, and shares are rounded down to multiples of about 2**-44.

A share falls as others of its layer are used, so no order can be kept: a victim is searched among all residents, in time that grows
with their number.
"""

from typing import Any, NamedTuple

import numpy as np

from simmoe.policies.lists import drop, push, rings

NEEDS = ("layer", "sequence")
ONE, EPSILON = 1 << 44, 1 << 24
FIRST, SEQUENCE = 0, 1  # first layer of the group, sequences that have entered so far


class State(NamedTuple):
    """One ring of residents, the oldest stamp first, and the activations in the sequence at hand."""

    older: Any
    newer: Any
    count: Any  # [objects]
    total: Any  # [layers] of the group
    worth: Any  # [layers] of one activation
    v: Any  # FIRST, SEQUENCE


def init(n_objects, capacity_bytes, x):
    first = int(x.layer.min())
    total, worth = (np.zeros(int(x.layer.max()) - first + 1, np.int64) for _ in range(2))
    older, newer = rings(n_objects, 1)
    return State(older, newer, np.zeros(n_objects, np.int64), total, worth, np.array([first, 0]))


def begin(s, event, x):
    """With a new sequence nothing has been activated."""
    if s.v[SEQUENCE] != x.sequence[event]:
        s.v[SEQUENCE] = x.sequence[event]
        for o in range(len(s.count)):
            s.count[o] = 0
        for layer in range(len(s.total)):
            s.total[layer] = 0
            s.worth[layer] = 0


def miss(s, o, event, x):
    begin(s, event, x)


def insert(s, o, event, x):
    push(s.older, s.newer, len(s.count), o)


def use(s, o, event, x):
    begin(s, event, x)
    layer = x.layer[o] - s.v[FIRST]
    s.count[o] += 1
    s.total[layer] += 1
    s.worth[layer] = ONE * (len(s.total) - layer) // s.total[layer]
    drop(s.older, s.newer, o)
    push(s.older, s.newer, len(s.count), o)


def victim(s, free, event, x):
    layers, end, best, least = len(s.total), len(s.count), -1, 0
    o = s.newer[end]
    while o != end:
        layer = x.layer[o] - s.v[FIRST]
        score = s.count[o] * s.worth[layer] + EPSILON * (layers - layer)
        if free[o] and (best < 0 or score < least):
            best, least = o, score
        o = s.newer[o]
    return best


def remove(s, o, event, x):
    drop(s.older, s.newer, o)
