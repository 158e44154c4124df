"""GreedyDual-Size with Frequency (Cherkasova, HP Labs HPL-98-69R1, 1998): the victim has the least L + uses / size.

`uses` counts the events since the load, its own included. L, which ages what is used no more, is the greatest priority of a victim so
far; a priority is written down when its expert is missed (with L as it was before its victims left) or used. Ties go to the oldest
stamp. For experts of equal size this is LFU with dynamic ageing (Arlitt et al., 2000). 1 / size is a whole number of 1/1024 of that of
the largest expert. A prefetch counts as its expert's first use.

The paper, and GDSF of libcachesim 0.3.5, do not keep a missing object whose priority is less than that of all residents. A machine
needs a slot for what it computes, so here it enters always (tests/test_eviction_peers.py plays both rules, and each equals its
implementation flag by flag).
"""

import numpy as np

from simmoe.policies.heap import FIELDS, KEY, file, heap, least_free, rank, unfile
from simmoe.policies.lists import reused

NEEDS = ()
AGE, AT_MISS, MISSING = 0, 1, 2  # L; L when the object MISSING - 1 was missed
USES, SEEN, WEIGHT, V = FIELDS, FIELDS + 1, FIELDS + 2, FIELDS + 3
FINEST = 1024


def init(n_objects, capacity_bytes, x):
    """A heap by priority; uses, last event and 1 / size of each object; AGE, AT_MISS, MISSING."""
    size = np.array(x.size_bytes, np.int64)
    weight = int(size.max()) * FINEST // size
    weight //= np.gcd.reduce(weight)
    return (*heap(n_objects), np.zeros(n_objects, np.int64), np.full(n_objects, -1), weight, np.zeros(3, np.int64))


def miss(s, o, event, x):
    s[V][AT_MISS] = s[V][AGE]
    s[V][MISSING] = o + 1


def insert(s, o, event, x):
    age = s[V][AT_MISS] if s[V][MISSING] == o + 1 else s[V][AGE]
    s[V][MISSING] = 0
    s[USES][o] = 1
    s[SEEN][o] = -1
    rank(s, o, age + s[WEIGHT][o])
    file(s, o)


def use(s, o, event, x):
    again = reused(s[SEEN], o, event)
    key = s[KEY][o]
    if again:
        s[USES][o] += 1
        key = s[V][AGE] + s[USES][o] * s[WEIGHT][o]
    rank(s, o, key)


def victim(s, free, event, x):
    o = least_free(s, free)
    if o >= 0:
        s[V][AGE] = max(s[V][AGE], s[KEY][o])
    return o


def remove(s, o, event, x):
    unfile(s, o)
