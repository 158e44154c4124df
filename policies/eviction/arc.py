"""ARC, the adaptive replacement cache (Megiddo and Modha, FAST 2003, Fig. 4): recency against frequency, tuned by two ghost lists.

T1 holds residents seen in one event lately, T2 those seen again, B1 and B2 remember what left T1 and T2; a miss found in B1 or B2
moves the target length p of T1. For equal sizes this is Fig. 4 to the letter: lengths count objects. Unequal sizes are this
project's generalisation: lengths count size, and p moves by the size of the object that was missed (times the same ratio).

p is a real number in the paper, and ties between it and the length of T1 decide victims, so it is kept as whole multiples of
1 / lcm(1 … m), with the largest m that 62 bits allow: exact while the ghost list that was hit holds at most m objects (36 for up
to 7,900 equal objects), rounded to the nearest multiple beyond. ARC of libcachesim 0.3.5 keeps p in floating point and breaks some
ties otherwise; but for them its misses on one-expert events are equal.

An event with several objects is one access of each of them. A prefetch is no access: it returns a ghost to the list that it left
and never moves p, and the first use of an object that only a prefetch has brought leaves it in T1.
"""

from math import lcm
from typing import Any, NamedTuple

import numpy as np

from simmoe.policies.lists import move, oldest_free, segments

NEEDS = ()
T1, T2, B1, B2 = 1, 2, 3, 4
P, CAPACITY, UNIT, FROM_B2 = 0, 1, 2, 3  # p in 1/UNIT of a weight; FROM_B2 = the object coming in is a ghost of B2
FINEST = 1024  # weights of unequal sizes are rounded to this part of the largest


class State(NamedTuple):
    """Four segments (the first four fields, as policies/lists.py makes them) and what the paper's rules read."""

    older: Any
    newer: Any
    where: Any  # [objects] segment, 0 = none
    length: Any  # [segments] sum of weights
    weight: Any  # [objects] size in grains
    v: Any  # P, CAPACITY, UNIT, FROM_B2
    seen: Any  # [objects] last event that saw it
    unused: Any  # [objects] 1 = only a prefetch has brought it


def init(n_objects, capacity_bytes, x):
    size = np.array(x.size_bytes, np.int64)
    grain = max(int(np.gcd.reduce(size)), -(-int(size.max()) // FINEST))  # equal sizes: every weight is 1
    weight = np.maximum((size + grain // 2) // grain, 1)
    capacity = min(max(capacity_bytes // grain, 1), int(weight.sum()))
    largest = int(weight.max())
    longest = 4 * (capacity + largest)  # more than a ghost list reaches before `forget`
    unit, m = 1, 1
    while lcm(unit, m + 1) * largest * longest < 1 << 62:
        m += 1
        unit = lcm(unit, m)
    v = np.array([0, capacity, unit, 0])
    older, newer, where, length = segments(n_objects, 4)
    return State(older, newer, where, length, weight, v, np.full(n_objects, -1), np.zeros(n_objects, np.int64))


def miss(s, o, event, x):
    """Cases II and III: a ghost says which list has been kept too short."""
    s.seen[o] = event
    if s.where[o] == B1:
        s.v[P] = min(s.v[P] + step(s, o, B2, B1), s.v[CAPACITY] * s.v[UNIT])
    elif s.where[o] == B2:
        s.v[P] = max(s.v[P] - step(s, o, B1, B2), 0)
        s.v[FROM_B2] = 1


def step(s, o, other, own):
    """How far p moves for a ghost of list `own`."""
    length, unit = s.length, s.v[UNIT]
    if length[other] <= length[own]:
        return s.weight[o] * unit
    return (s.weight[o] * unit * length[other] + length[own] // 2) // length[own]


def victim(s, free, event, x):
    """REPLACE(x, p) among the free; the other list where it has none, which also covers case IV with |T1| = c."""
    surplus = s.length[T1] * s.v[UNIT] - s.v[P]
    from_t1 = s.length[T1] > 0 and (surplus > 0 or (surplus == 0 and s.v[FROM_B2] == 1))
    o = oldest_free(s.newer, len(s.where) + (T1 if from_t1 else T2), free)
    if o < 0:
        o = oldest_free(s.newer, len(s.where) + (T2 if from_t1 else T1), free)
    return o


def remove(s, o, event, x):
    move(s, s.weight, o, B1 if s.where[o] == T1 else B2)


def insert(s, o, event, x):
    demanded = s.seen[o] == event
    s.unused[o] = 1 if s.where[o] == 0 and not demanded else 0
    again = s.where[o] == B2 or (s.where[o] == B1 and demanded)
    move(s, s.weight, o, T2 if again else T1)
    s.v[FROM_B2] = 0
    forget(s)


def forget(s):
    """Case IV: |T1| + |B1| <= c and all four <= 2c. REPLACE reads neither ghost list, so trimming them after it is the same."""
    length, capacity = s.length, s.v[CAPACITY]
    while length[B1] > 0 and length[T1] + length[B1] > capacity:
        move(s, s.weight, s.newer[len(s.where) + B1], 0)
    while length[B2] > 0 and length[T1] + length[B1] + length[T2] + length[B2] > 2 * capacity:
        move(s, s.weight, s.newer[len(s.where) + B2], 0)


def use(s, o, event, x):
    """Case I. The use that ends the event of its own load, or the first after a prefetch, is the first sight: it does not promote."""
    first = s.seen[o] == event or s.unused[o] == 1
    s.seen[o] = event
    s.unused[o] = 0
    move(s, s.weight, o, s.where[o] if first else T2)
