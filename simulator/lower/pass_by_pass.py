"""What lowering reads, growing pass by pass: tables of sizes, what was asked and decided, and what it reserves. Reads no clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.grown import Grown
from simmoe.simulator.lower.durations import Loading
from simmoe.simulator.lower.occupancy import Occupancy
from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work
from simmoe.simulator.lower.tables import (
    behind_ps,
    launches_ps,
    most_of,
    notes_of,
    number_of,
    rows_of_counts,
    rows_of_sizes,
    slower_by,
    tables_for,
    with_cpu,
    work_of,
)
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.pass_sizes import PassSize

Arrays = Callable[[Any], Any]


class Lowered:
    """The passes so far, numbered as the run is. `costs.sizes` grows with them."""

    fixed: Fixed
    notes: Notes
    tables: Grown[Tables]
    work: Grown[Work]

    def __init__(self, costs: Costs, occupancy: Occupancy | None, arrays: Arrays, *, with_cpu: bool) -> None:
        """occupancy: grows, too, where it is given. with_cpu: the CPU may compute experts."""
        self.costs, self.occupancy, self.arrays, self.with_cpu = costs, occupancy, arrays, with_cpu
        self._sizes: dict[PassSize, int] = {}
        self._most: dict[str, int] = {}  # the longest of the times that a launch may take
        self.longest_ps = 0  # of the last pass: no longer, behind all transfers before it

    def add(self, size: PassSize, requests: Requests, guesses: Guesses, decisions: Decisions, loads: Loading) -> None:
        """The next pass, numbered from its own beginning; but `fresh_by` are guesses of the run."""
        work = work_of(self.costs, requests, decisions, guesses, loads, self.with_cpu, [size], with_gone=True)
        self.costs.sizes.append(size)
        shares = self.costs.shares[-(1 if self.costs.owner is None else self.costs.devices) :]
        if not self._sizes:
            self._begin(shares, requests.most_slots)
            self._reserve(requests, decisions, guesses, 0, 0, 0)
            self.work = Grown(work, self.arrays)
        else:
            n = self.work.length
            self._grow(shares, requests.most_slots)
            self._reserve(requests, decisions, guesses, n["ptr"] - 1, n["loads"], n["guess_obj"])
            self._extend(work)
        launches = slower_by(self.costs, self.with_cpu) * launches_ps(self.fixed, self._most)
        self.longest_ps = launches + behind_ps(self.costs, work)

    def _begin(self, shares: list[PassSize], slots: int) -> None:
        n_experts = self.costs.trace.n_experts
        self.fixed, tables = tables_for(self.costs, n_experts, slots, range(self.costs.laws))
        if self.with_cpu:
            self.fixed = with_cpu(self.fixed, self.costs)
        self.tables, self.notes = Grown(tables, self.arrays), self.arrays(notes_of(n_experts, self.costs.devices))
        self._sizes, self._most = number_of(shares), most_of(tables._asdict())

    def _grow(self, shares: list[PassSize], slots: int) -> None:
        """Tables for a pass of which devices have those shares, or one has all."""
        more: dict[str, Ints] = {}
        if new := [size for size in dict.fromkeys(shares) if size not in self._sizes]:
            self._sizes |= {size: len(self._sizes) + i for i, size in enumerate(new)}
            more = rows_of_sizes(self.costs, new, range(self.costs.laws))
        self.tables.extend(size=np.array([self._sizes[size] for size in shares]), **more)
        if slots >= self.fixed.flop_stride:
            wider = rows_of_counts(self.costs, self.fixed.read_stride - 1, 2 * slots, range(self.costs.laws))
            self.tables.put(**wider)
            self.fixed = self.fixed._replace(flop_stride=2 * slots + 1)
            more |= wider
        for name, most in most_of(more).items():
            self._most[name] = max(self._most[name], most)

    def _extend(self, more: Work) -> None:
        n = self.work.length
        requests, guesses = n["obj"], n["guess_obj"]
        shifted = more._replace(
            ptr=more.ptr[1:] + requests, slot_ptr=more.slot_ptr[1:] + int(self.work.now.slot_ptr[n["slot_ptr"] - 1]),
            loads=more.loads + requests, guess_ptr=more.guess_ptr[1:] + guesses, fresh=more.fresh + requests,
            guess_for=more.guess_for + n["ptr"] - 1,
        )  # fmt: skip
        self.work.extend(**shifted._asdict())

    def _reserve(
        self, requests: Requests, decisions: Decisions, guesses: Guesses, event: int, load: int, guess: int
    ) -> None:
        """What the pass reserves and frees; only SimPy's memories ask for it, and they run interpreted."""
        if self.occupancy is not None:
            more = Occupancy.of(requests, decisions, guesses, self.costs.decided_bytes)
            self.occupancy.extend(more, event, load, guess)
