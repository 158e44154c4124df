"""LFU with decay: the victim has the least uses, of which each counts half as much after every half-life; ties the oldest stamp.

This is LRFU with lambda = 1 / half-life (Lee et al., IEEE Transactions on Computers 50(12), 2001). The half-life is given in forward
passes: between lfu (long) and lru (short). Uses count events, are kept across evictions, and a prefetch is none. The order is exact to
.07 % of a sum (policies/decay.py).
"""

import numpy as np

from simmoe.policies.decay import NOTHING, UNIT, added, tables
from simmoe.policies.heap import FIELDS, KEY, file, heap, least_free, rank, unfile

NEEDS = ("argument", "layer")
ARGUMENTS = {"passes": (64, 1, 1_000_000_000)}
COUNTED, PLUS, EVENTS = FIELDS, FIELDS + 1, FIELDS + 2


def init(n_objects, capacity_bytes, x):
    """A heap by the logarithm of the sum; the last event counted for each object; log2(1 + 2**-d); events of a half-life."""
    made = heap(n_objects)
    made[KEY][:] = NOTHING
    layers = int(x.layer.max()) - int(x.layer.min()) + 1
    return (*made, np.full(n_objects, -1), tables()[0], np.array([int(x.argument[0]) * layers]))


def insert(s, o, event, x):
    rank(s, o, s[KEY][o])
    file(s, o)


def use(s, o, event, x):
    key = s[KEY][o]
    if s[COUNTED][o] != event:
        s[COUNTED][o] = event
        key = added(key, event * UNIT // s[EVENTS][0], s[PLUS])
    rank(s, o, key)


def victim(s, free, event, x):
    return least_free(s, free)


def remove(s, o, event, x):
    unfile(s, o)
