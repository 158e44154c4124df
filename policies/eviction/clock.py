"""CLOCK, also called second chance (Corbató, "A paging experiment with the Multics system", 1968): FIFO that passes over what was used.

Residents stand in a ring. The hand takes the oldest; if an event has used it since the hand came by last, it loses its mark and
stands at the ring's newest end, else it leaves. The hand passes over pinned residents and leaves them where they are.

Misses on one-expert events equal those of Clock of libcachesim 0.3.5 (init_freq=0, n_bit_counter=1).
"""

import numpy as np

from simmoe.policies.lists import drop, push, reused, rings

NEEDS = ()


def init(n_objects, capacity_bytes, x):
    """One ring, oldest first; the mark and the last event of each object."""
    return (*rings(n_objects, 1), np.zeros(n_objects, np.int8), np.full(n_objects, -1, np.int32))


def insert(s, o, event, x):
    s[2][o] = 0
    s[3][o] = -1
    push(s[0], s[1], len(s[0]) - 1, o)


def use(s, o, event, x):
    again = reused(s[3], o, event)
    if again:
        s[2][o] = 1


def victim(s, free, event, x):
    older, newer, mark = s[0], s[1], s[2]
    end = len(older) - 1
    o = newer[end]
    while o != end and (not free[o] or mark[o]):
        after = newer[o]
        if free[o]:
            mark[o] = 0
            drop(older, newer, o)
            push(older, newer, end, o)
            after = o if after == end else after
        o = after
    return o if o != end else -1


def remove(s, o, event, x):
    drop(s[0], s[1], o)
