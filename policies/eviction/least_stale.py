"""Least-Stale (Hoang, Jaiswal, Samragh and Cho, SpecMD, arXiv 2602.03921, 2026): what this pass has not used leaves first.

Within a forward pass the layers are computed in order, so what a pass has used comes back in the next pass at the earliest, and early
layers before late ones. An expert that the pass has neither used nor loaded is stale: its use lies in a pass before. The victim is the
stale resident that became so first (by pass, then in the order of its first use or load in that pass); without one, the first of those
that this pass has used or loaded. A prefetch counts as a load. A pass begins where the layer of the events does not rise.
"""

import numpy as np

from simmoe.policies.lists import drop, oldest_free, push, rings

NEEDS = ("layer",)
PASS, LAYER, EVENT = 0, 1, 2
STALE, RECENT = 0, 1


def init(n_objects, capacity_bytes, x):
    """Two rings; the pass that used or loaded each object last; number of this pass, its layer and its event so far."""
    return (*rings(n_objects, 2), np.full(n_objects, -1), np.array([0, -1, -1]))


def begin(s, o, event, x):
    """In the first event of a pass, what was fresh becomes stale, behind what is stale already."""
    older, newer, v = s[0], s[1], s[3]
    stale, fresh = len(s[2]) + STALE, len(s[2]) + RECENT
    if v[EVENT] != event and x.layer[o] <= v[LAYER]:
        v[PASS] += 1
        first, last, end = newer[fresh], older[fresh], older[stale]
        if first != fresh:
            newer[end] = first
            older[first] = end
            newer[last] = stale
            older[stale] = last
            newer[fresh] = fresh
            older[fresh] = fresh
    v[LAYER] = x.layer[o]
    v[EVENT] = event


def miss(s, o, event, x):
    begin(s, o, event, x)


def insert(s, o, event, x):
    s[2][o] = s[3][PASS]
    push(s[0], s[1], len(s[2]) + RECENT, o)


def use(s, o, event, x):
    begin(s, o, event, x)
    if s[2][o] != s[3][PASS]:
        s[2][o] = s[3][PASS]
        drop(s[0], s[1], o)
        push(s[0], s[1], len(s[2]) + RECENT, o)


def victim(s, free, event, x):
    o = oldest_free(s[1], len(s[2]) + STALE, free)
    if o < 0:
        o = oldest_free(s[1], len(s[2]) + RECENT, free)
    return o


def remove(s, o, event, x):
    drop(s[0], s[1], o)
