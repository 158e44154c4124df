"""An eviction policy: the newest free expert leaves first (MRU). 04_own_policy.sh plays it.

Layers are asked for in turn. Where the cache holds less than one turn, LRU evicts each expert just before its layer comes again.
"""

from simmoe.policies.lists import drop, push, rings


def init(n_objects, capacity_bytes, x):
    return rings(n_objects, 1)


def insert(s, o, event, x):
    push(s[0], s[1], len(x.size_bytes), o)


def victim(s, free, event, x):
    older, end = s[0], len(x.size_bytes)
    o = older[end]
    while o != end and not free[o]:
        o = older[o]
    return o if o != end else -1


def remove(s, o, event, x):
    drop(s[0], s[1], o)
