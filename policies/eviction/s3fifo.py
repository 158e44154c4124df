"""S3-FIFO (Yang, Zhang, Qiu, Yue and Rashmi, SOSP 2023, section 4): a small FIFO that filters, a main FIFO, and a ghost FIFO.

The small queue has a tenth of the room (at least the largest expert). A load enters it; until the first eviction, what it cannot hold
enters the main queue. From its old end, what was used twice or more moves into the main queue and any other expert leaves and is
remembered; a miss found among the remembered (as many bytes as nine tenths of the room) enters the main queue at once. The main queue
gives up to three further rounds, one for each use. The victim comes from the main queue while that holds more than its nine tenths,
else from the small one. A queue passes over pinned residents. A prefetch is no request: what it brings enters as if not remembered.

Misses on one-expert events equal those of S3FIFO of libcachesim 0.3.5 (small_size_ratio=0.1, ghost_size_ratio=0.9,
move_to_main_threshold=2) from a room of 20 experts on. With less libcachesim's small queue has no room for one and it keeps nothing.
"""

from typing import Any, NamedTuple

import numpy as np

from simmoe.policies.lists import move, reused, segments

NEEDS = ()
SMALL, GHOST, MAIN = 1, 2, 3
BACK, EVICTED = 0, 1  # 1 + the object that is missing now and that was remembered; whether there was an eviction
TWICE, MOST = 2, 3  # uses that lead into the main queue, and the most that are counted


class State(NamedTuple):
    """Three segments (the first four fields, as policies/lists.py makes them), of which GHOST holds no residents."""

    older: Any
    newer: Any
    where: Any  # [objects] segment, 0 = none
    length: Any  # [segments] bytes
    room: Any  # [segments] bytes
    uses: Any  # [objects] since it entered its queue
    seen: Any  # [objects] last event that used it
    v: Any  # BACK, EVICTED


def init(n_objects, capacity_bytes, x):
    size = np.array(x.size_bytes, np.int64)
    grain = int(np.gcd.reduce(size))
    whole = capacity_bytes // grain * grain
    small = max(whole // 10 // grain * grain, int(size.max()))
    room = np.array([0, small, whole * 9 // 10, whole - small])
    uses, seen, v = np.zeros(n_objects, np.int64), np.full(n_objects, -1), np.zeros(2, np.int64)
    older, newer, where, length = segments(n_objects, 3)
    return State(older, newer, where, length, room, uses, seen, v)


def miss(s, o, event, x):
    """Taken out of the remembered before its victims enter there."""
    s.v[BACK] = o + 1 if s.where[o] == GHOST else 0
    move(s, x.size_bytes, o, 0)


def insert(s, o, event, x):
    s.uses[o] = 0
    s.seen[o] = -1
    full = s.length[SMALL] + x.size_bytes[o] > s.room[SMALL]
    move(s, x.size_bytes, o, MAIN if s.v[BACK] == o + 1 or (full and not s.v[EVICTED]) else SMALL)
    s.v[BACK] = 0


def use(s, o, event, x):
    again = reused(s.seen, o, event)
    s.uses[o] = min(s.uses[o] + again, MOST)


def victim(s, free, event, x):
    s.v[EVICTED] = 1
    o = -1
    if s.length[MAIN] <= s.room[MAIN]:
        o = from_small(s, free, x)
    if o < 0:
        o = from_main(s, free, x)
    if o < 0:
        o = from_small(s, free, x)
    return o


def from_small(s, free, x):
    """The oldest free one of the small queue that was used less than twice; those before it move into the main queue."""
    end = len(s.where) + SMALL
    o = s.newer[end]
    while o != end and (not free[o] or s.uses[o] >= TWICE):
        after = s.newer[o]
        if free[o]:
            s.uses[o] = 0
            move(s, x.size_bytes, o, MAIN)
        o = after
    return o if o != end else -1


def from_main(s, free, x):
    """The oldest free one of the main queue without a use; each of those before it pays one use for another round."""
    end = len(s.where) + MAIN
    o = s.newer[end]
    while o != end and (not free[o] or s.uses[o] > 0):
        after = s.newer[o]
        if free[o]:
            s.uses[o] -= 1
            move(s, x.size_bytes, o, MAIN)
            after = o if after == end else after
        o = after
    return o if o != end else -1


def remove(s, o, event, x):
    move(s, x.size_bytes, o, GHOST if s.where[o] == SMALL else 0)
    while s.length[GHOST] > s.room[GHOST]:
        forgotten = s.newer[len(s.where) + GHOST]
        move(s, x.size_bytes, forgotten, 0)
