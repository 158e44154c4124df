"""LFRU, least frequently and recently used, as vLLM's expert cache evicts (vllm-project/vllm pull request 37190, March 2026).

The victim has the least uses / (clock - last + 1): `uses` are the events since the load, its own included; the clock ticks at each load
and at each use; `last` is what it showed at the expert's last one. Ties go to the oldest load. vLLM keeps one such cache for each layer
(--scope layer). A prefetch counts as its expert's first use.
"""

from typing import Any, NamedTuple

import numpy as np

from simmoe.policies.buckets import buckets, clear, enter, leave, previous
from simmoe.policies.lists import drop, oldest_free, push, reused, rings

NEEDS = ()
CLOCK, LOADED = 0, 1


class State(NamedTuple):
    """Buckets by uses (the first six fields, as policies/buckets.py makes them), within each the oldest use first."""

    older: Any
    newer: Any
    low: Any
    middle: Any
    high: Any
    top: Any
    before: Any  # one ring of all residents, the oldest use first: older
    after: Any  # newer
    uses: Any  # [objects]
    last: Any  # [objects] clock at the last use
    load: Any  # [objects] number of the load
    seen: Any  # [objects] last event that used it
    v: Any  # CLOCK, LOADED


def init(n_objects, capacity_bytes, x):
    uses, last, load = (np.zeros(n_objects, np.int64) for _ in range(3))
    older, newer, low, middle, high, top = buckets(n_objects, x.events[0] + 2)
    before, after = rings(n_objects, 1)
    seen, v = np.full(n_objects, -1), np.zeros(2, np.int64)
    return State(older, newer, low, middle, high, top, before, after, uses, last, load, seen, v)


def insert(s, o, event, x):
    s.uses[o] = 1
    s.seen[o] = -1
    s.load[o] = s.v[LOADED]
    s.v[LOADED] += 1
    stamp(s, o, x)


def stamp(s, o, x):
    """`o` is the newest of its bucket and of all."""
    s.v[CLOCK] += 1
    s.last[o] = s.v[CLOCK]
    enter(s, len(s.uses), x.events[0] + 1 - s.uses[o], o)  # the highest bucket holds the fewest uses
    push(s.before, s.after, len(s.uses), o)


def use(s, o, event, x):
    first = s.seen[o] != event
    again = reused(s.seen, o, event)
    if first:
        leave(s, o)
        drop(s.before, s.after, o)
        s.uses[o] += again
        stamp(s, o, x)


def victim(s, free, event, x):
    """Within a bucket the oldest is the least. Buckets of more uses follow until even the oldest of all would not be less in them."""
    n, now, best = len(s.uses), s.v[CLOCK] + 1, -1
    eldest = oldest_free(s.after, n, free)
    bucket = s.top[0]
    while eldest >= 0 and bucket >= 0:
        uses = x.events[0] + 1 - bucket
        if best >= 0 and uses * (now - s.last[best]) > s.uses[best] * (now - s.last[eldest]):
            bucket = 0
        else:
            o = oldest_free(s.newer, n + bucket, free)
            if s.newer[n + bucket] == n + bucket:
                clear(s.low, s.middle, s.high, bucket)
            if o >= 0 and (best < 0 or less(s, o, best, now)):
                best = o
        bucket = previous(s.low, s.middle, s.high, bucket - 1)
    return best


def less(s, o, other, now):
    mine, its = s.uses[o] * (now - s.last[other]), s.uses[other] * (now - s.last[o])
    return mine < its or (mine == its and s.load[o] < s.load[other])


def remove(s, o, event, x):
    leave(s, o)
    drop(s.before, s.after, o)
