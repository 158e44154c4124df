"""Decisions pass by pass: what decisions.py decides in one go, for passes that are not known before they begin. Reads no clock."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide import blame
from simmoe.simulator.decide import residency as machine
from simmoe.simulator.decide.absent import absent, check_absent, looks_ahead
from simmoe.simulator.decide.decisions import NOTHING_TOLD, bound, left_to_device, quotas
from simmoe.simulator.decide.fitted import Fitted
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.groups import Part, parts_of, renumbered
from simmoe.simulator.decide.hooks import Extras, Known, Told
from simmoe.simulator.decide.laws import check_occupancy
from simmoe.simulator.decide.missing import LOAD, Rule, question
from simmoe.simulator.decide.player import (
    NEVER,
    Player,
    Task,
    answers,
    fails_compiled,
    gates_of,
    needs_of,
    splitmix64,
    state_of,
    told_of,
    verdicts_for,
)
from simmoe.simulator.decide.prices import of_these
from simmoe.simulator.decide.residency import Slots, Stream, Verdicts
from simmoe.simulator.decide.start import Limits, started
from simmoe.simulator.errors import UserError
from simmoe.simulator.grown import Grown
from simmoe.simulator.nouns.decisions import Decisions, Guesses

NONE = np.zeros(0, np.int64)


class Decider(Protocol):
    """Decides one pass after the other, and puts the whole run together behind the last."""

    rooms: tuple[int, ...]  # bytes that each scope group may hold
    begins: tuple[int, ...]  # bytes that each holds before the first event

    def decide(self, requests: Requests, guesses: Guesses) -> Decisions:
        """The next pass, all of it numbered and counted from its own beginning; but `fresh_by` are guesses of the run."""

    def whole(self, requests: Requests, guesses: Guesses) -> Decisions:
        """All passes that were decided, numbered as the run is."""

    def fails_compiled(self, error: Exception) -> Exception:
        """What to say of an error that only compiled text raised."""


class Missing(NamedTuple):
    """Who serves what is missing, as decisions.decide takes it; the rule is asked without knowing the requests of the run."""

    unit_of: Ints | None
    rule: Rule | None


class Bound:
    """The bounds: a pass depends on none before it."""

    def __init__(self, expert_bytes: Ints, n_experts: int, which: str, missing: Missing, player: Player) -> None:
        left = left_to_device(missing.unit_of, len(expert_bytes), n_experts)
        every = int((left * expert_bytes).sum())
        self.expert_bytes, self.which, self.missing, self.player = expert_bytes, which, missing, player
        self.rooms: tuple[int, ...]
        self.begins: tuple[int, ...]
        self.rooms, self.begins = (every,), (every if which == "everything" else 0,)

    def decide(self, requests: Requests, guesses: Guesses) -> Decisions:
        unit_of, rule = self.missing
        rule = rule and of_these(rule, requests)
        return bound(requests, self.expert_bytes, self.which, unit_of=unit_of, rule=rule, player=self.player)

    whole = decide

    def fails_compiled(self, error: Exception) -> Exception:
        rule = self.missing.rule
        return fails_compiled(error, (rule.module,) if rule else ()) or error


class Cache(NamedTuple):
    """What is played: the policy and its room, and what a run of passes that are not known yet may come to."""

    expert_bytes: Ints  # [layers]
    n_experts: int  # of a layer
    eviction: ModuleType
    budget_bytes: int
    scope: str | Fitted
    seed: int
    most_events: int  # no scope group sees more
    prefetching: bool
    buffered: bool
    missing: Missing
    start: str
    told: Told = NOTHING_TOLD

    @property
    def policies(self) -> tuple[ModuleType, ...]:
        """Those that run inside the machine."""
        return (self.eviction, *((self.missing.rule.module,) if self.missing.rule else ()))

    @property
    def split(self) -> bool:
        """Not all that are missing are loaded."""
        return self.missing.unit_of is not None or self.missing.rule is not None


class Stepwise:
    """A policy."""

    def __init__(self, cache: Cache, player: Player) -> None:
        if looks_ahead(needs_of(cache.eviction)):
            raise UserError(
                f"policy {blame.name_of(cache.eviction)} looks ahead, but which passes will run is not known under a "
                "clock-driven schedule; choose another --eviction, or --schedule recorded"
            )
        self.cache, n = cache, cache.n_experts
        left = left_to_device(cache.missing.unit_of, len(cache.expert_bytes), n)
        rooms = quotas(cache.expert_bytes, left, cache.budget_bytes, cache.scope)
        objects, sizes = n * len(cache.expert_bytes) // len(rooms), np.repeat(cache.expert_bytes, n)
        unit_of = cache.missing.unit_of
        mine = np.ones(len(sizes), bool) if unit_of is None else unit_of == LOAD
        self._limits, present = started(sizes, mine, rooms, cache.budget_bytes, cache.start)
        self.rooms, self.begins = self._limits.rooms, self._limits.begins
        self._groups = [
            Group(cache, group * objects, sizes[group * objects :][:objects], room, here, player)
            for group, (room, here) in enumerate(zip(rooms, present))
        ]
        self._events = self._guesses = 0
        self._met: set[int] = set()  # sequences of the passes so far

    def _entered(self, requests: Requests) -> int:
        """Sequences that have entered so far, with this pass."""
        self._met |= set() if requests.trace is None else set(requests.trace.sequence.tolist())
        return len(self._met)

    def decide(self, requests: Requests, guesses: Guesses) -> Decisions:
        parts = parts_of(requests, guesses, len(self._groups))
        entered = self._entered(requests)
        played = [
            group.play(part, requests, self._events, self._guesses, entered) for group, part in zip(self._groups, parts)
        ]
        starts, limits = np.array([0, requests.n_events]), Limits(self.rooms, (0,) * len(self.rooms), NONE)
        verdicts = [v for v, _, _ in played]
        made = renumbered(requests, guesses, parts, verdicts, starts, self.cache.split, 0, limits)
        fresh = np.concatenate([part.request[fresh] for part, (_, fresh, _) in zip(parts, played)])
        order = np.argsort(fresh, kind="stable")
        self._events, self._guesses = self._events + requests.n_events, self._guesses + len(guesses.obj)
        by = np.concatenate([by for _, _, by in played])
        return replace(made, fresh=fresh[order], fresh_by=by[order])

    def whole(self, requests: Requests, guesses: Guesses) -> Decisions:
        parts = parts_of(requests, guesses, len(self._groups))
        played = [group.whole(part) for group, part in zip(self._groups, parts)]
        starts = np.array([0, requests.n_events])
        unused = 0 if self.cache.scope == "global" else max(self.cache.budget_bytes - sum(self.rooms), 0)
        return renumbered(requests, guesses, parts, played, starts, self.cache.split, unused, self._limits)

    def fails_compiled(self, error: Exception) -> Exception:
        return fails_compiled(error, self.cache.policies) or error


class Group:
    """One scope group: all that it was asked and what was decided, in its own numbering, and the slots between passes."""

    def __init__(self, cache: Cache, low: int, size: Ints, room: int, present: Ints, player: Player) -> None:
        """present: objects of the group that are resident before the first event."""
        self.cache, self.size, self.room, self.player = cache, size, room, player
        n, none = len(size), NONE.astype(np.uint32)
        ptr = np.zeros(1, np.uint32)
        part = Part(none, low, n, False, ptr, none, NONE, lambda: (ptr, none), ptr, none, NONE, NONE)
        rule, self.needs = cache.missing.rule, needs_of(cache.eviction)
        known = Known(layer=np.arange(low, low + n) // cache.n_experts) if "layer" in self.needs else Known()
        unit_of = NONE.astype(np.int8) if cache.missing.unit_of is None else cache.missing.unit_of[low : low + n]
        self.task = Task(part, cache.eviction, size, room, NONE, unit_of, present, rule, cache.seed, cache.told, known)
        self.q = Grown(
            Stream(ptr, none, NONE, ptr, none, ptr, none, NONE, none, NONE, unit_of, present, NONE, NONE), player.arrays
        )
        self.m = player.arrays(question(rule, low, n))
        self.answered = answers(rule)
        self.v = Grown(verdicts_for(part, self.answered), player.arrays)
        until, brought = np.full(n * cache.buffered, NEVER), np.zeros(n * cache.prefetching, np.int64)
        slots = Slots(np.zeros(n, np.int8), np.zeros(n, np.int8), until, brought, np.zeros(5, np.int64))
        self.c = player.arrays(slots)
        extras = Extras(
            size, np.array([cache.most_events]), NONE, NONE, NONE, *told_of(self.task), *gates_of(self.task)
        )
        self.state = player.arrays(state_of(self.task, extras))
        self.x = Grown(extras, player.arrays)
        self.absent = absent(
            self.needs, prefetching=cache.prefetching, placed=len(unit_of) > 0, rule=rule.module if rule else None
        )
        self.run = player.bind(cache.eviction, self.absent, rule.module if rule else None)
        self._guess = Grown(Indices(NONE), lambda lists: lists)  # guess of the run of each guess of the group

    def play(self, part: Part, requests: Requests, event: int, guess: int, entered: int) -> tuple[Verdicts, Ints, Ints]:
        """The part of a pass that begins at that event and guess of the run: verdicts; fresh hits, and the guess of the run of each.

        entered: sequences that have entered so far, with this pass.
        """
        asked, count = dict(self.q.length), np.array(self.c.count)
        used = int(count[machine.USED])
        self._append(part, requests, event, guess, entered)
        begin, end = asked["run_event"], self.q.length["run_event"]
        check_absent(self.absent, q=self.q.now, v=self.v.now, c=self.c, x=self.x.now, m=self.m)
        if end > begin:
            try:
                self.run(begin, end, self.q.now, self.v.now, self.c, self.room, self.state, self.x.now, self.m)
            except UserError:
                raise
            except (Exception, SystemExit) as error:  # a user's policy may fail in any way
                if (line := blame.blamed(error, *self.cache.policies)) is None:
                    raise
                raise line from error
        return self._found(asked, count, begin, used)

    def _append(self, part: Part, of_pass: Requests, event: int, guess: int, entered: int) -> None:
        n, rule = self.q.length, self.cache.missing.rule
        requests, guesses = n["obj"], n["guess_obj"]
        self.q.empty("use_obj")  # no event reads the occurrences of another, and those of wide passes are many
        self.q.now.use_ptr[n["use_ptr"] - 1] = 0
        self.q.extend(
            ptr=part.ptr[1:] + requests, obj=part.obj, use_ptr=part.use_ptr[1:], use_obj=part.use_obj,
            guess_ptr=part.guess_ptr[1:] + guesses, guess_obj=part.guess_obj, guess_for=part.guess_for + event,
            run_event=part.events + event, tokens=of_pass.tokens[part.request] if rule else NONE,
            mass=of_pass.mass[part.request] if "gate" in self.needs else NONE,
            gate=of_pass.gate[part.request] if rule and rule.needs("gate") else NONE,
        )  # fmt: skip
        if "sequence" in self.needs:
            self.x.extend(sequence=np.full(len(part.events), entered))
        self._guess.extend(at=part.guess + guess)
        self.v.extend(**{name: np.zeros(len(array), array.dtype) for name, array in _more(part, self.answered).items()})
        if "random" in self.needs:
            self._draw()

    def _draw(self) -> None:
        """A random number for every eviction that there may have been."""
        have, wanted = self.x.length["random_high"], self.q.length["obj"] + self.q.length["guess_obj"]
        if wanted > have:
            high, low = splitmix64(self.cache.seed, 2 * wanted)
            self.x.extend(random_high=high[have:], random_low=low[have:])

    def _found(self, asked: dict[str, int], count: Ints, event: int, used: int) -> tuple[Verdicts, Ints, Ints]:
        """What was decided since the lengths and counts before."""
        requests, guesses, now = asked["obj"], asked["guess_obj"], self.c.count
        since, n = self.v.since, {"hit": self.q.length["obj"], "issued": self.q.length["guess_obj"]}
        evictions = int(count[machine.EVICTIONS]), int(now[machine.EVICTIONS])
        answer = since("answer", requests * self.answered)
        cause = since("evicted_for", *evictions)
        loads = since("loads", int(count[machine.LOADS]), int(now[machine.LOADS])) - np.uint32(requests)
        fresh, by = (since(name, int(count[machine.FRESH]), int(now[machine.FRESH])) for name in ("fresh", "fresh_by"))
        made = Verdicts(
            since("hit", requests, n["hit"]), loads, since("wait", requests, n["hit"]), since("issued", guesses, n["issued"]),
            since("evicted", *evictions), np.where(cause >= 0, cause - requests, cause + guesses), since("used", event) - used, NONE, NONE,
            answer,
        )  # fmt: skip
        return made, fresh.astype(np.int64) - requests, self._guess.now.at[by.astype(np.int64) - 1]

    def whole(self, part: Part) -> Verdicts:
        """All verdicts; `part` is what the group was asked in all passes together. The law of occupancy is checked."""
        count = np.array(self.c.count)
        made = Verdicts(*(self.v.since(name) for name in Verdicts._fields))
        began = int(self.size[self.task.present].sum()) if len(part.events) else 0  # what is never asked is not played
        check_occupancy(part, (0, len(part.events)), made, self.c, np.zeros(5, np.int64), self.size, self.room, began)
        evictions, loads, fresh = (int(count[field]) for field in (machine.EVICTIONS, machine.LOADS, machine.FRESH))
        return made._replace(
            loads=made.loads[:loads], evicted=made.evicted[:evictions], evicted_for=made.evicted_for[:evictions],
            fresh=made.fresh[:fresh], fresh_by=made.fresh_by[:fresh] - np.uint32(1),
        )  # fmt: skip


class Indices(NamedTuple):
    """One array."""

    at: Any


def _more(part: Part, answered: bool) -> dict[str, Ints]:
    """Room for the verdicts of a part behind those before it: where there is room for one more, it is there already."""
    made: dict[str, Ints] = verdicts_for(part, answered)._asdict()
    return {name: array[1:] if name in ("loads", "fresh", "fresh_by") else array for name, array in made.items()}
