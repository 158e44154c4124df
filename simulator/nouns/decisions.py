"""What a prefetcher wants and what was decided: flat arrays by request, guess and event."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simmoe.simulator.arrays import Flags, Ints


@dataclass(frozen=True, eq=False)
class Guesses:
    """What a prefetcher wants, decided at the end of each event: [events + 1] pointers into objects, in order of preference."""

    ptr: Ints
    obj: Ints
    buffered: bool = False  # into buffers beside the cache, where a guess waits for the next event of its layer
    cancel: bool = (
        False  # a transfer that has not started when the event is decided that it is for leaves the queue of the link
    )


class Buffered(NamedTuple):
    """What buffers hold before the first event of a run that begins behind a warm-up."""

    obj: Ints
    until: Ints  # event that each is for
    promoted: Ints  # requests that hit one of them, which then takes a slot


def _none() -> Ints:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Decisions:
    """Issue records of a whole run, by request, guess and event."""

    hit: npt.NDArray[np.bool_]  # [requests] the slot was reserved at the event's start
    wait: Ints  # [requests] a load is issued when the first `wait` experts of its event, in computed order, have ended
    issued: npt.NDArray[np.bool_]  # [guesses] prefetched
    loads: Ints  # [loads] requests that are loaded, in order
    cpu: Ints  # requests that the CPU computes; those that are no hit are loaded, here, low, or dropped, or another expert stands in
    evicted: (
        Ints  # [evictions] object, in order of eviction; a low copy is numbered behind all objects (decide/versions.py)
    )
    evicted_for: Ints  # [evictions] request that takes the room; -1 - guess for a prefetch
    used: Ints  # [events] resident bytes at the end of the event
    fresh: (
        Ints  # [fresh] hits on what a guess brought and no event requested since, in order: it may still be on its way
    )
    fresh_by: Ints  # [fresh] that guess
    unused_bytes: int  # rest of the budget that no whole slot of a layer's quota uses
    rooms: tuple[int, ...]  # bytes that each scope group may hold
    begins: tuple[int, ...]  # bytes that each holds before the first event
    emptied: Ints  # events at whose start all slots are given up
    group: Ints | None = None  # [objects] scope group of each; None = the objects in order, in equal parts
    start: str = "cold"  # how the slots were before the first event that was decided: warm, cold, warm in part
    met: Flags | None = None  # [objects] was resident before the first event, since slots were emptied
    buffered: Buffered | None = None
    dropped: Ints = field(default_factory=_none)  # requests that the miss rule left out: nobody computes them
    stands: Ints = field(default_factory=_none)  # requests for which a resident expert of the same layer computes
    stands_by: Ints = field(default_factory=_none)  # that object
    low: Ints = field(
        default_factory=_none
    )  # requests that a low copy serves: loaded, or else a hit of the pool of low copies
    pooled: bool = False  # low copies stay in a pool, the last scope group; else they are forgotten with their event
