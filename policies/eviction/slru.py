"""Segmented LRU with four segments (Karedla, Love and Wherry, IEEE Computer 27(3), 1994; four of them: Huang et al., SOSP 2013, S4LRU).

Each segment is an LRU list of a quarter of the room. A load enters the lowest segment that has room, the lowest one if none has. A use
lifts its expert into the next segment; what overflows there sinks by one. The victim is the oldest of the lowest segment that has one.

Misses on one-expert events equal those of SLRU of libcachesim 0.3.5 where the room is a multiple of four experts. Otherwise libcachesim
gives no segment the rest of the division and evicts on hits what the segments cannot hold together; here the lowest segment gets the
rest, since a hit evicts nobody (tests/test_eviction_peers.py plays both rules).
"""

from typing import Any, NamedTuple

import numpy as np

from simmoe.policies.lists import move, oldest_free, reused, segments

NEEDS = ()
SEGMENTS = 4


class State(NamedTuple):
    """Segments numbered from 1, the lowest (the first four fields, as policies/lists.py makes them), and what the rules read."""

    older: Any
    newer: Any
    where: Any  # [objects] segment, 0 = none
    length: Any  # [segments] bytes
    room: Any  # [segments] bytes
    seen: Any  # [objects] last event that used it


def init(n_objects, capacity_bytes, x):
    grain = int(np.gcd.reduce(np.array(x.size_bytes, np.int64)))
    part = capacity_bytes // grain // SEGMENTS * grain
    room = np.array([0, capacity_bytes - (SEGMENTS - 1) * part, *[part] * (SEGMENTS - 1)])
    older, newer, where, length = segments(n_objects, SEGMENTS)
    return State(older, newer, where, length, room, np.full(n_objects, -1))


def insert(s, o, event, x):
    s.seen[o] = -1
    to = 1
    while to < SEGMENTS and s.length[to] + x.size_bytes[o] > s.room[to]:
        to += 1
    fits = s.length[to] + x.size_bytes[o] <= s.room[to]
    move(s, x.size_bytes, o, to if fits else 1)


def use(s, o, event, x):
    again = reused(s.seen, o, event)
    to = min(s.where[o] + again, SEGMENTS)
    move(s, x.size_bytes, o, to)
    while again and to > 1:  # without a reuse no segment has grown, and none below one that has had room
        again = s.length[to] > s.room[to]
        while s.length[to] > s.room[to]:
            oldest = s.newer[len(s.where) + to]
            move(s, x.size_bytes, oldest, to - 1)
        to -= 1


def victim(s, free, event, x):
    segment, o = 0, -1
    while o < 0 and segment < SEGMENTS:
        segment += 1
        o = oldest_free(s.newer, len(s.where) + segment, free)
    return o


def remove(s, o, event, x):
    move(s, x.size_bytes, o, 0)
