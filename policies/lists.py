"""Intrusive doubly linked rings in two flat arrays: older[o] and newer[o] run from a sentinel through its members and back."""

import numpy as np


def rings(n_objects, n_rings):
    """older, newer for `n_rings` empty rings; the sentinel of ring r is n_objects + r.

    Unsigned, so that there is no negative index to check, and 16 bits where they suffice: 6,144 experts then fit a first-level cache.
    """
    members = np.arange(n_objects + n_rings, dtype=np.uint16 if n_objects + n_rings < 65536 else np.uint32)
    return members, members.copy()


def push(older, newer, end, o):
    """Make `o` the newest member of the ring with sentinel `end`."""
    last = older[end]
    older[o] = last
    newer[o] = end
    newer[last] = o
    older[end] = o


def drop(older, newer, o):
    """Take `o` out of whichever ring it is in."""
    before, after = older[o], newer[o]
    newer[before] = after
    older[after] = before


def oldest_free(newer, end, free):
    """The oldest member o of the ring with free[o] true, -1 if there is none."""
    o = newer[end]
    while o != end:
        if free[o]:
            return o
        o = newer[o]
    return -1


def segments(n_objects, n_segments):
    """Rings numbered from 1 that know their lengths: older, newer, the ring of each object (0 = none), the length of each ring."""
    older, newer = rings(n_objects, n_segments + 1)
    return older, newer, np.zeros(n_objects, np.int64), np.zeros(n_segments + 1, np.int64)


def move(s, size, o, to):
    """Make `o` the newest member of segment `to`, 0 = none, wherever it was; `s` starts with what `segments` returned."""
    older, newer, where, length = s[0], s[1], s[2], s[3]
    was, weight = where[o], size[o]
    if was:
        drop(older, newer, o)
        length[was] -= weight
    if to:
        push(older, newer, len(where) + to, o)
        length[to] += weight
    where[o] = to


def reused(seen, o, event):
    """Whether `o` is used again: not by the event of its load, not for the first time after a prefetch, and once for each event.

    seen [objects]: the last event that used it; `insert` sets it to -1.
    """
    before = seen[o]
    seen[o] = event
    return before >= 0 and before != event
