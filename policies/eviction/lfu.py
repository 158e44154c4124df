"""Least frequently used, counted while resident: the victim has been in the fewest events since its load, ties the oldest stamp."""

import numpy as np

from simmoe.policies.buckets import buckets, enter, highest_free, leave

NEEDS = ()


def init(n_objects, capacity_bytes, x):
    """Buckets by events still uncounted (so the highest bucket is the least used), the count and the last event counted."""
    return (*buckets(n_objects, x.events[0] + 1), np.zeros(n_objects, np.int64), np.zeros(n_objects, np.int64))


def insert(s, o, event, x):
    s[5][o] = 0
    s[6][o] = -1
    enter(s, len(x.size_bytes), x.events[0], o)


def use(s, o, event, x):
    count, counted = s[5], s[6]
    if counted[o] != event:
        counted[o] = event
        count[o] += 1
    leave(s, o)
    enter(s, len(x.size_bytes), x.events[0] - count[o], o)


def victim(s, free, event, x):
    return highest_free(s, len(x.size_bytes), -1, free)


def remove(s, o, event, x):
    leave(s, o)
