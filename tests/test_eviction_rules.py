"""Eviction policies of engines for mixtures of experts, each against a plain rule over the oracle cache of tests/oracles.py.

The rules compare exact fractions. lfu_decay and swapmoe order logarithms that are rounded to .07 %, so there the exact sums of what the
policy was told say whether a victim was the least to .3 %.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from fractions import Fraction
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import simmoe
from simmoe import policies
from simmoe.policies import arguments
from simmoe.simulator.decide import pass_by_pass
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.hooks import Told
from simmoe.simulator.decide.names import HOOKS
from simmoe.simulator.decide.player import Player
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.trace import Trace
from tests import oracles
from tests.conftest import COMPILED, make_trace, one_layer
from tests.oracles import LRU


class Case:
    """A drawn trace without empty events, its guesses, sizes, room and scope."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        layers, self.experts = 1 + seed % 3, 4 + seed % 4
        lengths = np.where(rng.random(40) < 0.7, 1, rng.integers(2, 4, 40))
        likes = rng.random((int(lengths.sum()), layers, self.experts)) * (1 + np.arange(self.experts) % 2)
        ids = np.argsort(-likes, axis=2)[:, :, :2]
        rows = iter(ids.tolist())
        plain = make_trace([[next(rows) for _ in range(n)] for n in lengths.tolist()], self.experts)
        sequence = np.repeat(np.sort(rng.integers(0, 3, len(lengths))), lengths).astype(np.int32)
        gates = rng.random(ids.shape).astype(np.float16)
        self.trace = Trace(**{**vars(plain), "sequence": sequence, "gate_weights": gates})
        self.scope = ("global", "layer")[seed // 3 % 2]
        self.sizes = [7] * layers if seed % 4 else [5 + 2 * i for i in range(layers)]
        total = sum(self.sizes) * self.experts
        self.room = max(total * (2 + seed % 3) // 6, -(-total // self.experts))
        wanted = [rng.choice(layers * self.experts, 2, replace=False).tolist() for _ in range(len(lengths) * layers)]
        self.wanted = wanted if seed % 2 else [[] for _ in wanted]

    @property
    def layers(self) -> int:
        return self.trace.n_layers

    def decided(self, policy: str, module: ModuleType | None = None, player: Player | None = None) -> Decisions:
        found = policies.load("eviction", policy)
        numbers = arguments.as_whole(arguments.given("eviction", policy, found))
        requests = requests_of(self.trace)
        ptr = np.cumsum([0, *(len(one) for one in self.wanted)])
        guesses = Guesses(ptr, np.array([o for one in self.wanted for o in one], np.int64))
        use = np.bincount(requests.use_obj, minlength=requests.n_objects)
        return decide(
            requests, np.array(self.sizes), module or found, self.room, scope=self.scope, guesses=guesses, player=player,
            told=Told(numbers, use),
        )  # fmt: skip


class Rule(LRU):
    """What an oracle may know: the event of its group and of the run, the case, and where its group's objects begin."""

    def __init__(self, case: Case, group: int, room: int) -> None:
        super().__init__()
        self.case, self.group, self.room, self.number, self.event = case, group, room, -1, -1

    def begins(self) -> None:
        """An event that requests experts of the group; another may only guess some."""

    @property
    def layer_span(self) -> range:
        return range(self.case.layers) if self.case.scope == "global" else range(self.group, self.group + 1)


class Cache(oracles.ExpertCache):
    def __init__(self, case: Case, rule: Callable[[Case, int, int], Rule]) -> None:
        self.case, self.rule = case, rule
        super().__init__(case.sizes, case.experts, case.room, "lru", case.scope)

    def clear(self) -> None:
        super().clear()
        self.groups = [oracles.Group(room, self.rule(self.case, i, room)) for i, room in enumerate(self.capacities)]

    def play(self, event: int, occurrences: Sequence[int], candidates: Any = (), *more: Any) -> oracles.Decision:
        for i, group in enumerate(self.groups):
            policy = cast(Rule, group.policy)
            if any(self.group_of(obj) is self.groups[i] for obj in (*occurrences, *candidates)):
                policy.number, policy.event = policy.number + 1, event
            if any(self.group_of(obj) is self.groups[i] for obj in occurrences):
                policy.begins()
        return super().play(event, occurrences, candidates, *more)


def by_group(case: Case, evicted: list[int]) -> list[list[int]]:
    """Within an event the machine plays group by group, the oracle guess by guess: the order holds within a group."""
    if case.scope == "global":
        return [evicted]
    return [[o for o in evicted if o // case.experts == layer] for layer in range(case.layers)]


def evicted(case: Case, rule: Callable[[Case, int, int], Rule]) -> list[int]:
    """Who leaves, in order, by the oracle."""
    cache, found = Cache(case, rule), []
    for event, played in enumerate(oracles.played_events(case.trace)):
        found += cache.play(event, played.occurrences, case.wanted[event]).evictions
    return found


class Lfru(Rule):
    def __init__(self, *it: Any) -> None:
        super().__init__(*it)
        self.uses, self.last, self.load, self.clock, self.loads = Counter[int](), {}, {}, 0, 0
        self.new: set[int] = set()

    def tick(self, obj: int) -> None:
        self.clock += 1
        self.last[obj] = self.clock

    def insert(self, obj: int) -> None:
        super().insert(obj)
        self.uses[obj], self.load[obj], self.loads = 1, self.loads, self.loads + 1
        self.new.add(obj)
        self.tick(obj)

    def stamp(self, occurrences: Sequence[int]) -> None:
        super().stamp(occurrences)
        for obj in dict.fromkeys(occurrences):
            self.uses[obj] += obj not in self.new
            self.new.discard(obj)
            self.tick(obj)

    def victim(self, pinned: Collection[int], event: int, n_evicted: int) -> int:
        def worth(obj: int) -> tuple[Fraction, int]:
            return Fraction(self.uses[obj], self.clock + 1 - self.last[obj]), self.load[obj]

        return min(self.eligible(pinned), key=worth)


class LeastStale(Rule):
    def __init__(self, *it: Any) -> None:
        super().__init__(*it)
        self.since: dict[int, tuple[int, int]] = {}
        self.marks, self.this_pass, self.own_events = 0, 0, 0

    def begins(self) -> None:
        self.own_events += 1  # of a group of one layer each is a pass
        self.this_pass = self.event // self.case.layers if self.case.scope == "global" else self.own_events

    def mark(self, obj: int) -> None:
        if obj not in self.since or self.since[obj][0] != self.this_pass:
            self.since[obj], self.marks = (self.this_pass, self.marks), self.marks + 1

    def insert(self, obj: int) -> None:
        super().insert(obj)
        self.since.pop(obj, None)
        self.mark(obj)

    def stamp(self, occurrences: Sequence[int]) -> None:
        for obj in occurrences:
            self.mark(obj)

    def victim(self, pinned: Collection[int], event: int, n_evicted: int) -> int:
        return min(self.eligible(pinned), key=lambda obj: self.since[obj])


class Lookahead(Rule):
    """`ahead` events of the group."""

    ahead = 8

    def __init__(self, *it: Any) -> None:
        super().__init__(*it)
        played = oracles.played_events(self.case.trace)
        self.numbers: list[set[int]] = []  # requests of each event of the group
        for event, one in enumerate(played):
            mine = {o for o in one.occurrences if self.mine(o)}
            if mine or any(self.mine(o) for o in self.case.wanted[event]):
                self.numbers.append(mine)

    def mine(self, obj: int) -> bool:
        return obj // self.case.experts in self.layer_span

    def victim(self, pinned: Collection[int], event: int, n_evicted: int) -> int:
        def due(obj: int) -> int:
            window = self.numbers[self.number + 1 : self.number + 1 + self.ahead]
            return next((i for i, asked in enumerate(window) if obj in asked), self.ahead)

        return max(
            self.eligible(pinned), key=due
        )  # the first of those that the window does not show is the oldest stamp


class MoeInfinity(Rule):
    def __init__(self, *it: Any) -> None:
        super().__init__(*it)
        self.count, self.total, self.reset = Counter[int](), Counter[int](), -1

    def begins(self) -> None:
        now = self.event // self.case.layers
        if now in oracles.cold_starts(self.case.trace) and now != self.reset:
            self.count, self.total, self.reset = Counter(), Counter(), now

    def stamp(self, occurrences: Sequence[int]) -> None:
        super().stamp(occurrences)
        self.count.update(occurrences)
        self.total.update(obj // self.case.experts for obj in occurrences)

    def victim(self, pinned: Collection[int], event: int, n_evicted: int) -> int:
        def worth(obj: int) -> Fraction:
            layer = obj // self.case.experts
            share = Fraction(self.count[obj], max(self.total[layer], 1)) + Fraction(1, 2**20)
            return share * (1 - Fraction(layer - self.layer_span.start, len(self.layer_span)))

        return min(self.eligible(pinned), key=worth)


class StaticPin(Rule):
    def __init__(self, *it: Any) -> None:
        super().__init__(*it)
        use = Counter(o for one in oracles.played_events(self.case.trace) for o in one.occurrences)
        mine = [o for o in use if o // self.case.experts in self.layer_span]
        self.pinned, taken = set[int](), 0
        for obj in sorted(mine, key=lambda obj: (-use[obj], obj)):
            taken += self.case.sizes[obj // self.case.experts]
            if 10 * taken <= 8 * self.room:
                self.pinned.add(obj)

    def victim(self, pinned: Collection[int], event: int, n_evicted: int) -> int:
        return min(self.eligible(pinned), key=lambda obj: obj in self.pinned)


RULES = {
    "lfru": Lfru, "least_stale": LeastStale, "lookahead": Lookahead, "moe_infinity": MoeInfinity, "static_pin": StaticPin,
}  # fmt: skip


@pytest.mark.parametrize("policy", RULES)
def test_victims_are_those_of_the_rule(policy: str) -> None:
    leave = 0
    for seed in range(24):
        case = Case(seed)
        want = evicted(case, RULES[policy])
        got = Case(seed).decided(policy).evicted.tolist()
        assert by_group(case, got) == by_group(case, want), seed
        leave += len(want)
    assert leave > 1000


@COMPILED
@pytest.mark.slow
@pytest.mark.parametrize("policy", [*RULES, "lfu_decay", "swapmoe"])
def test_the_compiled_engine_decides_the_same(policy: str) -> None:
    from simmoe.simulator.time.recurrence import CompiledPlayer

    for seed in range(24):
        case = Case(seed)
        assert (
            case.decided(policy).evicted.tolist() == case.decided(policy, player=CompiledPlayer()).evicted.tolist()
        ), seed


# --- sums that decay --------------------------------------------------------------------------------------------------


class Watched:
    """The policy with its exact sums beside it: what each event that used an object added, by `weight`, and who was the least."""

    def __init__(self, policy: str, half_life: int, weight: Callable[[Any, int], float]) -> None:
        self.module, self.half_life, self.weight = policies.load("eviction", policy), half_life, weight
        self.sums: list[dict[int, float]] = []
        self.worst = 0.0

    def hooks(self) -> ModuleType:
        module, state = self.module, self

        def init(n: int, room: int, x: Any) -> Any:
            state.sums.append({})
            layers = max(x.layer) - min(x.layer) + 1
            state.scale = state.half_life * layers
            state.counted: dict[int, int] = {}
            return module.init(n, room, x)

        def use(s: Any, o: int, event: int, x: Any) -> None:
            module.use(s, o, event, x)
            if state.counted.get(o) != event:
                state.counted[o] = event
                sums = state.sums[-1]
                sums[o] = sums.get(o, 0.0) + state.weight(x, o) * 2.0 ** (event / state.scale)

        def victim(s: Any, free: Any, event: int, x: Any) -> int:
            out = module.victim(s, free, event, x)
            sums = state.sums[-1]
            least = min((sums.get(o, 0.0) for o in range(len(free)) if free[o]), default=0.0)
            state.worst = max(state.worst, sums.get(out, 0.0) / least - 1 if least else float(sums.get(out, 0.0) > 0))
            return cast(int, out)

        hooks = {hook: getattr(module, hook) for hook in HOOKS if hasattr(module, hook)}
        return cast(
            ModuleType, SimpleNamespace(NEEDS=module.NEEDS, **{**hooks, "init": init, "use": use, "victim": victim})
        )


class Drifting(Case):
    """Two layers of 24 experts, one group, 250 passes of one token, whose favourites move on."""

    def __init__(self) -> None:
        rng, layers, self.experts = np.random.default_rng(11), 2, 24
        place = (np.arange(24) - np.arange(250)[:, None, None] // 12 - np.arange(2)[:, None] * 7) % 24
        ids = np.argsort(-(rng.random((250, layers, 24)) ** (1 + place / 3)), axis=2)[:, :, :2]
        plain = make_trace([[token] for token in ids.tolist()], 24)
        self.trace = Trace(**{**vars(plain), "gate_weights": rng.random(ids.shape).astype(np.float16)})
        self.scope, self.sizes, self.room, self.wanted = "global", [7, 7], 7 * 20, [[] for _ in range(500)]


@pytest.mark.parametrize(
    ("policy", "half_life"), [("lfu_decay", 3), ("lfu_decay", 30), ("swapmoe", 3), ("swapmoe", 30)]
)
def test_the_victim_has_the_least_decayed_sum(policy: str, half_life: int) -> None:
    def gate(x: Any, o: int) -> float:
        return float(x.gate[o]) if policy == "swapmoe" else 1.0

    def worst(told: int) -> float:
        watched = Watched(policy, half_life, gate)
        assert len(Drifting().decided(f"{policy}={told}", watched.hooks()).evicted) > 300
        return watched.worst

    assert worst(half_life) < 0.003
    assert worst(2 * half_life) > 0.1  # another half-life would be seen


def test_without_decay_it_is_lfu() -> None:
    assert Drifting().decided("lfu_decay=1000000000").evicted.tolist() == Drifting().decided("lfu").evicted.tolist()
    for seed in range(12):
        assert Case(seed).decided("lfu_decay=1000000000").evicted.tolist() == Case(seed).decided("lfu").evicted.tolist()


def test_decay_forgets_an_old_favourite() -> None:
    rows = [[0]] * 9 + [[1], [2]] * 8 + [[3], [0]]
    trace = one_layer(rows, 4)
    assert simmoe.replay(trace, [1], 2, "lfu").hit[-1].item()
    assert not simmoe.replay(trace, [1], 2, "lfu_decay=1").hit[-1].item()


# --- what policies are told of gates and sequences --------------------------------------------------------------------


def test_importance_is_gate_mass_and_not_a_count() -> None:
    """Expert 0 is used once with all the weight, 1 twice with little: 1 leaves."""
    trace = one_layer([[0], [1], [1], [2]], 3)
    weighed = Trace(**{**vars(trace), "gate_weights": np.array([1, 0.125, 0.125, 1], np.float16).reshape(4, 1, 1)})
    bare = requests_of(trace)
    assert bare.mass.tolist() == [65536] * 4 and requests_of(weighed).mass.tolist() == [65536, 8192, 8192, 65536]
    assert decided_of(weighed, "swapmoe", 2) == [1] and decided_of(trace, "swapmoe", 2) == [0]


def decided_of(trace: Trace, policy: str, room: int) -> list[int]:
    found = policies.load("eviction", policy)
    told = Told(arguments.as_whole(arguments.given("eviction", policy, found)))
    return cast(
        list[int],
        decide(requests_of(trace), np.ones(trace.n_layers, np.int64), found, room, told=told).evicted.tolist(),
    )


def test_gate_mass_of_an_expert_that_several_tokens_chose() -> None:
    trace = make_trace([[[[0, 1]], [[1, 2]]]], 3)  # one pass of two tokens
    gates = np.array([[[0.75, 0.25]], [[0.5, 0.5]]], np.float16)
    assert requests_of(Trace(**{**vars(trace), "gate_weights": gates})).mass.tolist() == [49152, 49152, 32768]
    assert requests_of(trace).mass.tolist() == [32768, 65536, 32768]


def test_sequences_enter_with_the_pass_that_holds_them_first() -> None:
    trace = one_layer([[0], [[1], [2]], [0], [1]], 3)
    trace = Trace(**{**vars(trace), "sequence": np.array([5, 5, 2, 2, 9], np.int32)})
    assert requests_of(trace).entered.tolist() == [1, 2, 2, 3]


def test_activations_begin_anew_with_a_sequence() -> None:
    """0 is the favourite of the first sequence and no use in the second: there it leaves first."""
    rows = [[0]] * 5 + [[1], [1], [2]]
    trace = one_layer(rows, 3)
    second = Trace(**{**vars(trace), "sequence": np.array([0] * 5 + [1] * 3, np.int32)})
    assert decided_of(trace, "moe_infinity", 2) == [1] and decided_of(second, "moe_infinity", 2) == [0]


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["swapmoe", "moe_infinity", "least_stale", "lfu_decay", "lfru", "lru"])
def test_passes_that_become_known_one_by_one(policy: str) -> None:
    """As under a clock-driven schedule: gates, layers and sequences are those of the whole run."""
    found = policies.load("eviction", policy)
    told = Told(arguments.as_whole(arguments.given("eviction", policy, found)))
    for case in (*map(Case, range(6, 18)), Drifting()):
        case.wanted = [[] for _ in case.wanted]
        whole, ptr = requests_of(case.trace), case.trace.pass_ptr
        cache = pass_by_pass.Cache(
            np.array(case.sizes), case.experts, found, case.room, case.scope, 0, whole.n_events, False, False,
            pass_by_pass.Missing(None, None), "cold", told,
        )  # fmt: skip
        decider, gone = pass_by_pass.Stepwise(cache, Player()), list[int]()
        for one, (begin, end) in enumerate(pairwise(ptr.tolist())):
            part = case.trace.taken(slice(begin, end), [0, end - begin], case.trace.phase[one : one + 1])
            asked = requests_of(part)
            gone += decider.decide(asked, asked.no_guesses).evicted.tolist()
        assert gone == case.decided(policy).evicted.tolist()
