"""A seeded random victim: SplitMix64 (Steele et al. 2014) output number n picks among the residents in object order."""

import numpy as np

NEEDS = ("random",)


def init(n_objects, capacity_bytes, x):
    """How many evictions there have been."""
    return (np.zeros(1, np.int64),)


def victim(s, free, event, x):
    eligible = 0
    for o in range(len(free)):
        eligible += free[o]
    if eligible == 0:
        return -1
    n = s[0][0]
    pick = ((x.random_high[n] % eligible) * (4294967296 % eligible) + x.random_low[n]) % eligible
    for o in range(len(free)):
        if free[o]:
            if pick == 0:
                return o
            pick -= 1
    return -1


def remove(s, o, event, x):
    s[0][0] += 1
