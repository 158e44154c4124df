"""ARC and W-TinyLFU against plain OrderedDict versions and libCacheSim on one-expert events, and as event caches by property.

ARC. `arc` below is Fig. 4 of the paper; the kind of number that holds p is a parameter, since p is real and its ties with |T1|
decide victims. With fractions it equals ours flag by flag, with floats libCacheSim flag by flag; so ours and libCacheSim differ
exactly where rounding of a double decides a tie (TIE is such a stream).

W-TinyLFU. `paper_tinylfu` equals ours flag by flag. `libcachesim_tinylfu` equals libCacheSim 0.3.5 flag by flag, as long as objects
are of 20 bytes or more: its hashed sketch has 14 counters per *byte*, and so no collisions any more. The two differ in that
libCacheSim does not count hits in the window, counts a contender again at every contest, has no 4-bit limit, halves after
32 * bytes hits in the main cache (the paper: after 10 * objects accesses), lets the window fill the whole cache before anything
moves on, and fills the protected segment at that moment with what probation cannot hold.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simmoe
from simmoe import policies
from simmoe.policies.eviction import arc as arc_policy
from simmoe.policies.eviction import w_tinylfu as tiny_policy
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.gather import Requests, requests_of
from simmoe.simulator.decide.names import HOOKS
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from tests import real_traces
from tests.conftest import make_trace, one_layer

Misses = list[bool]
POLICIES = ("arc", "w_tinylfu")
TIE = [19, 4, 3, 2, 13, 13, 3, 19, 4, 8, 2, 28, 1, 32, 20, 30, 28, 0, 32, 20, 5, 30]
TIE += [21, 36, 28, 1, 13, 11, 5, 30, 21, 23, 18, 10, 28, 31, 38, 9, 13, 22, 4, 16, 9]


# --- plain versions -------------------------------------------------------------------------------------------------


def arc(ids: list[int], c: int, number: Any = Fraction) -> Misses:
    """Megiddo and Modha 2003, Fig. 4; the oldest page of each list stands first."""
    t1, t2, b1, b2 = (OrderedDict[int, None]() for _ in range(4))
    p, misses = number(0), []

    def replace_one(from_b2: bool) -> None:
        if t1 and (len(t1) > p or (from_b2 and len(t1) == p)):
            b1[t1.popitem(last=False)[0]] = None
        else:
            b2[t2.popitem(last=False)[0]] = None

    for page in ids:
        misses.append(page not in t1 and page not in t2)
        if not misses[-1]:
            (t1 if page in t1 else t2).pop(page)
            t2[page] = None
        elif page in b1:
            p = min(number(c), p + max(number(1), number(len(b2)) / len(b1)))
            replace_one(False)
            del b1[page]
            t2[page] = None
        elif page in b2:
            p = max(number(0), p - max(number(1), number(len(b1)) / len(b2)))
            replace_one(True)
            del b2[page]
            t2[page] = None
        else:
            total = len(t1) + len(t2) + len(b1) + len(b2)
            if len(t1) + len(b1) == c and len(t1) == c:
                t1.popitem(last=False)
            elif len(t1) + len(b1) == c:
                b1.popitem(last=False)
                replace_one(False)
            elif total >= c:
                if total == 2 * c:
                    b2.popitem(last=False)
                replace_one(False)
            t1[page] = None
    return misses


def paper_tinylfu(ids: list[int], c: int) -> Misses:
    """Window LRU of 1 %, at least one object; segmented LRU 20/80; exact 4-bit counts, halved every 10 c accesses."""
    window, probation, protected = (OrderedDict[int, None]() for _ in range(3))
    window_room = max(1, c // 100)
    counts, taken, misses = Counter[int](), 0, []
    for x in ids:
        counts[x] = min(counts[x] + 1, 15)
        taken += 1
        if taken >= 10 * c:
            taken //= 2
            counts = Counter({y: n // 2 for y, n in counts.items()})
        misses.append(not (x in window or x in probation or x in protected))
        if x in window or x in protected:
            (window if x in window else protected).move_to_end(x)
        elif x in probation:
            del probation[x]
            protected[x] = None
            if len(protected) > 4 * (c - window_room) // 5:
                probation[protected.popitem(last=False)[0]] = None
        else:
            if len(window) + len(probation) + len(protected) == c:
                main = probation or protected
                if main and counts[next(iter(window))] > counts[next(iter(main))]:
                    main.popitem(last=False)
                else:
                    window.popitem(last=False)
            window[x] = None
            if len(window) > window_room:
                probation[window.popitem(last=False)[0]] = None
    return misses


class LibcachesimTiny:
    """What libCacheSim 0.3.5 does under the name W-TinyLFU, with exact counts; `size` is what every object weighs in bytes."""

    def __init__(self, room: int, size: int, window_share: float) -> None:
        self.size, self.room = size, room * size
        self.main_room = self.room - int(self.room * window_share)
        self.segment_room = (int(self.main_room / 5), int(0.8 * self.main_room))
        self.window, self.low, self.high = (OrderedDict[int, None]() for _ in range(3))
        self.counts, self.main_hits = Counter[int](), 0

    def get(self, x: int) -> bool:
        if x in self.window:
            self.window.move_to_end(x)  # not counted
            return True
        if x in self.low or x in self.high:
            self.main_hit(x)
            return True
        while (len(self.window) + len(self.low) + len(self.high) + 1) * self.size > self.room:
            self.evict()
        self.window[x] = None
        self.counts[x] += 1
        return False

    def main_hit(self, x: int) -> None:
        (self.low if x in self.low else self.high).pop(x)
        self.high[x] = None
        if len(self.high) * self.size > self.segment_room[1]:
            self.low[self.high.popitem(last=False)[0]] = None
            while len(self.low) * self.size > self.segment_room[0]:
                self.low.popitem(last=False)
        self.counts[x] += 1
        self.main_hits += 1
        if self.main_hits >= 32 * self.main_room:
            self.main_hits = 0
            self.counts = Counter({y: n // 2 for y, n in self.counts.items()})

    def evict(self) -> None:
        done = False
        while not done:
            main = self.low or self.high
            if not self.window:
                main.popitem(last=False)
                return
            x = self.window.popitem(last=False)[0]
            if (len(self.low) + len(self.high) + 1) * self.size <= self.main_room:
                self.enter_main(x)
            else:
                done = True
                if self.counts[x] > self.counts[next(iter(main))]:
                    main.popitem(last=False)
                    self.enter_main(x)
            self.counts[x] += 1  # once more, whatever became of it

    def enter_main(self, x: int) -> None:
        full = (len(self.low) + 1) * self.size > self.segment_room[0]
        spare = (len(self.high) + 1) * self.size <= self.segment_room[1]
        (self.high if full and spare else self.low)[x] = None


def libcachesim_tinylfu(ids: list[int], room: int, size: int = 100) -> Misses:
    cache = LibcachesimTiny(room, size, window_share(room))
    return [not cache.get(x) for x in ids]


def window_share(room: int) -> float:
    """1 %, or what gives libCacheSim's window one object: with none it refuses everything."""
    return max(0.01, 1.005 / room)


