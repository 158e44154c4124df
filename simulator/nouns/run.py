"""What a run leaves behind: times by pass, spans, counts."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np

from simmoe.simulator.arrays import Ints

WAS_LATE = 1  # it was still on its way when the event that hit it computed its hits
WITHDRAWN = 2  # its transfer left the queue of the link before it started


@dataclass(frozen=True, eq=False)
class Clocks:
    """What an executor measures while it plays: int64 [passes] each, in picoseconds. A pass lasts as long as its causes together,
    less what of it ran beside the pass before."""

    start_ps: Ints
    end_ps: Ints
    stall_ps: Ints  # compute unit waiting for an expert to arrive
    slowed_ps: Ints  # compute time added by transfers into the same memory
    cpu_ps: Ints  # compute unit waiting for experts that the CPU computes
    experts_ps: Ints  # routed experts computed, as long as it takes while nothing slows it
    host_ps: Ints  # compute unit idle while the host waits for the router's result
    link_busy_ps: int
    fate: Ints = field(
        default_factory=lambda: np.zeros(0, np.int8)
    )  # [guesses] what time did to each: WAS_LATE, WITHDRAWN, 0
    overlapped_ps: Ints = field(
        default_factory=lambda: np.zeros(0, np.int64)
    )  # of each pass, while the pass before was still under way; empty where passes follow each other

    def __eq__(self, other: object) -> bool:
        """Every field, to the picosecond."""
        return isinstance(other, Clocks) and all(
            np.array_equal(getattr(self, one.name), getattr(other, one.name)) for one in fields(self)
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Spans:
    """Every launch, transfer and decision of a run, in picoseconds."""

    launches: list[tuple[str, int, int]] = field(default_factory=list)  # (name, start, duration)
    transfers: list[tuple[int, int, int]] = field(default_factory=list)  # (object, start, duration)
    carried: list[tuple[int, int, int]] = field(default_factory=list)  # (event, start, duration)
    decisions: list[int] = field(default_factory=list)  # [events] when the decisions of each event are made

    def launch(self, name: str, start: int, lasts: int) -> None:
        self.launches.append((name, start, lasts))

    def transfer(self, obj: int, start: int, lasts: int) -> None:
        self.transfers.append((obj, start, lasts))

    def carry(self, event: int, start: int, lasts: int) -> None:
        self.carried.append((event, start, lasts))


@dataclass(frozen=True)
class Amount:
    """Some prefetches."""

    count: int = 0
    bytes: int = 0


class Prefetched(NamedTuple):
    """What became of the prefetches of a run. Each is useful, wasted or cancelled; late ones are among the useful."""

    useful: Amount = Amount()  # a request hit it before it left
    late: Amount = Amount()  # it was still on its way when the event that hit it computed its hits
    wasted: Amount = Amount()  # it was loaded, and left or met the end of the run without a request
    cancelled: Amount = Amount()  # it left the queue of the link before it started, and was never loaded


@dataclass(frozen=True)
class Counts:
    """What one phase asked of the cache. Requests are distinct experts of an event; bytes are all bytes that crossed the link."""

    tokens: int
    requests: int
    hits: int
    misses: int  # loaded
    on_cpu: int  # computed on the CPU, because the placement left them to it or because the miss rule sent them there
    evictions: int
    prefetches: int
    bytes: int
    placed: int = 0  # of on_cpu: for experts that the placement left to the CPU
    write_back_bytes: int = 0  # evicted experts copied back; not in bytes
    carried: int = 0  # of placed: carried over the link for one pass and computed on the device
    substituted: int = (
        0  # a resident expert of the same layer computed in their place; this and the next: by the miss rule
    )
    dropped: int = 0  # nobody computed them
    low_precision: int = 0  # a low copy served them, loaded or from its pool
    low_hits: int = 0  # of low_precision: the pool held the copy

    @property
    def of_device(self) -> int:
        """Requests for experts that the placement left to the device."""
        return self.requests - self.placed

    @property
    def hit_rate(self) -> float | None:
        """Of the requests for experts that the placement left to the device; what a miss rule sends to the CPU, replaces or
        drops, or serves with a low copy, is a miss."""
        return self.hits / self.of_device if self.of_device else None
