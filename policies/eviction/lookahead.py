"""Look-ahead caching, as Read-ME's (Cai et al., NeurIPS 2024): LRU that spares what the next events ask for.

For a model whose router runs ahead of its layers: the requests of the next `events` events of the scope group are known. The victim is
the oldest stamp among residents that none of them asks for; without one, the resident whose next event is the farthest, ties the
oldest stamp. With all events known it is Belady's MIN but for ties, with one event it is LRU but for the experts of the next event.
"""

from typing import Any, NamedTuple

import numpy as np

from simmoe.policies.buckets import buckets, enter, highest_free, leave
from simmoe.policies.lists import drop, oldest_free, push, rings

NEEDS = ("ahead", "argument")
ARGUMENTS = {"events": (8, 1, 1_000_000_000)}


class State(NamedTuple):
    """Buckets by next event (the first six fields, as policies/buckets.py makes them), and a ring of what the window does not show."""

    older: Any
    newer: Any
    low: Any
    middle: Any
    high: Any
    top: Any
    before: Any  # the ring, the oldest stamp first: older
    after: Any  # newer
    shown: Any  # [objects] 1 = the window shows its next event: not in the ring
    to: Any  # [1] the last event that the window shows


def init(n_objects, capacity_bytes, x):
    older, newer, low, middle, high, top = buckets(n_objects, x.events[0] + 1)
    before, after = rings(n_objects, 1)
    shown = np.zeros(n_objects, np.int64)
    return State(older, newer, low, middle, high, top, before, after, shown, np.full(1, -1))


def look(s, event, x):
    """The window moves on to `event`; what it shows now leaves the ring."""
    n, to = len(s.shown), min(event + x.argument[0], x.events[0] - 1)
    while s.to[0] < to:
        s.to[0] += 1
        o = s.newer[n + s.to[0]]
        while o < n:
            hide = s.shown[o] == 0
            if hide:
                s.shown[o] = 1
                drop(s.before, s.after, o)
            o = s.newer[o]


def stamp(s, o, x):
    """`o` is the newest of its bucket and, unless the window shows its next event, of the ring."""
    enter(s, len(s.shown), x.next_use[o], o)
    s.shown[o] = 1 if x.next_use[o] <= s.to[0] else 0
    if s.shown[o] == 0:
        push(s.before, s.after, len(s.shown), o)


def insert(s, o, event, x):
    look(s, event, x)
    stamp(s, o, x)


def use(s, o, event, x):
    look(s, event, x)
    remove(s, o, event, x)
    stamp(s, o, x)


def victim(s, free, event, x):
    look(s, event, x)
    o = oldest_free(s.after, len(s.shown), free)
    if o < 0:
        o = highest_free(s, len(s.shown), event, free)  # a free resident is never due at or before this event
    return o


def remove(s, o, event, x):
    leave(s, o)
    if s.shown[o] == 0:
        drop(s.before, s.after, o)
