"""W-TinyLFU (Einziger, Friedman and Manes, ACM ToS 2017): a small LRU window, then a main cache that only the frequent may enter.

The window has 1 % of the capacity (at least the largest object), the main cache is segmented LRU: 20 % probation, 80 % protected.
When room is short the window's oldest contends with the main cache's oldest: the one that was requested more often lately stays,
the resident one on equal counts. Counts are of events, 4 bits each, halved whenever 10 capacities of them have been taken.

The paper counts in a hashed sketch with a Bloom filter before it. Objects are numbered densely here, so a counter for each is what
that sketch estimates, and there is no hash to collide. libCacheSim 0.3.5 follows other rules under this name: it does not count
hits in the window, counts a contender again at each contest, does not cap the counters, halves them after 32 *bytes* of main cache
instead of 10 objects, and refuses every object where 1 % of the capacity is less than one. tests/test_arc_tinylfu.py plays both
sets of rules, shows that each equals its implementation flag by flag, and bounds the difference.

Several loads of one event cannot contend with each other, since all are pinned: the window outgrows its share until a later event,
the main cache shrinks by as much, and each one still contends before it enters. A prefetch is no request: it is not counted, and the
first use of what it brought does not promote it.
"""

import numpy as np

from simmoe.policies.lists import move, oldest_free, segments

NEEDS = ()
WINDOW, PROBATION, PROTECTED = 1, 2, 3
WINDOW_ROOM, MAIN_ROOM, PROTECTED_ROOM, PERIOD, TAKEN, HALVINGS, CONTESTED = 0, 1, 2, 3, 4, 5, 6
TOP = 15  # four bits
SAMPLE = 10  # counts taken between two halvings, in capacities


def init(n_objects, capacity_bytes, x):
    """Three segments, constants; by object: last event that saw it, count, halvings that the count has had, prefetched and unused."""
    size = np.array(x.size_bytes, np.int64)
    grain, largest = int(np.gcd.reduce(size)), int(size.max())
    window = max(capacity_bytes // 100 // grain * grain, largest)
    main = max(capacity_bytes // grain * grain - window, 0)
    period = SAMPLE * max(capacity_bytes // largest, 1)
    v = np.array([window, main, main * 4 // 5, period, 0, 0, 0])
    by_object = [np.zeros(n_objects, np.int64) for _ in range(3)]
    return (*segments(n_objects, 3), v, np.full(n_objects, -1), *by_object)


def miss(s, o, event, x):
    take(s, o, event)


def take(s, o, event):
    """Count one request of `o`."""
    v, seen, counts, halved = s[4], s[5], s[6], s[7]
    seen[o] = event
    counts[o] = min(count(s, o) + 1, TOP)
    halved[o] = v[HALVINGS]
    v[TAKEN] += 1
    if v[TAKEN] >= v[PERIOD]:
        v[TAKEN] //= 2
        v[HALVINGS] += 1


def count(s, o):
    """Requests of `o` lately; a counter is halved when it is read, four times at most since that empties it."""
    return s[6][o] >> min(s[4][HALVINGS] - s[7][o], 4)


def victim(s, free, event, x):
    """Whoever loses the contest; a winner enters the main cache at once, and while that has room nobody has to leave for it."""
    newer, where, length, v = s[1], s[2], s[3], s[4]
    v[CONTESTED] = 1
    resident = oldest_free(newer, len(where) + PROBATION, free)
    if resident < 0:
        resident = oldest_free(newer, len(where) + PROTECTED, free)
    o = oldest_free(newer, len(where) + WINDOW, free)
    while o >= 0:
        if resident < 0 or count(s, o) <= count(s, resident):
            return o
        move(s, x.size_bytes, o, PROBATION)
        if length[PROBATION] + length[PROTECTED] > v[MAIN_ROOM]:
            break
        o = oldest_free(newer, len(where) + WINDOW, free)
    return resident


def remove(s, o, event, x):
    move(s, x.size_bytes, o, 0)


def insert(s, o, event, x):
    """New ones start in the window; it overflows into a main cache that has room, unless this load had to contend."""
    newer, where, length, v = s[1], s[2], s[3], s[4]
    s[8][o] = 0 if s[5][o] == event else 1
    move(s, x.size_bytes, o, WINDOW)
    while v[CONTESTED] == 0 and length[WINDOW] > v[WINDOW_ROOM]:
        oldest = newer[len(where) + WINDOW]
        if length[PROBATION] + length[PROTECTED] + x.size_bytes[oldest] > v[MAIN_ROOM]:
            break
        move(s, x.size_bytes, oldest, PROBATION)
    v[CONTESTED] = 0


def use(s, o, event, x):
    """A hit in probation is protected from now on; the use that ends the event of its own load is none."""
    newer, where, length, v, seen, unused = s[1], s[2], s[3], s[4], s[5], s[8]
    first = seen[o] == event or unused[o] == 1
    unused[o] = 0
    if seen[o] != event:
        take(s, o, event)
    promoted = where[o] == PROBATION and not first
    move(s, x.size_bytes, o, PROTECTED if promoted else where[o])
    while length[PROTECTED] > v[PROTECTED_ROOM]:
        move(s, x.size_bytes, newer[len(where) + PROTECTED], PROBATION)
