"""Residents in numbered buckets, oldest stamp first within one; the victim is taken from the highest bucket that has a free member.

Each bucket is a ring. A three-level bitmap of 32-bit words says which buckets may be non-empty; a bit is set on entry and cleared
only when a search finds its bucket empty, so every operation is O(1) amortised. The search starts at the highest bucket that can be
occupied: with millions of buckets the bitmap's own top level is long.
"""

import numpy as np

from simmoe.policies.lists import drop, oldest_free, push, rings


def buckets(n_objects, n_buckets):
    """older, newer, bitmaps of levels 0, 1, 2 for `n_buckets` empty buckets, and no bucket above [0] is occupied."""
    older, newer = rings(n_objects, n_buckets)
    size = n_buckets // 32 + 1
    return (
        older,
        newer,
        np.zeros(size, np.int64),
        np.zeros(size // 32 + 1, np.int64),
        np.zeros(size // 1024 + 1, np.int64),
        np.zeros(1, np.int64),
    )


def enter(b, n_objects, bucket, o):
    """Make `o` the newest member of `bucket`."""
    low, middle, high, top = b[2], b[3], b[4], b[5]
    low[bucket >> 5] |= 1 << (bucket & 31)  # set or not: asking first costs more than writing
    middle[bucket >> 10] |= 1 << (bucket >> 5 & 31)
    high[bucket >> 15] |= 1 << (bucket >> 10 & 31)
    if bucket > top[0]:
        top[0] = bucket
    push(b[0], b[1], n_objects + bucket, o)


def leave(b, o):
    """Take `o` out of its bucket."""
    drop(b[0], b[1], o)


def highest_free(b, n_objects, above, free):
    """The oldest free member of the highest bucket > `above` that has one, -1 if there is none."""
    newer, low, middle, high, top = b[1], b[2], b[3], b[4], b[5]
    bucket, o = top[0], -1
    while o < 0 and bucket > above:
        if newer[n_objects + bucket] == n_objects + bucket:
            clear(low, middle, high, bucket)
            if bucket == top[0]:
                top[0] = previous(low, middle, high, bucket)
        else:
            o = oldest_free(newer, n_objects + bucket, free)
        if o < 0:
            bucket = previous(low, middle, high, bucket - 1)
    return o


def clear(low, middle, high, bucket):
    """Unset the bit of an empty bucket, and those above it that have become zero."""
    low[bucket >> 5] &= ~(1 << (bucket & 31))
    if low[bucket >> 5] == 0:
        middle[bucket >> 10] &= ~(1 << (bucket >> 5 & 31))
        if middle[bucket >> 10] == 0:
            high[bucket >> 15] &= ~(1 << (bucket >> 10 & 31))


def previous(low, middle, high, start):
    """The highest set bit at or below `start`, -1 if there is none."""
    if start < 0:
        return -1
    word = start >> 5
    bits = low[word] & ((2 << (start & 31)) - 1)
    if bits == 0:
        word = previous_word(middle, high, word - 1)
        if word < 0:
            return -1
        bits = low[word]
    return (word << 5) + top_bit(bits)


def previous_word(middle, high, start):
    """The highest non-zero word of the lowest level at or below word `start`, -1 if there is none."""
    if start < 0:
        return -1
    word = start >> 5
    bits = middle[word] & ((2 << (start & 31)) - 1)
    if bits == 0:
        group = (word - 1) >> 5
        if word == 0:
            return -1
        bits = high[group] & ((2 << ((word - 1) & 31)) - 1)
        while bits == 0:
            group -= 1
            if group < 0:
                return -1
            bits = high[group]
        word = (group << 5) + top_bit(bits)
        bits = middle[word]
    return (word << 5) + top_bit(bits)


def top_bit(bits):
    """Position of the highest set bit of 0 < bits < 2**32, without a branch: no processor could foretell it."""
    at = (bits > 65535) << 4
    at += (bits >> at > 255) << 3
    at += (bits >> at > 15) << 2
    at += (bits >> at > 3) << 1
    return at + (bits >> at > 1)
