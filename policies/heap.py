"""Residents in a binary heap, the least key first, ties the oldest stamp. A key may only rise.

A raised key is written down and nothing else: the heap still orders its object by the key under which it was filed, which is a lower
bound, and files it anew when it reaches the top. So a use costs O(1), a victim O(log residents).

`b` starts with what `heap` returned: the heap of objects (behind its length whatever is left there), the place of each object in it,
keys and stamps by which objects are filed, those that they have now, and LENGTH and STAMPS.
"""

import numpy as np

LENGTH, STAMPS = 0, 1  # of b[6]: objects in the heap, stamps given so far
FIELDS, KEY = 7, 4  # of `b`: their number; the keys


def heap(n_objects):
    """An empty heap."""
    at, place, filed_key, filed_stamp, key, stamp = (np.zeros(n_objects, np.int64) for _ in range(6))
    return at, place, filed_key, filed_stamp, key, stamp, np.zeros(2, np.int64)


def rank(b, o, key):
    """`o` has that key and the newest stamp from now on; a resident's key must not fall."""
    b[4][o] = key
    b[5][o] = b[6][STAMPS]
    b[6][STAMPS] += 1


def file(b, o):
    """Put `o` into the heap by the key and the stamp that it has."""
    b[2][o] = b[4][o]
    b[3][o] = b[5][o]
    b[6][LENGTH] += 1
    rise(b, o, b[6][LENGTH] - 1)


def unfile(b, o):
    """Take `o` out of the heap, wherever it stands."""
    b[6][LENGTH] -= 1
    last, hole = b[0][b[6][LENGTH]], b[1][o]
    if last != o:
        rise(b, last, hole)
        hole = b[1][last]
        sink(b, last, hole)


def least_free(b, free):
    """The free object of the least key, -1 if there is none. What is pinned steps aside behind the heap's end and comes back."""
    at, filed_key, filed_stamp, key, stamp, v = b[0], b[2], b[3], b[4], b[5], b[6]
    every, o = v[LENGTH], -1
    while o < 0 and v[LENGTH] > 0:
        top = at[0]
        if filed_key[top] != key[top] or filed_stamp[top] != stamp[top]:
            filed_key[top] = key[top]
            filed_stamp[top] = stamp[top]
            sink(b, top, 0)
        elif free[top]:
            o = top
        else:
            v[LENGTH] -= 1
            last = at[v[LENGTH]]
            at[v[LENGTH]] = top
            sink(b, last, 0)
    while v[LENGTH] < every:
        v[LENGTH] += 1
        back = at[v[LENGTH] - 1]
        rise(b, back, v[LENGTH] - 1)
    return o


def rise(b, o, hole):
    """Put `o` into the hole, or where an ancestor stands that it comes before."""
    at, place, filed_key, filed_stamp = b[0], b[1], b[2], b[3]
    key, stamp, going = filed_key[o], filed_stamp[o], hole > 0
    while going:
        above = at[(hole - 1) >> 1]
        going = key < filed_key[above] or (key == filed_key[above] and stamp < filed_stamp[above])
        if going:
            at[hole] = above
            place[above] = hole
            hole = (hole - 1) >> 1
            going = hole > 0
    at[hole] = o
    place[o] = hole


def sink(b, o, hole):
    """Put `o` into the hole, or where a descendant stands that comes before it."""
    at, place, filed_key, filed_stamp, length = b[0], b[1], b[2], b[3], b[6][LENGTH]
    key, stamp, child = filed_key[o], filed_stamp[o], 2 * hole + 1
    while child < length:
        below = at[child]
        if child + 1 < length:
            other = at[child + 1]
            if filed_key[other] < filed_key[below] or (
                filed_key[other] == filed_key[below] and filed_stamp[other] < filed_stamp[below]
            ):
                below = other
                child += 1
        if filed_key[below] < key or (filed_key[below] == key and filed_stamp[below] < stamp):
            at[hole] = below
            place[below] = hole
            hole = child
            child = 2 * hole + 1
        else:
            child = length
    at[hole] = o
    place[o] = hole
