"""Belady's MIN (1966): the victim is the resident whose next event lies farthest in the future, ties the oldest stamp.

An offline bound for equal sizes, not a policy that a machine could run: it reads the future of the trace.
Misses on one-expert events equal those of Belady of libcachesim 0.3.5.
"""

from simmoe.policies.buckets import buckets, enter, highest_free, leave

NEEDS = ("next_use",)


def init(n_objects, capacity_bytes, x):
    """One bucket per future event; the last one is "never"."""
    return buckets(n_objects, x.events[0] + 1)


def insert(s, o, event, x):
    enter(s, len(x.size_bytes), x.next_use[o], o)


def use(s, o, event, x):
    leave(s, o)
    enter(s, len(x.size_bytes), x.next_use[o], o)


def victim(s, free, event, x):
    return highest_free(s, len(x.size_bytes), event, free)  # a free resident is never due at or before this event


def remove(s, o, event, x):
    leave(s, o)
