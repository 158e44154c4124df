"""What an eviction policy is: functions over flat integer arrays, no classes, no clock; a file in policies/eviction overrides them.

The machine calls them by these names; a policy file leaves out what it does not need. `s` is what `init` returned (a tuple of
flat arrays), `o` an object, `event` the number of the event within the scope group, `x` an Extras.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

NEEDS: tuple[
    str, ...
] = ()  # what the policy reads beside sizes: next_use, ahead, random, argument, popularity, gate, layer, sequence, pinned


class Extras(NamedTuple):
    """What a policy may know beside its own state; a field that its NEEDS does not name is empty."""

    size_bytes: Any  # int64 [objects]
    events: Any  # int64 [1], events of the scope group
    next_use: Any  # int64 [objects], next event that requests the object, as of now (exact foresight); events = never
    random_high: Any  # int64 [evictions], upper 32 bits of SplitMix64 output n
    random_low: Any  # int64 [evictions], lower 32 bits
    argument: Any  # int64 [arguments], what stands behind the policy's name, in the order of its ARGUMENTS; a share in millionths
    popularity: Any  # int64 [objects], tokens that chose the object in the text behind the colon, else in the text that is played
    gate: Any  # int64 [objects], gate mass that the latest event which requested the object gave it, in 1/65536
    layer: Any  # int64 [objects], MoE layer of the object
    sequence: Any  # int64 [events], sequences that have entered so far, with the event's pass: it rises where a new one enters
    pinned: Any  # int64 [objects + 2], how many objects follow; then what the event and its prefetches keep from leaving as of now, each
    #              once; what has left for its own event stands there, too


class Known(NamedTuple):
    """What of its requests a policy NEEDS; an array that it does not need is empty."""

    mass: Any = np.zeros(0, np.int64)  # [requests] what becomes Extras.gate
    layer: Any = np.zeros(0, np.int64)  # [objects]
    sequence: Any = np.zeros(0, np.int64)  # [events]


class Told(NamedTuple):
    """What a policy is told when it is named: the fields of Extras of these names, popularity of all objects of the run."""

    argument: Any = np.zeros(0, np.int64)
    popularity: Any = np.zeros(0, np.int64)


def init(n_objects: int, capacity_bytes: int, x: Extras) -> Any:
    """State of an empty cache: a tuple of flat integer arrays."""
    return (np.zeros(1, np.int64),)


def miss(s: Any, o: int, event: int, x: Extras) -> None:
    """The event requests `o`, which is not resident; called before its victims are chosen."""


def insert(s: Any, o: int, event: int, x: Extras) -> None:
    """`o` takes a slot, for a demand load or a prefetch."""


def use(s: Any, o: int, event: int, x: Extras) -> None:
    """The stamp: `o` is resident at the end of the event; called for every occurrence, token-major."""


def victim(s: Any, free: Any, event: int, x: Extras) -> int:
    """The resident object to evict among those with free[o] true; -1 if there is none."""
    return -1


def remove(s: Any, o: int, event: int, x: Extras) -> None:
    """`o` leaves its slot."""
