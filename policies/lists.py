"""Intrusive doubly linked rings in two flat arrays: older[o] and newer[o] run from a sentinel through its members and back."""

import numpy as np


def rings(n_objects, n_rings):
    """older, newer for `n_rings` empty rings; the sentinel of ring r is n_objects + r."""
    return np.arange(n_objects + n_rings), np.arange(n_objects + n_rings)


def push(older, newer, end, o):
    """Make `o` the newest member of the ring with sentinel `end`."""
    last = older[end]
    older[o] = last
    newer[o] = end
    newer[last] = o
    older[end] = o


def drop(older, newer, o):
    """Take `o` out of whichever ring it is in."""
    newer[older[o]] = newer[o]
    older[newer[o]] = older[o]


def oldest_free(newer, end, free):
    """The oldest member o of the ring with free[o] true, -1 if there is none."""
    o = newer[end]
    while o != end:
        if free[o]:
            return o
        o = newer[o]
    return -1
