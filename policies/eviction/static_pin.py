"""A static set stays resident, chosen from another text; the others share what is left by LRU.

Pinned are the experts that the text behind the colon uses most, as many as fit into `share` of the room; an expert that it does not
use is never pinned. Pinned experts are loaded when they are first asked for and leave only where nothing else can. Fiddler chooses such
a set from a profile (Kamahori et al., ICLR 2025).

    --eviction static_pin=90%:other.npz        --eviction static_pin:first=20%
"""

import numpy as np

from simmoe.policies.lists import drop, oldest_free, push, rings

NEEDS = ("argument", "popularity")
ARGUMENTS = {"share": (0.8, 0.0, 1.0)}
SHARES = 1_000_000  # a share is so many millionths


def init(n_objects, capacity_bytes, x):
    """Two rings, of the others and of the pinned, the oldest stamp first; 1 = pinned."""
    size, use = np.array(x.size_bytes, np.int64), np.array(x.popularity, np.int64)
    order = np.argsort(-use, kind="stable")
    room = capacity_bytes * int(x.argument[0]) // SHARES
    pinned = np.zeros(n_objects, np.int64)
    pinned[order] = (np.cumsum(size[order]) <= room) & (use[order] > 0)
    return (*rings(n_objects, 2), pinned)


def insert(s, o, event, x):
    push(s[0], s[1], len(s[2]) + s[2][o], o)


def use(s, o, event, x):
    drop(s[0], s[1], o)
    push(s[0], s[1], len(s[2]) + s[2][o], o)


def victim(s, free, event, x):
    o = oldest_free(s[1], len(s[2]), free)
    if o < 0:
        o = oldest_free(s[1], len(s[2]) + 1, free)
    return o


def remove(s, o, event, x):
    drop(s[0], s[1], o)
