"""LFU that forgets: the victim has been in the fewest events since its load, ties the oldest stamp.

Misses on one-expert events equal those of LFU of libcachesim 0.3.5, which forgets too.
"""

import numpy as np

from simmoe.policies.buckets import buckets, enter, highest_free, leave

NEEDS = ()


def init(n_objects, capacity_bytes, x):
    """Buckets by events still uncounted (so the highest bucket is the least used), the count and the last event counted."""
    return (*buckets(n_objects, x.events[0] + 1), np.zeros(n_objects, np.int64), np.full(n_objects, -1))


def miss(s, o, event, x):
    s[7][o] = event


def insert(s, o, event, x):
    """A load counts the event that misses it at once; a prefetch has counted none."""
    count, counted = s[6], s[7]
    count[o] = 1 if counted[o] == event else 0
    enter(s, len(x.size_bytes), x.events[0] - count[o], o)


def use(s, o, event, x):
    count, counted = s[6], s[7]
    if counted[o] != event:
        counted[o] = event
        count[o] += 1
    leave(s, o)
    enter(s, len(x.size_bytes), x.events[0] - count[o], o)


def victim(s, free, event, x):
    return highest_free(s, len(x.size_bytes), -1, free)


def remove(s, o, event, x):
    s[7][o] = -1  # a prefetch may bring it back within the event, and counts none
    leave(s, o)