def libcachesim(name: str, ids: list[int], room: int, size: int = 1, **options: Any) -> Misses:
    lcs = pytest.importorskip("libcachesim", reason="libcachesim is not installed (it ships for Linux only)")
    cache = getattr(lcs, name)(room * size, hashpower=16, **options)
    return [not cache.get(lcs.Request(obj_size=size, obj_id=x, op=lcs.ReqOp.OP_GET)) for x in ids]


def ours(policy: str, ids: list[int], room: int, size: int = 1) -> Misses:
    trace = one_layer([[x] for x in ids], max(ids) + 1)
    misses = ~simmoe.replay(trace, [size], room * size, policy, contract="sequential").hit
    return cast(Misses, misses.ravel().tolist())


# --- one-expert events ----------------------------------------------------------------------------------------------

streams = st.lists(st.integers(0, 11), min_size=1, max_size=400)


def random_streams(seed: int) -> Iterator[tuple[list[int], int]]:
    """(ids, room): uniform, skewed, and skewed with a loop in its middle."""
    rng = np.random.default_rng(seed)
    for i in range(24):
        n, length = int(rng.integers(8, 60)), 1200
        ids = (rng.zipf(1.2, length) % n if i % 2 else rng.integers(0, n, length)).tolist()
        if i % 3 == 0:
            ids[500:500] = [x % n for x in range(300)]
        yield ids, int(rng.integers(6, n))


