"""Least recently used: the victim is the resident with the oldest stamp.

Misses on one-expert events equal those of LRU of libcachesim 0.3.5.
"""

from simmoe.policies.lists import drop, oldest_free, push, rings

NEEDS = ()


def init(n_objects, capacity_bytes, x):
    """One ring of residents, oldest stamp first."""
    return rings(n_objects, 1)


def insert(s, o, event, x):
    push(s[0], s[1], len(s[0]) - 1, o)


def use(s, o, event, x):
    drop(s[0], s[1], o)
    push(s[0], s[1], len(s[0]) - 1, o)


def victim(s, free, event, x):
    return oldest_free(s[1], len(s[1]) - 1, free)


def remove(s, o, event, x):
    drop(s[0], s[1], o)
