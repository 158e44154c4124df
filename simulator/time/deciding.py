"""What is decided about a pass that has been formed, and how long its loads take: by one device, or by each of several about its own
experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.devices import asked_of, guessed_of, judged, numbered, together
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.pass_by_pass import Decider, Indices
from simmoe.simulator.grown import Grown
from simmoe.simulator.lower.durations import Loading, loading, loading_of_each
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.layout import Layout


class Decided(NamedTuple):
    """What was asked, wanted early and decided; of several devices an event is as many (decide/devices.py)."""

    requests: Requests
    guesses: Guesses
    decisions: Decisions


class Deciding(Protocol):
    """One run."""

    rooms: tuple[int, ...]  # bytes that each scope group may hold
    begins: tuple[int, ...]  # bytes that each holds before the first event
    group: Ints | None  # as Decisions.group

    def of_pass(self, requests: Requests, guesses: Guesses) -> tuple[Decided, Loading]:
        """The next pass, numbered from its own beginning; but `fresh_by` are guesses of the run."""

    def of_run(self, requests: Requests, guesses: Guesses) -> tuple[Decided, Callable[[], Loading]]:
        """All passes, numbered as the run is; and how long their loads take, which is seldom asked for."""

    def fails_compiled(self, error: Exception) -> Exception:
        """What to say of an error that only compiled text raised."""


class OneDevice:
    """It decides about all."""

    group: Ints | None = None

    def __init__(self, decider: Decider, costs: Costs, *, with_cpu: bool, write_back: bool) -> None:
        """with_cpu: the CPU may compute experts. write_back: evicted experts are copied back."""
        self.decider, self.costs, self.with_cpu, self.write_back = decider, costs, with_cpu, write_back
        self.rooms, self.begins, self.fails_compiled = decider.rooms, decider.begins, decider.fails_compiled

    def of_pass(self, requests: Requests, guesses: Guesses) -> tuple[Decided, Loading]:
        made = Decided(requests, guesses, self.decider.decide(requests, guesses))
        return made, self._loading(made)

    def of_run(self, requests: Requests, guesses: Guesses) -> tuple[Decided, Callable[[], Loading]]:
        made = Decided(requests, guesses, self.decider.whole(requests, guesses))
        return made, lambda: self._loading(made)

    def _loading(self, made: Decided) -> Loading:
        requests, guesses, decisions = made
        return loading(self.costs, requests, decisions, guesses, write_back=self.write_back, with_cpu=self.with_cpu)


class EachDevice:
    """Each of several devices decides alone."""

    def __init__(
        self, layout: Layout, deciders: Sequence[Decider], costs: Sequence[Costs], *, write_back: bool
    ) -> None:
        """deciders, costs: of each device."""
        self.layout, self.deciders, self.costs, self.write_back = layout, deciders, costs, write_back
        self.mine = [layout.of(device) for device in range(layout.devices)]
        self.rooms = tuple(room for one in deciders for room in one.rooms)
        self.begins = tuple(begin for one in deciders for begin in one.begins)
        self.group: Ints | None = layout.unit.reshape(-1)
        self._guesses = 0  # of the run so far
        self._brought_by = [Grown(Indices(np.zeros(0, np.int64)), lambda array: array) for _ in deciders]

    def of_pass(self, requests: Requests, guesses: Guesses) -> tuple[Decided, Loading]:
        asked, guessed = self._split(requests, guesses)
        decided = [one.decide(*of_it) for one, of_it in zip(self.deciders, zip(asked, guessed))]
        for known, number in zip(self._brought_by, numbered(guessed)):
            known.extend(at=number + self._guesses)
        self._guesses += len(guesses.obj)
        brought_by = [known.now.at for known in self._brought_by]
        made = Decided(*together(asked, guessed), judged(self.layout, asked, guessed, decided, brought_by))
        return made, loading_of_each(self.costs, asked, guessed, decided, write_back=self.write_back)

    def of_run(self, requests: Requests, guesses: Guesses) -> tuple[Decided, Callable[[], Loading]]:
        asked, guessed = self._split(requests, guesses)
        decided = [one.whole(*of_it) for one, of_it in zip(self.deciders, zip(asked, guessed))]
        made = Decided(*together(asked, guessed), judged(self.layout, asked, guessed, decided))
        return made, lambda: loading_of_each(self.costs, asked, guessed, decided, write_back=self.write_back)

    def fails_compiled(self, error: Exception) -> Exception:
        return self.deciders[0].fails_compiled(error)

    def _split(self, requests: Requests, guesses: Guesses) -> tuple[list[Requests], list[Guesses]]:
        return [asked_of(requests, one) for one in self.mine], [guessed_of(guesses, one) for one in self.mine]
