"""Least frequently used: the victim has been in the fewest events so far, ties the oldest stamp. Counts survive eviction.

So do engines and papers that name LFU; lfu_resident forgets the count of what leaves, as libcachesim 0.3.5 does. An expert counts once
for each event at whose end it is still resident, and a prefetch counts nothing.
"""

import numpy as np

from simmoe.policies.buckets import buckets, enter, highest_free, leave

NEEDS = ()


def init(n_objects, capacity_bytes, x):
    """Buckets by events still uncounted (so the highest bucket is the least used), the count and the last event counted."""
    return (*buckets(n_objects, x.events[0] + 1), np.zeros(n_objects, np.int64), np.full(n_objects, -1))


def insert(s, o, event, x):
    enter(s, len(x.size_bytes), x.events[0] - s[6][o], o)


def use(s, o, event, x):
    if s[7][o] != event:
        s[7][o] = event
        s[6][o] += 1
    leave(s, o)
    enter(s, len(x.size_bytes), x.events[0] - s[6][o], o)


def victim(s, free, event, x):
    return highest_free(s, len(x.size_bytes), -1, free)


def remove(s, o, event, x):
    leave(s, o)
