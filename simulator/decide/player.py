"""Plays one scope group through an eviction policy and a miss rule, interpreted; what the policy NEEDS is prepared here."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.binding import bound
from simmoe.simulator.decide import blame, stacks
from simmoe.simulator.decide import hooks as policy
from simmoe.simulator.decide import residency as machine
from simmoe.simulator.decide.absent import absent, check_absent, looks_ahead
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.groups import Part, spans
from simmoe.simulator.decide.laws import BrokenLaw, check_occupancy
from simmoe.simulator.decide.missing import Rule, question
from simmoe.simulator.decide.names import HOOKS
from simmoe.simulator.decide.policy_file import is_bundled
from simmoe.simulator.decide.residency import Slots, Stream, Verdicts
from simmoe.simulator.errors import UserError

NEVER = -1  # run event of an object that no buffer holds
T = TypeVar("T")
KEPT_NUMBERS = 2**22
FIRST_EVENTS = 1000  # played interpreted where a policy cannot be compiled, to see whether it plays at all


class Player:
    """Runs `machine.play`, interpreted: on lists, where the same text is 1.5 times faster than on arrays."""

    def arrays(self, group: Any) -> Any:
        """A tuple of flat arrays, named or not, as the player wants it."""
        lists = [array.tolist() for array in group]
        return type(group)(*lists) if hasattr(group, "_fields") else tuple(lists)

    def bind(
        self, eviction: ModuleType, absent: frozenset[str] = frozenset(), rule: ModuleType | None = None
    ) -> Callable[..., None]:
        """`machine.play` with the hooks of `eviction` and the miss rule `rule` in place of those that do nothing. absent: arrays that are
        empty (absent.py), which compiled text need not ask for."""
        hooks = {name: getattr(eviction, name) for name in HOOKS if hasattr(eviction, name)}
        if "victim" in hooks:
            hooks["victim"] = blame.whole(hooks["victim"])
        if rule is not None:
            hooks["serve"] = blame.whole_answers(rule.serve)
        play: Callable[..., None] = bound(machine, instead=hooks).play
        return play

    def stacks(self) -> Any:
        """The passes of simulator/decide/stacks.py."""
        return stacks


class Task(NamedTuple):
    """One scope group, the policies, and what they are played with."""

    part: Part
    eviction: ModuleType
    size: Ints  # [objects] bytes
    room: int  # bytes that may be resident
    starts: Ints  # events of the run at which slots and the policy's state start empty, then the end of the run
    unit_of: (
        Ints  # [objects of the group] the other unit that the placement left it to; empty when all are the device's
    )
    present: Ints  # objects of the group that are resident before the first event; none where slots are emptied later
    rule: Rule | None
    seed: int
    told: policy.Told
    known: policy.Known


class Playing:
    """One scope group while it is played, from each start on in slices; all that a slice leaves to the next is in c, s and x."""

    def __init__(self, task: Task, player: Player) -> None:
        part, n, self.task, self.player = task.part, len(task.size), task, player
        self.extras, following = _extras(task)
        guesses = (part.guess_ptr, part.guess_obj, part.guess_for, part.events)
        tokens = task.rule.tokens[part.request].astype(np.int64) if task.rule else np.zeros(0, np.int64)
        self.q = player.arrays(
            Stream(
                part.ptr,
                part.obj,
                following,
                part.use_ptr,
                part.use_obj,
                *guesses,
                tokens,
                task.unit_of,
                task.present,
                task.known.mass,
                task.rule.gate[part.request] if task.rule and task.rule.needs("gate") else tokens[:0],
            )
        )
        self.room_for = verdicts_for(part, answers(task.rule))
        self.v, self.x = player.arrays(self.room_for), player.arrays(self.extras)
        self.m = player.arrays(question(task.rule, part.low, n))
        self.absent = absent(
            needs_of(task.eviction), prefetching=len(part.guess_obj) > 0, placed=len(task.unit_of) > 0,
            rule=task.rule.module if task.rule else None,
        )  # fmt: skip
        self.text = player.bind(task.eviction, self.absent, task.rule.module if task.rule else None)
        self.count: Ints = np.zeros(5, np.int64)  # Slots.count when the slots were last emptied

    def start(self) -> None:
        """Empty slots, and the policy's state anew. What is resident before the first event enters with it."""
        n, part = len(self.task.size), self.task.part
        self.count[machine.USED] = 0
        until = np.full(n * (len(part.guess_for) > 0), NEVER)
        brought = np.zeros(n * (len(part.guess_obj) > 0), np.int64)
        state = self.player.arrays(state_of(self.task, self.extras))
        slots = Slots(np.zeros(n, np.int8), np.zeros(n, np.int8), until, brought, self.count.copy())
        self.c, self.s = self.player.arrays(slots), state
        check_absent(self.absent, q=self.q, v=self.v, c=self.c, x=self.x, m=self.m)

    def play(self, begin: int, stop: int) -> None:
        self.text(begin, stop, self.q, self.v, self.c, self.task.room, self.s, self.x, self.m)

    def stop(self, begin: int, stop: int) -> None:
        """What started at `begin` ends before `stop`: the law of occupancy is checked."""
        task = self.task
        began = int(task.size[task.present].sum()) if begin == 0 else 0
        check_occupancy(task.part, (begin, stop), self.v, self.c, self.count, task.size, task.room, began)
        self.count = np.array(self.c.count)

    def verdicts(self) -> Verdicts:
        made = Verdicts(*(np.asarray(mine, array.dtype) for mine, array in zip(self.v, self.room_for)))
        evictions, loads, fresh = (int(self.count[one]) for one in (machine.EVICTIONS, machine.LOADS, machine.FRESH))
        return made._replace(
            loads=made.loads[:loads], evicted=made.evicted[:evictions], evicted_for=made.evicted_for[:evictions],
            fresh=made.fresh[:fresh], fresh_by=made.fresh_by[:fresh] - np.uint32(1),
        )  # fmt: skip


