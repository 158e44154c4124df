"""W-TinyLFU (Einziger, Friedman and Manes, ACM ToS 2017): a small LRU window, then a main cache that only the frequent may enter.

The window has 1 % of the capacity (at least the largest object), the main cache is segmented LRU: 20 % probation, 80 % protected.
When room is short the window's oldest contends with the main cache's oldest: the one that was requested more often lately stays,
the resident one on equal counts. Counts are of events, 4 bits each, halved whenever 10 capacities of them have been taken.

The paper counts in a hashed sketch with a Bloom filter before it. Objects are numbered densely here, so a counter for each is what
that sketch estimates, and there is no hash to collide. libcachesim 0.3.5 follows other rules under this name: it does not count
hits in the window, counts a contender again at each contest, does not cap the counters, halves them after 32 *bytes* of main cache
instead of 10 objects, and refuses every object where 1 % of the capacity is less than one. tests/test_arc_tinylfu.py plays both
sets of rules, shows that each equals its implementation flag by flag, and bounds the difference.

Several loads of one event cannot contend with each other, since all are pinned: the window outgrows its share until a later event,
the main cache shrinks by as much, and each one still contends before it enters. A prefetch is no request: it is not counted, and the
first use of what it brought does not promote it.
"""

from typing import Any, NamedTuple

import numpy as np

from simmoe.policies.lists import move, oldest_free, segments

NEEDS = ()
WINDOW, PROBATION, PROTECTED = 1, 2, 3
WINDOW_ROOM, MAIN_ROOM, PROTECTED_ROOM, PERIOD, TAKEN, HALVINGS, CONTESTED = 0, 1, 2, 3, 4, 5, 6
TOP = 15  # four bits
SAMPLE = 10  # counts taken between two halvings, in capacities


class State(NamedTuple):
    """Three segments (the first four fields, as policies/lists.py makes them) and the counts of requests."""

    older: Any
    newer: Any
    where: Any  # [objects] segment, 0 = none
    length: Any  # [segments] bytes
    v: Any  # WINDOW_ROOM … CONTESTED
    seen: Any  # [objects] last event that saw it
    counts: Any  # [objects] requests lately, before the halvings that it has not had yet
    halved: Any  # [objects] halvings that its count has had
    unused: Any  # [objects] 1 = a prefetch has brought it and nothing has used it


def init(n_objects, capacity_bytes, x):
    size = np.array(x.size_bytes, np.int64)
    grain, largest = int(np.gcd.reduce(size)), int(size.max())
    window = max(capacity_bytes // 100 // grain * grain, largest)
    main = max(capacity_bytes // grain * grain - window, 0)
    period = SAMPLE * max(capacity_bytes // largest, 1)
    v = np.array([window, main, main * 4 // 5, period, 0, 0, 0])
    older, newer, where, length = segments(n_objects, 3)
    counts, halved, unused = (np.zeros(n_objects, np.int64) for _ in range(3))
    return State(older, newer, where, length, v, np.full(n_objects, -1), counts, halved, unused)


def miss(s, o, event, x):
    take(s, o, event)


def take(s, o, event):
    """Count one request of `o`."""
    s.seen[o] = event
    s.counts[o] = min(count(s, o) + 1, TOP)
    s.halved[o] = s.v[HALVINGS]
    s.v[TAKEN] += 1
    if s.v[TAKEN] >= s.v[PERIOD]:
        s.v[TAKEN] //= 2
        s.v[HALVINGS] += 1


def count(s, o):
    """Requests of `o` lately; a counter is halved when it is read, four times at most since that empties it."""
    return s.counts[o] >> min(s.v[HALVINGS] - s.halved[o], 4)


def victim(s, free, event, x):
    """The object that loses the contest; a winner enters the main cache at once, and while that has room nothing has to leave for it."""
    newer, first = s.newer, len(s.where)
    s.v[CONTESTED] = 1
    resident = oldest_free(newer, first + PROBATION, free)
    if resident < 0:
        resident = oldest_free(newer, first + PROTECTED, free)
    o = oldest_free(newer, first + WINDOW, free)
    while o >= 0:
        if resident < 0 or count(s, o) <= count(s, resident):
            return o
        move(s, x.size_bytes, o, PROBATION)
        if s.length[PROBATION] + s.length[PROTECTED] > s.v[MAIN_ROOM]:
            break
        o = oldest_free(newer, first + WINDOW, free)
    return resident


def remove(s, o, event, x):
    move(s, x.size_bytes, o, 0)


def insert(s, o, event, x):
    """New ones start in the window; it overflows into a main cache that has room, unless this load had to contend."""
    length, v = s.length, s.v
    s.unused[o] = 0 if s.seen[o] == event else 1
    move(s, x.size_bytes, o, WINDOW)
    while v[CONTESTED] == 0 and length[WINDOW] > v[WINDOW_ROOM]:
        oldest = s.newer[len(s.where) + WINDOW]
        if length[PROBATION] + length[PROTECTED] + x.size_bytes[oldest] > v[MAIN_ROOM]:
            break
        move(s, x.size_bytes, oldest, PROBATION)
    v[CONTESTED] = 0


def use(s, o, event, x):
    """A hit in probation is protected from now on; the use that ends the event of its own load is none."""
    first = s.seen[o] == event or s.unused[o] == 1
    s.unused[o] = 0
    if s.seen[o] != event:
        take(s, o, event)
    promoted = s.where[o] == PROBATION and not first
    move(s, x.size_bytes, o, PROTECTED if promoted else s.where[o])
    while s.length[PROTECTED] > s.v[PROTECTED_ROOM]:
        move(s, x.size_bytes, s.newer[len(s.where) + PROTECTED], PROBATION)
