"""2Q, the full version (Johnson and Shasha, VLDB 1994): a FIFO for what came once, an LRU for what came back.

A load enters the FIFO A1in. What leaves it is remembered in A1out; a miss found there enters the LRU Am. The victim is the oldest of
A1in while that holds more than a quarter of the room, else the oldest of Am. A1out remembers half of the room. A use in A1in changes
nothing, one in Am makes its expert the newest there. A prefetch is no request: a remembered expert that it brings enters A1in.

Misses on one-expert events equal those of TwoQ of libcachesim 0.3.5 (a_in_size_ratio=0.25, a_out_size_ratio=0.5) from a room of four
experts on; with less libcachesim keeps nothing.
"""

from typing import Any, NamedTuple

import numpy as np

from simmoe.policies.lists import move, oldest_free, segments

NEEDS = ()
A1IN, A1OUT, AM = 1, 2, 3


class State(NamedTuple):
    """Three segments (the first four fields, as policies/lists.py makes them), of which A1out holds no residents."""

    older: Any
    newer: Any
    where: Any  # [objects] segment, 0 = none
    length: Any  # [segments] bytes
    room: Any  # [segments] bytes; that of Am is not read
    back: Any  # [1] 1 + the object that is missing now and that A1out remembered


def init(n_objects, capacity_bytes, x):
    grain = int(np.gcd.reduce(np.array(x.size_bytes, np.int64)))
    whole = capacity_bytes // grain * grain
    older, newer, where, length = segments(n_objects, 3)
    room = np.array([0, whole // 4, whole // 2, 0])
    return State(older, newer, where, length, room, np.zeros(1, np.int64))


def miss(s, o, event, x):
    """Taken out of A1out before its victims enter there."""
    s.back[0] = o + 1 if s.where[o] == A1OUT else 0
    move(s, x.size_bytes, o, 0)


def insert(s, o, event, x):
    move(s, x.size_bytes, o, AM if s.back[0] == o + 1 else A1IN)
    s.back[0] = 0


def use(s, o, event, x):
    if s.where[o] == AM:
        move(s, x.size_bytes, o, AM)


def victim(s, free, event, x):
    first = A1IN if s.length[A1IN] > s.room[A1IN] else AM
    o = oldest_free(s.newer, len(s.where) + first, free)
    if o < 0:
        o = oldest_free(s.newer, len(s.where) + A1IN + AM - first, free)
    return o


def remove(s, o, event, x):
    move(s, x.size_bytes, o, A1OUT if s.where[o] == A1IN else 0)
    while s.length[A1OUT] > s.room[A1OUT]:
        forgotten = s.newer[len(s.where) + A1OUT]
        move(s, x.size_bytes, forgotten, 0)