def play_part(task: Task, player: Player) -> Verdicts:
    """Play one group. Raises UserError, one line with file, function and event, where a policy is to blame."""
    return guarded(partial(_played, task), player, task.eviction, task.rule)


def guarded(play: Callable[..., T], player: Player, eviction: ModuleType, rule: Rule | None) -> T:
    """What `play(player, most_events)` returns. Raises UserError, one line, where one of the policies is to blame."""
    try:
        return play(player, None)
    except (UserError, BrokenLaw):
        raise
    except (Exception, SystemExit) as error:
        policies = (eviction, *((rule.module,) if rule else ()))
        line = blame.blamed(error, *policies)
        if line is None and type(player) is not Player:
            line = _compiled_only(play, error, policies)
        if line is None:
            raise
        raise line from error


def _compiled_only(play: Callable[..., T], error: BaseException, policies: tuple[ModuleType, ...]) -> UserError | None:
    """The line for an error of compiled text. Interpreted, the same text mostly raises it too, and there it is known where.

    None when it plays interpreted and the policies are simmoe's: then simmoe or numba is to blame.
    """
    untyped = type(error).__module__.startswith("numba.")  # not even compiled, so nothing says at which event it fails
    try:
        play(Player(), FIRST_EVENTS if untyped else None)
    except UserError as line:
        return line
    except (Exception, SystemExit) as again:
        return blame.blamed(again, *policies)
    return fails_compiled(error, policies)


def fails_compiled(error: BaseException, policies: tuple[ModuleType, ...]) -> UserError | None:
    """The line for policies that play interpreted; None when they are simmoe's."""
    theirs = [blame.name_of(one) for one in policies if not is_bundled(one)]
    if not theirs:
        return None
    untyped = type(error).__module__.startswith("numba.")
    what = "cannot be compiled" if untyped else "fails only when it is compiled"
    return UserError(
        f"policy {' or '.join(theirs)} {what}: {blame.reason(error)}; "
        "--engine simpy plays it, docs/extending/README.md says what can be compiled"
    )


def _played(task: Task, player: Player, most_events: int | None = None) -> Verdicts:
    """Play one group, or its first events after each start; the law of occupancy is checked before each emptying."""
    group = Playing(task, player)
    for _, begin, stop in spans(task.part, task.starts):
        stop = min(stop, begin + (most_events or stop))
        group.start()
        group.play(begin, stop)
        group.stop(begin, stop)
    return group.verdicts()


