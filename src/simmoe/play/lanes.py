"""Runs that ask and decide the same, on many machines: lanes, for which requests, decisions and counts are made once.

No decision reads a clock. What does depend on the machine (where a placement leaves experts, what a miss rule reads of loads and of the
CPU) is compared by its numbers, and so is the text: what is shared is equal to the last bit, and nobody has to say what may be shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import fields, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from simmoe import policies
from simmoe.play.decided import Decided, decided
from simmoe.play.plan import Plan, WhenMissing, missing_of
from simmoe.play.workload import Workload
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.engines import Engine

MOST_BYTES = 2**29  # of decisions that are kept: about 17 bytes an access


class Lanes:
    """What the runs of a sweep or of a comparison share. It keeps the decisions that were used last, up to a number of bytes."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._first: list[Workload] = []  # of each text
        self._text: WeakKeyDictionary[Workload, int] = WeakKeyDictionary()  # its number
        self._kept: dict[Hashable, Decided] = {}  # used last stands last
        self._bytes = 0  # of those

    def join(self, workload: Workload) -> int:
        """The number of its text, whose requests and pass sizes it takes from the first workload that had the same."""
        if workload not in self._text:
            same = (number for number, other in enumerate(self._first) if _same_text(other, workload))
            number = self._text[workload] = next(same, len(self._first))
            if number == len(self._first):
                self._first.append(workload)
            else:
                workload.requests, workload.costs.sizes = self._first[number].requests, self._first[number].costs.sizes
        return self._text[workload]

    def decided(self, workload: Workload, plan: Plan, engine: Engine) -> Decided:
        """What the run decides: once for all that decide the same. Raises UserError."""
        missing = missing_of(workload, plan)
        key = self.join(workload), *_decides_by(workload, plan, engine, missing)
        found = self._kept.pop(key, None)
        if found is None:
            found = decided(workload, plan, missing, engine.player)
            self._bytes += found.size_bytes
        self._kept[key] = found
        while self._bytes > self.most_bytes:
            self._bytes -= self._kept.pop(next(iter(self._kept))).size_bytes
        return found


def _same_text(one: Workload, other: Workload) -> bool:
    """Whether the same is played and counted, read by the same caches."""
    same = _same_rows(one.trace, other.trace) and _same_rows(_counted(one), _counted(other))
    same = same and np.array_equal(one.costs.draft_ps, other.costs.draft_ps)
    return same and one.costs.spans == other.costs.spans


def _counted(workload: Workload) -> Trace | None:
    """The first rows, where a policy counts them and they are not played."""
    counted = workload.begun.counted
    return None if counted is None else counted.head


def _same_rows(one: Trace | None, other: Trace | None) -> bool:
    if one is None or other is None or one is other:
        return one is other
    pairs = ((getattr(one, field.name), getattr(other, field.name)) for field in fields(Trace) if field.name != "meta")
    return one.meta == other.meta and all(np.array_equal(*pair) for pair in pairs)


def _decides_by(workload: Workload, plan: Plan, engine: Engine, missing: WhenMissing) -> tuple[Hashable, ...]:
    """All that decisions depend on beside the text. A policy is known by its module: a file that changes is another one."""
    named = [("eviction", plan.eviction)] * (plan.eviction not in BOUNDS) + [("prefetch", plan.prefetch)] * bool(
        plan.prefetch
    )
    modules = [policies.load(kind, str(name)) for kind, name in named]
    rule = missing.rule and missing.rule._replace(tokens=workload.requests.ptr[:0])  # those of the requests
    asked = missing._replace(rule=rule)
    return engine.name, replace(plan, timeline=""), *modules, _sealed(workload.model.version_bytes), _sealed(asked)


def _sealed(it: Any) -> Hashable:
    """By which equal numbers are known, in little memory."""
    if isinstance(it, np.ndarray):
        return it.dtype.str, it.shape, hashlib.sha256(it.tobytes()).digest()
    return tuple(map(_sealed, it)) if isinstance(it, tuple) else it