@given(streams, st.integers(1, 12), st.sampled_from((1, 7, 2**25)))
def test_arc_equals_figure_4(ids: list[int], room: int, size: int) -> None:
    assert ours("arc", ids, room, size) == arc(ids, room)


@pytest.mark.real
@given(streams, st.integers(1, 12))
def test_arc_equals_libcachesim(ids: list[int], room: int) -> None:
    theirs = libcachesim("ARC", ids, room)
    assert arc(ids, room, float) == theirs
    if arc(ids, room) == arc(ids, room, float):
        assert ours("arc", ids, room) == theirs


@pytest.mark.real
def test_arc_on_longer_streams() -> None:
    same = 0
    for ids, room in random_streams(seed=3):
        mine = ours("arc", ids, room)
        assert mine == arc(ids, room)
        theirs = libcachesim("ARC", ids, room)
        assert theirs == arc(ids, room, float)
        assert abs(sum(mine) - sum(theirs)) <= 0.005 * len(ids)
        same += mine == theirs
    assert same >= 20  # of 24


@pytest.mark.real
def test_arc_tie_that_a_double_breaks() -> None:
    assert sum(ours("arc", TIE, 7)) == sum(arc(TIE, 7)) == 36
    assert sum(arc(TIE, 7, float)) == sum(libcachesim("ARC", TIE, 7)) == 37


def qwen_ids() -> list[int]:
    """Column 24, the first 2,000 tokens, 8 of 128 experts each."""
    trace = real_traces.load("qwen3_30b_general", columns=slice(24, 25))
    return cast(list[int], trace.expert_ids[:2000].ravel().tolist())


@pytest.mark.traces
@pytest.mark.real
@pytest.mark.parametrize("room", [24, 32, 48, 64, 96])
def test_arc_equals_libcachesim_on_qwen3(room: int) -> None:
    ids = qwen_ids()
    assert ours("arc", ids, room) == libcachesim("ARC", ids, room) == arc(ids, room)


@pytest.mark.traces
@pytest.mark.real
@pytest.mark.parametrize("room", [8, 12, 16])
def test_arc_on_qwen3_where_doubles_break_ties(room: int) -> None:
    ids = qwen_ids()
    mine, theirs = ours("arc", ids, room), libcachesim("ARC", ids, room)
    assert mine == arc(ids, room) and theirs == arc(ids, room, float)
    assert mine != theirs and abs(sum(mine) - sum(theirs)) <= 5  # of 16,000


@pytest.mark.slow
@given(streams, st.integers(1, 12), st.sampled_from((1, 7, 2**25)))
def test_tinylfu_equals_the_papers_rules(ids: list[int], room: int, size: int) -> None:
    assert ours("w_tinylfu", ids, room, size) == paper_tinylfu(ids, room)


@pytest.mark.slow
def test_tinylfu_with_a_window_of_several() -> None:
    rng = np.random.default_rng(4)
    for room in (120, 250, 399):
        ids = (rng.zipf(1.1, 12_000) % 500).tolist()
        assert ours("w_tinylfu", ids, room, size=3) == paper_tinylfu(ids, room)


@pytest.mark.parametrize(("first", "second", "wins"), [(14, 15, True), (15, 17, False)])
def test_tinylfu_counts_to_fifteen(first: int, second: int, wins: bool) -> None:
    ids = [0] * first + [1, 2] + [3] * second + [4, 3]  # 0 is the main cache's oldest when 3 leaves the window for 4
    assert ours("w_tinylfu", ids, 4) == paper_tinylfu(ids, 4)
    assert ours("w_tinylfu", ids, 4)[-1] != wins