def state_of(task: Task, extras: policy.Extras) -> Any:
    """What the policy's `init` returns: a tuple of flat integer arrays.

    Those of a user's policy are copied to 64 bits: interpreted, no two lists share memory and no number outgrows its type.
    """
    init = getattr(task.eviction, "init", policy.init)
    try:
        state = init(len(task.size), task.room, extras)
    except (Exception, SystemExit) as error:
        raise blame.failed(error, task.eviction, "init") from error
    if not isinstance(state, tuple) or not all(_is_flat(array) for array in state):
        raise UserError(
            f"policy {blame.name_of(task.eviction)}: init() returned {blame.shape(state)}; it must return a tuple of flat "
            "integer arrays, such as (np.zeros(n_objects, np.int64),)"
        )
    if is_bundled(task.eviction):
        return state
    copies = [np.array(array, np.int64) for array in state]
    return type(state)(*copies) if hasattr(state, "_fields") else tuple(copies)


def _is_flat(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.kind in "iu"


def answers(rule: Rule | None) -> bool:
    """Whether the verdicts say what a miss rule answered beside who serves an expert."""
    return rule is not None and rule.changes_output


def verdicts_for(part: Part, answered: bool) -> Verdicts:
    """Room for the verdicts of a part; there are at most as many evictions as loads. Memory that is not written costs nothing."""
    requests, guesses = len(part.obj), len(part.guess_obj)
    return Verdicts(
        np.empty(requests, np.int8), np.empty(requests + 1, np.uint32), np.zeros(requests, np.int32),
        np.zeros(guesses, np.int8), np.empty(requests + guesses, np.int32), np.empty(requests + guesses, np.int32),
        np.empty(len(part.events), np.int64), np.empty(guesses + 1, np.uint32), np.empty(guesses + 1, np.uint32),
        np.zeros(requests * answered, np.int32),
    )  # fmt: skip


def _extras(task: Task) -> tuple[policy.Extras, Ints]:
    """What the policy NEEDS, and the next event of each request (empty when nobody asks)."""
    part, needs = task.part, needs_of(task.eviction)
    loads = len(part.obj) + len(part.guess_obj)
    following: Ints = np.zeros(0, np.int64)
    first: Ints = following
    if looks_ahead(needs):
        following, first = part.future
    high, low = (
        random_numbers(task.seed, loads) if "random" in needs else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    )
    events = np.array([len(part.events)])
    return policy.Extras(task.size, events, first, high, low, *told_of(task), *gates_of(task)), following


def told_of(task: Task) -> policy.Told:
    """What the policy is told of the objects of its group."""
    popularity = task.told.popularity[task.part.low : task.part.low + task.part.n_objects]
    return task.told._replace(popularity=popularity)


def known_of(eviction: ModuleType, requests: Requests, part: Part) -> policy.Known:
    """What the policy NEEDS of the requests of a scope group."""
    needs, known = needs_of(eviction), policy.Known()
    if "layer" in needs:
        known = known._replace(layer=layers_of(requests, part))
    if "gate" in needs:
        known = known._replace(mass=requests.mass[part.request])
    if "sequence" in needs:
        known = known._replace(sequence=requests.entered[part.events])
    return known


def layers_of(requests: Requests, part: Part) -> Ints:
    """[objects of the group] MoE layer."""
    layers = int(requests.event_layer.max()) + 1
    return (part.low + np.arange(part.n_objects)) // (requests.n_objects // layers)


def gates_of(task: Task) -> tuple[Ints, Ints, Ints, Ints]:
    """Extras.gate, which the machine writes, layer, sequence, and pinned, which it writes, too."""
    needs, n = needs_of(task.eviction), len(task.size)
    gate, pinned = np.zeros(n * ("gate" in needs), np.int64), np.zeros((n + 2) * ("pinned" in needs), np.int64)
    return gate, task.known.layer, task.known.sequence, pinned


def needs_of(eviction: ModuleType) -> tuple[str, ...]:
    """What the policy reads beside sizes."""
    return tuple(getattr(eviction, "NEEDS", ()))


def random_numbers(seed: int, n: int) -> tuple[Ints, Ints]:
    """The outputs of SplitMix64 for so many evictions. Those of a run of ordinary length are kept for the next one, in 16 bytes each."""
    return _kept_numbers(seed, n) if n <= KEPT_NUMBERS else splitmix64(seed, n)


@lru_cache(maxsize=1)
def _kept_numbers(seed: int, n: int) -> tuple[Ints, Ints]:
    return splitmix64(seed, n)


def splitmix64(seed: int, n: int) -> tuple[Ints, Ints]:
    """Outputs 0 … n-1 of SplitMix64 (Steele, Lea, Flood 2014), as upper and lower 32 bits."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed % 2**64) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(32)).astype(np.int64), (z & np.uint64(0xFFFFFFFF)).astype(np.int64)
