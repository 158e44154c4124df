"""How large a room each request needs to be a hit: one pass over the events of a scope group for all rooms.

R. L. Mattson, J. Gecsei, D. R. Slutz, I. L. Traiger, "Evaluation techniques for storage hierarchies", IBM Systems Journal 9 (2), 1970,
sections 3 (LRU) and 4 (priority lists): where the content of a room is part of the content of every larger one, the objects form a stack,
and a room holds its top. Here an event requests a set: its hits are looked up before any of it moves, and its stamps come at its end.

Inclusion holds for every room that holds the largest event; a smaller one gives up experts of the event itself, and is played instead
(simulator/decide/curves.py). `reach_min` and `reach_bypass` count in objects of one size; `reach_lru` adds up sizes of any kind.
The text is that of a kernel: flat integer arrays (or lists) and whole numbers only.
"""

from __future__ import annotations

from typing import Any

NEVER = 2**62  # no room makes the request a hit: the object was not requested before
HEAD, STAMP, DEPTH, ALIKE = (
    0,
    1,
    2,
    3,
)  # of `count`: next place of the axis; stamps so far; objects in the stack; 1 = sizes are all 1
PINNED = -1  # key of an object that the event requests
LATEST = 2**32 - 1  # stamp that sorts first among keys of one event


def reach_lru(
    begin: int, end: int, ptr: Any, obj: Any, use_ptr: Any, use_obj: Any, size: Any, reach: Any,
    place: Any, owner: Any, taken: Any, after: Any, count: Any,
) -> None:  # fmt: skip
    """reach[i]: sizes of what was stamped since the object of request i was, its own among them. A hit in rooms of at least that.

    Each stamp takes the next place of an axis, and the object's earlier place is free. Row r has the places 32 r … 32 r + 31. place
    [objects]: where each is, 0 = nowhere; owner: the object of each place; taken: a bit for each place of a row; after: sizes of all that
    is in later rows.
    """
    for event in range(begin, end):
        for i in range(ptr[event], ptr[event + 1]):
            at = place[obj[i]]
            reach[i] = NEVER
            if at > 0:
                reach[i] = newer(at, size, owner, taken, after, count)
        for j in range(use_ptr[event], use_ptr[event + 1]):
            if count[HEAD] == len(owner):
                close_up(size, place, owner, taken, after, count)
            o = use_obj[j]
            at, to = place[o], count[HEAD]
            taken[at >> 5] &= ~(1 << (at & 31))
            taken[to >> 5] |= 1 << (to & 31)
            later(at >> 5, to >> 5, size[o], after)
            place[o] = to
            owner[to] = o
            count[HEAD] = to + 1


def later(low: int, high: int, size: int, after: Any) -> None:
    """In rows low … high - 1 there is so much more in later rows. Whole stretches of 32 rows, which a processor changes at once."""
    for stretch in range(low >> 5, (high >> 5) + 1):
        for k in range(32):
            after[(stretch << 5) + k] += size if (stretch << 5) + k >= low and (stretch << 5) + k < high else 0


def newer(at: int, size: Any, owner: Any, taken: Any, after: Any, count: Any) -> int:
    """Sizes of what is at place `at` and at later ones."""
    here, total, k = taken[at >> 5] >> (at & 31), after[at >> 5], at
    if count[ALIKE]:
        here = here - ((here >> 1) & 0x55555555)  # ones in pairs of bits, then in fours, in bytes, in all
        here = (here & 0x33333333) + ((here >> 2) & 0x33333333)
        here = (here + (here >> 4)) & 0x0F0F0F0F
        total += (here * 0x01010101 >> 24) & 255
    else:
        while here > 0:
            if here & 1:
                total += size[owner[k]]
            here >>= 1
            k += 1
    return total


def close_up(size: Any, place: Any, owner: Any, taken: Any, after: Any, count: Any) -> None:
    """Moves what is on the axis to its beginning, in the same order; place 0 stays empty."""
    to, total = 1, 0
    for k in range(1, len(owner)):
        if taken[k >> 5] >> (k & 31) & 1:
            owner[to] = owner[k]
            place[owner[k]] = to
            to += 1
    for row in range(len(taken)):
        taken[row] = 0
        after[row] = 0
    for back in range(1, to):
        k = to - back
        taken[k >> 5] |= 1 << (k & 31)
        if k & 31 == 31:
            after[k >> 5] = total
        total += size[owner[k]]
    count[HEAD] = to


def reach_min(
    begin: int, end: int, ptr: Any, obj: Any, use_ptr: Any, use_obj: Any, following: Any, reach: Any,
    key: Any, stamp: Any, stack: Any, count: Any,
) -> None:  # fmt: skip
    """reach[i]: the least number of slots with which Belady's MIN has request i as a hit, where the event's experts stay.

    stack: keys from the top on; a key orders what may leave: the farthest next event first, then the oldest stamp. key [objects]: that of
    each, 0 = none yet. What the event requests has the least keys of all while it is played, so nothing pushes it down.
    """
    for event in range(begin, end):
        for i in range(ptr[event], ptr[event + 1]):
            reach[i] = push(PINNED, key[obj[i]], stack, count)
        stamps(event, use_ptr, use_obj, stamp, count)
        for i in range(ptr[event], ptr[event + 1]):
            new = key_of(following[i], stamp[obj[i]])
            key[obj[i]] = new
            stack[i - ptr[event]] = new


def reach_bypass(
    begin: int, end: int, ptr: Any, obj: Any, use_ptr: Any, use_obj: Any, following: Any, reach: Any,
    key: Any, stamp: Any, stack: Any, count: Any,
) -> None:  # fmt: skip
    """The same where an expert of the event need not be kept: what is next requested soonest stays, of what was there and of the event."""
    for event in range(begin, end):
        stamps(event, use_ptr, use_obj, stamp, count)
        for i in range(ptr[event], ptr[event + 1]):
            new = key_of(following[i], stamp[obj[i]])
            reach[i] = rename(key[obj[i]], new, stack, count)
            key[obj[i]] = new
        for i in range(ptr[event], ptr[event + 1]):
            push(key[obj[i]], key[obj[i]], stack, count)


def stamps(event: int, use_ptr: Any, use_obj: Any, stamp: Any, count: Any) -> None:
    """The stamps of an event, in the order of its occurrences."""
    for j in range(use_ptr[event], use_ptr[event + 1]):
        stamp[use_obj[j]] = count[STAMP]
        count[STAMP] += 1


def key_of(following: int, stamp: int) -> int:
    """A greater key leaves earlier."""
    return (following << 32) + LATEST - stamp


def push(new: int, old: int, stack: Any, count: Any) -> int:
    """Puts the key `new` on top. What it pushes down goes on at the next place where something may leave sooner, until the place of `old`,
    or the end, takes it. Returns how many slots hold `old`."""
    carried, k, depth = new, 0, count[DEPTH]
    while k < depth and stack[k] != old:
        if stack[k] > carried:
            kept = stack[k]
            stack[k] = carried
            carried = kept
        k += 1
    stack[k] = carried
    if k == depth:
        count[DEPTH] = depth + 1
    return NEVER if k == depth else k + 1


def rename(old: int, new: int, stack: Any, count: Any) -> int:
    """Another key in the place of `old`; how many slots hold it."""
    k, depth = 0, count[DEPTH]
    while k < depth and stack[k] != old:
        k += 1
    if k < depth:
        stack[k] = new
    return NEVER if k == depth else k + 1
