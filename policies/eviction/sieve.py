"""SIEVE (Zhang, Yang, Yue, Vigfusson and Rashmi, NSDI 2024, section 3): a hand moves from old to new and takes the first unmarked resident.

Residents stand in a ring in the order of their loads and never move. A use marks; the hand clears the marks that it passes, evicts
the first resident without one, and goes on from there next time. It passes over pinned residents and leaves their marks.

Misses on one-expert events equal those of Sieve of libcachesim 0.3.5. On the layer-cyclic scan of a global cache SIEVE freezes
(docs/policies.md).
"""

import numpy as np

from simmoe.policies.lists import drop, push, reused, rings

NEEDS = ()
LAPS = 3  # ends of the ring that the hand passes before it is known that nobody is free: the first lap is a part, the second unmarks


def init(n_objects, capacity_bytes, x):
    """One ring, oldest load first; the mark and the last event of each object; the hand, which starts before the oldest."""
    older, newer = rings(n_objects, 1)
    return older, newer, np.zeros(n_objects, np.int8), np.full(n_objects, -1, np.int32), np.full(1, n_objects)


def insert(s, o, event, x):
    s[2][o] = 0
    s[3][o] = -1
    push(s[0], s[1], len(s[0]) - 1, o)


def use(s, o, event, x):
    again = reused(s[3], o, event)
    if again:
        s[2][o] = 1


def victim(s, free, event, x):
    newer, mark, hand = s[1], s[2], s[4]
    end, o, laps = len(newer) - 1, hand[0], 0
    while laps < LAPS and (o == end or not free[o] or mark[o]):
        if o == end:
            laps += 1
        elif free[o]:
            mark[o] = 0
        o = newer[o]
    hand[0] = o
    return o if laps < LAPS else -1


def remove(s, o, event, x):
    if s[4][0] == o:
        s[4][0] = s[1][o]
    drop(s[0], s[1], o)