@pytest.mark.real
def test_libcachesims_rules_equal_libcachesim() -> None:
    for ids, room in random_streams(seed=5):
        theirs = libcachesim("WTinyLFU", ids, room, 100, window_size=window_share(room))
        assert libcachesim_tinylfu(ids, room) == theirs
    rng = np.random.default_rng(6)
    for room in (100, 250):
        ids = (rng.zipf(1.1, 12_000) % 500).tolist()
        assert libcachesim_tinylfu(ids, room) == libcachesim("WTinyLFU", ids, room, 100, window_size=0.01)


@pytest.mark.real
def test_libcachesims_halving() -> None:
    ids = np.random.default_rng(8).integers(0, 12, 12_000).tolist()  # 32 * 140 hits, then the counts are halved
    theirs = libcachesim("WTinyLFU", ids, 8, 20, window_size=window_share(8))
    assert libcachesim_tinylfu(ids, 8, 20) == theirs


@pytest.mark.traces
@pytest.mark.real
@pytest.mark.parametrize(("room", "bound"), [(8, 0.04), (16, 0.06), (32, 0.01), (64, 0.01), (96, 0.01)])
def test_tinylfu_differs_from_libcachesim_by_its_rules_only(room: int, bound: float) -> None:
    ids = qwen_ids()
    mine, theirs = ours("w_tinylfu", ids, room), libcachesim("WTinyLFU", ids, room, 100, window_size=window_share(room))
    assert mine == paper_tinylfu(ids, room) and theirs == libcachesim_tinylfu(ids, room)
    assert abs(sum(mine) - sum(theirs)) <= bound * len(ids)


# --- events of several experts --------------------------------------------------------------------------------------


def watched(name: str, check: Callable[[Any, Any], None]) -> ModuleType:
    """The policy, with `check(state, extras)` after every hook that changes who is resident."""
    module = policies.load("eviction", name)

    def after(hook: Callable[..., Any]) -> Callable[..., Any]:
        def run(s: Any, o: int, event: int, x: Any) -> None:
            hook(s, o, event, x)
            check(s, x)

        return run

    hooks = {hook: getattr(module, hook) for hook in HOOKS}
    hooks |= {hook: after(hooks[hook]) for hook in ("insert", "use", "remove")}
    return cast(ModuleType, SimpleNamespace(NEEDS=module.NEEDS, **hooks))


def check_segments(s: Any, size: Any) -> None:
    """The rings hold whom `where` names, and know their lengths."""
    _, newer, where, length = s[:4]
    for segment in range(1, len(length)):
        members: list[int] = []
        end = len(where) + segment
        while newer[members[-1] if members else end] != end:
            members.append(newer[members[-1] if members else end])
        assert sorted(members) == [o for o in range(len(where)) if where[o] == segment]
        assert length[segment] == sum(size[o] for o in members)


def check_arc(s: Any, x: Any) -> None:
    length, weight, v = s[3], s[4], s[5]
    check_segments(s, weight)
    _, t1, t2, b1, b2 = length
    c = v[arc_policy.CAPACITY]
    assert 0 <= v[arc_policy.P] <= c * v[arc_policy.UNIT]
    assert t1 + b1 <= max(c, t1) + max(weight) and t1 + t2 + b1 + b2 <= 3 * c + max(weight)


def check_tinylfu(s: Any, x: Any) -> None:
    check_segments(s, x.size_bytes)
    assert max(s[6]) <= tiny_policy.TOP
    assert s[3][tiny_policy.PROTECTED] <= max(s[4][tiny_policy.PROTECTED_ROOM], 0)
    main = s[3][tiny_policy.PROBATION] + s[3][tiny_policy.PROTECTED]
    assert main <= max(s[4][tiny_policy.MAIN_ROOM], 0) + max(x.size_bytes)


