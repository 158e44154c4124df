"""A seeded random victim: SplitMix64 (Steele et al. 2014) output number n picks among the residents in object order.

Residents are counted in blocks of 16 objects and in groups of 16 blocks, so that the one of a rank is found without looking at each.
Random of libcachesim 0.3.5 follows the same rule and draws other numbers.
"""

import numpy as np

NEEDS = ("random", "pinned")
GONE, RESIDENTS = 0, 1
BLOCK, GROUP = 4, 8  # bits of an object's number within its block, and within its group


def init(n_objects, capacity_bytes, x):
    """How many evictions there have been and residents there are; which objects are resident; residents of each block and group."""
    counts = (np.zeros((n_objects >> bits) + 1, np.int64) for bits in (BLOCK, GROUP))
    return np.zeros(2, np.int64), np.zeros(n_objects, np.int8), *counts


def insert(s, o, event, x):
    s[1][o] = 1
    count(s, o, 1)


def remove(s, o, event, x):
    s[0][GONE] += 1
    s[1][o] = 0
    count(s, o, -1)


def count(s, o, more):
    s[0][RESIDENTS] += more
    s[2][o >> BLOCK] += more
    s[3][o >> GROUP] += more


def victim(s, free, event, x):
    """What is pinned is not counted meanwhile."""
    pins(s, free, x, -1)
    n, eligible, o = s[0][GONE], s[0][RESIDENTS], -1
    if eligible > 0:
        rank = ((x.random_high[n] % eligible) * (4294967296 % eligible) + x.random_low[n]) % eligible
        o = of_rank(s, free, rank)
    pins(s, free, x, 1)
    return o


def pins(s, free, x, more):
    for j in range(1, x.pinned[0] + 1):
        o = x.pinned[j]
        if s[1][o] and not free[o]:
            count(s, o, more)


def of_rank(s, free, rank):
    """The free object before which so many free ones stand. A group's blocks and a block's objects are all looked at: no processor could
    foretell where a loop that finds the rank ends."""
    blocks, groups, group = s[2], s[3], 0
    while rank >= groups[group]:
        rank -= groups[group]
        group += 1
    first, seen, below = group << (GROUP - BLOCK), 0, 0
    block = first
    for i in range(first, min(first + (1 << (GROUP - BLOCK)), len(blocks))):
        seen += blocks[i]
        behind = seen <= rank
        block += behind
        below += behind * blocks[i]
    first, seen, rank = block << BLOCK, 0, rank - below
    o = first
    for i in range(first, min(first + (1 << BLOCK), len(free))):
        seen += free[i]
        o += seen <= rank
    return o
