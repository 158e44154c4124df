"""First in, first out: a hit never moves; the victim is the resident whose load was issued longest ago.

Misses on one-expert events equal those of FIFO of libcachesim 0.3.5.
"""

from simmoe.policies.lists import drop, oldest_free, push, rings

NEEDS = ()


def init(n_objects, capacity_bytes, x):
    """One ring of residents, oldest load first."""
    return rings(n_objects, 1)


def insert(s, o, event, x):
    push(s[0], s[1], len(s[0]) - 1, o)


def victim(s, free, event, x):
    return oldest_free(s[1], len(s[1]) - 1, free)


def remove(s, o, event, x):
    drop(s[0], s[1], o)