CHECKS = {"arc": check_arc, "w_tinylfu": check_tinylfu}


@st.composite
def event_traces(draw: st.DrawFn) -> tuple[Any, list[int], int, list[list[int]], str]:
    """A trace with prefill passes, expert sizes, a budget down to one expert (of each layer), guesses of each event, the scope."""
    layers, n = draw(st.integers(1, 3)), draw(st.integers(2, 6))
    expert = st.lists(st.integers(0, n - 1), min_size=1, max_size=3, unique=True)
    token = st.lists(expert, min_size=layers, max_size=layers)
    passes = draw(st.lists(st.lists(token, min_size=1, max_size=3), min_size=1, max_size=25))
    sizes = draw(st.lists(st.sampled_from((4, 4, 6, 5000)), min_size=layers, max_size=layers))
    scope = draw(st.sampled_from(("global", "layer")))
    total = n * sum(sizes)
    least = max(sizes) if scope == "global" else -(-total // n)
    guess = st.lists(st.integers(0, layers * n - 1), max_size=4, unique=True)
    guesses = draw(st.lists(guess, min_size=len(passes) * layers, max_size=len(passes) * layers))
    return make_trace(passes, n), sizes, draw(st.integers(least, total)), guesses, scope


def flat(guesses: list[list[int]]) -> Guesses:
    ptr = np.cumsum([0, *(len(g) for g in guesses)]).astype(np.int64)
    return Guesses(ptr, np.array([o for g in guesses for o in g], np.int64))


def check_decisions(r: Requests, d: Decisions, guesses: Guesses, size: list[int], group: list[int]) -> None:
    """Replays the decisions: hits are who was resident, and nobody of the event is evicted while somebody else could be."""
    resident: set[int] = set()
    causes = d.evicted_for.tolist()
    victims = {cause: [int(o) for o, c in zip(d.evicted, causes) if c == cause] for cause in set(causes)}

    def load(o: int, cause: int, pinned: set[int]) -> None:
        for victim in victims.get(cause, []):
            assert victim in resident and group[victim] == group[o]
            if victim in pinned:
                assert cause >= 0 and not [i for i in resident - pinned if group[i] == group[o]]
            resident.remove(victim)
        resident.add(o)

    for event in range(r.n_events):
        span = range(r.ptr[event], r.ptr[event + 1])
        pinned = {int(r.obj[i]) for i in span}
        assert [bool(d.hit[i]) for i in span] == [int(r.obj[i]) in resident for i in span]
        for i in span:
            if not d.hit[i]:
                load(int(r.obj[i]), i, pinned)
        pinned &= resident
        for j in range(guesses.ptr[event], guesses.ptr[event + 1]):
            if d.issued[j]:
                load(int(guesses.obj[j]), -1 - j, pinned)
                pinned.add(int(guesses.obj[j]))
        assert d.used[event] == sum(size[i] for i in resident)


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
@given(case=event_traces())
def test_events_of_several_experts(name: str, case: Any) -> None:
    trace, sizes, budget, guesses, scope = case
    requests, wanted, bytes_of = requests_of(trace), flat(guesses), np.array(sizes, np.int64)
    got = decide(requests, bytes_of, watched(name, CHECKS[name]), budget, scope=scope, guesses=wanted)
    size, n = np.repeat(bytes_of, trace.n_experts).tolist(), trace.n_experts
    check_decisions(requests, got, wanted, size, [o // n if scope == "layer" else 0 for o in range(len(size))])
    assert max(got.used) <= budget
    alone = simmoe.replay(trace, sizes, budget, name, scope)
    assert alone.hits + alone.misses == len(requests.obj)


def final_state(
    name: str, rows: list[list[int]], n: int, room: int, guesses: list[list[int]]
) -> tuple[Any, Any, Decisions]:
    """(state, extras) after the last change, and the decisions, of one layer of n experts of one byte."""
    last: list[Any] = []

    def keep(s: Any, x: Any) -> None:
        last[:] = [s, x]

    requests = requests_of(one_layer(rows, n))
    d = decide(requests, np.array([1]), watched(name, keep), room, guesses=flat(guesses))
    return last[0], last[1], d


@pytest.mark.parametrize("name", POLICIES)
def test_the_first_use_after_a_prefetch_promotes_nobody(name: str) -> None:
    rows, guesses = [[0], [1], [2], [3], [4]], [[5], [], [], [], []]
    first = final_state(name, rows + [[5]], 6, 6, guesses + [[]])[0][2]
    second = final_state(name, rows + [[5], [5]], 6, 6, guesses + [[], []])[0][2]
    promoted = arc_policy.T2 if name == "arc" else tiny_policy.PROTECTED
    assert first[5] != promoted and second[5] == promoted


def test_a_prefetched_ghost_returns_to_its_list_and_leaves_p_alone() -> None:
    rows = [[0], [1], [0], [2], [0]]  # 0 is in T2, 1 went from T1 to B1
    none: list[list[int]] = [[], [], [], []]
    by_prefetch = final_state("arc", rows, 3, 2, [*none, [1]])[0]
    assert by_prefetch[2][1] == arc_policy.T1 and by_prefetch[5][arc_policy.P] == 0
    used = final_state("arc", [*rows, [1]], 3, 2, [*none, [1], []])[0]
    assert used[2][1] == arc_policy.T2 and used[5][arc_policy.P] == 0
    by_demand = final_state("arc", [*rows, [1]], 3, 2, [*none, [], []])[0]
    assert by_demand[2][1] == arc_policy.T2 and by_demand[5][arc_policy.P] == by_demand[5][arc_policy.UNIT]


@pytest.mark.parametrize("name", POLICIES)
def test_a_scan_of_wide_events_spares_what_was_used_again(name: str) -> None:
    hot = [[0, 1, 2], [3], [0, 1, 2], [0, 1, 2]]
    scan = [[4 + 3 * i + j for j in range(3)] for i in range(10)]
    trace = one_layer([*hot, *scan, [0, 1, 2]], 34)
    assert simmoe.replay(trace, [1], 8, "lru").hits == 6
    assert simmoe.replay(trace, [1], 8, name).hits == 9


def test_loads_of_one_event_contend_later() -> None:
    """Window of 1, main cache of 6. Three loads outgrow the window; each has to win against 5, the oldest of probation."""
    rows = [[0, 1, 2], [3], [0, 1, 2], [4, 5, 6], [7, 8, 9], [10, 11, 12]]

    def main_cache(more: list[list[int]]) -> tuple[set[int], list[int]]:
        s, _, d = final_state("w_tinylfu", rows + more, 14, 7, [[]] * (len(rows) + len(more)))
        return {o for o in range(14) if s[2][o] in (tiny_policy.PROBATION, tiny_policy.PROTECTED)}, d.evicted.tolist()

    assert main_cache([]) == ({0, 1, 2, 5}, [6, 3, 4, 7, 8, 9])  # 3 and 4 left since 7 and 8 were pinned
    assert main_cache([[13]]) == ({0, 1, 2, 5}, [6, 3, 4, 7, 8, 9, 10])
    assert main_cache([[10, 11, 12], [13]]) == ({0, 1, 2, 10, 11, 12}, [6, 3, 4, 7, 8, 9, 5])  # the room comes back


@pytest.mark.traces
def test_whole_qwen3_events() -> None:
    """Both beat LRU on whole events at a third of the experts, and stay above Belady."""
    trace = real_traces.load("qwen3_30b_general", columns=slice(24, 25))
    trace = replace(
        trace, expert_ids=trace.expert_ids[:2000], pass_ptr=trace.pass_ptr[:2001], phase=trace.phase[:2000],
        sequence=trace.sequence[:2000], position=trace.position[:2000], gate_weights=None,
    )  # fmt: skip
    least, arcs, tiny, lru = (simmoe.replay(trace, [1], 38, p).misses for p in ("belady", "arc", "w_tinylfu", "lru"))
    assert least < tiny < lru and least < arcs < lru
