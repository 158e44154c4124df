"""Eviction policies that libcachesim 0.3.5 has too: plain OrderedDict versions, and libcachesim itself, flag by flag on one-expert events.

The plain versions say what differs where a definition cannot be made equal: `slru(evicts_on_hits=True)` is libcachesim's, which loses the
rest of room / 4 and evicts on hits; `gdsf(bypass=True)` is the paper's and libcachesim's, which need not keep what was missed. Below the
rooms at which a queue of libcachesim's would hold nothing (2Q: 4, S3-FIFO: 20) it keeps nothing or refuses to start, and ours plays on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simmoe
from simmoe import policies
from tests import oracles, real_traces
from tests.conftest import one_layer

Misses = list[bool]
Queue = OrderedDict[int, int]


# --- plain versions: the oldest stands first --------------------------------------------------------------------------


def clock(ids: list[int], c: int) -> Misses:
    marks, misses = Queue(), []
    for x in ids:
        misses.append(x not in marks)
        if not misses[-1]:
            marks[x] = 1
            continue
        while len(marks) == c:
            old, mark = marks.popitem(last=False)
            if mark:
                marks[old] = 0
        marks[x] = 0
    return misses


def sieve(ids: list[int], c: int) -> Misses:
    order: list[int] = []
    marked: set[int] = set()
    hand, misses = 0, []  # place in `order`
    for x in ids:
        misses.append(x not in order)
        if not misses[-1]:
            marked.add(x)
            continue
        if len(order) == c:
            hand %= c
            while order[hand] in marked:
                marked.remove(order[hand])
                hand = (hand + 1) % c
            del order[hand]
            if hand == len(order):
                hand = c  # behind what comes now: the next lap begins at the oldest
        order.append(x)
    return misses


def slru(ids: list[int], c: int, evicts_on_hits: bool = False) -> Misses:
    part = c // 4
    rooms = [part if evicts_on_hits else c - 3 * part, part, part, part]
    segments, misses = [Queue() for _ in rooms], []

    def cool(i: int) -> None:
        while len(segments[i]) > rooms[i] and (i or evicts_on_hits):
            out = segments[i].popitem(last=False)[0]
            if i:
                segments[i - 1][out] = 0
                cool(i - 1)

    for x in ids:
        at = next((i for i, one in enumerate(segments) if x in one), None)
        misses.append(at is None)
        if at is not None:
            del segments[at][x]
            to = min(at + 1, 3)
            segments[to][x] = 0
            cool(to)
            continue
        if sum(map(len, segments)) == c:
            next(one for one in segments if one).popitem(last=False)
        to = next((i for i, one in enumerate(segments) if len(one) < rooms[i]), 0)
        segments[to][x] = 0
    return misses


def two_q(ids: list[int], c: int) -> Misses:
    a1in, a1out, am, misses = Queue(), Queue(), Queue(), []
    for x in ids:
        misses.append(x not in a1in and x not in am)
        if x in am:
            am.move_to_end(x)
        if not misses[-1]:
            continue
        back = a1out.pop(x, None) is not None
        if len(a1in) + len(am) == c:
            if len(a1in) > c // 4:
                a1out[a1in.popitem(last=False)[0]] = 0
                if len(a1out) > c // 2:
                    a1out.popitem(last=False)
            else:
                am.popitem(last=False)
        (am if back else a1in)[x] = 0
    return misses


def s3fifo(ids: list[int], c: int) -> Misses:
    small, ghost, main = Queue(), Queue(), Queue()
    room, evicted, misses = max(c // 10, 1), False, []
    for x in ids:
        misses.append(x not in small and x not in main)
        if not misses[-1]:
            (small if x in small else main)[x] += 1
            continue
        back = ghost.pop(x, None) is not None
        while len(small) + len(main) == c:
            evicted = True
            if len(main) > c - room or not small:
                old, uses = main.popitem(last=False)
                if uses:
                    main[old] = min(uses, 3) - 1
                continue
            old, uses = small.popitem(last=False)
            if uses >= 2:
                main[old] = 0
                while small and len(small) + len(main) == c:  # the small queue goes on until somebody leaves
                    old, uses = small.popitem(last=False)
                    if uses >= 2:
                        main[old] = 0
                    else:
                        remember(ghost, old, c * 9 // 10)
            else:
                remember(ghost, old, c * 9 // 10)
        (main if back or (not evicted and len(small) >= room) else small)[x] = 0
    return misses


def remember(ghost: Queue, old: int, room: int) -> None:
    ghost[old] = 0
    if len(ghost) > room:
        ghost.popitem(last=False)


def gdsf(ids: list[int], c: int, bypass: bool = False) -> Misses:
    priority, uses, age, misses = Queue(), dict[int, int](), 0, []  # in the order of the last use
    for x in ids:
        misses.append(x not in priority)
        if misses[-1]:
            uses[x], mine = 1, age + 1
            if bypass:
                priority[x] = mine
            while len(priority) > c - (not bypass):
                out = min(priority, key=priority.__getitem__)
                age = max(age, priority.pop(out))
            if not bypass:
                priority[x] = mine
        else:
            uses[x] += 1
            priority[x] = age + uses[x]
            priority.move_to_end(x)
    return misses


PLAIN: dict[str, Callable[[list[int], int], Misses]] = {
    "clock": clock, "sieve": sieve, "slru": slru, "two_q": two_q, "s3fifo": s3fifo, "gdsf": gdsf,
}  # fmt: skip
THEIRS = {
    "clock": "Clock", "sieve": "Sieve", "slru": "SLRU", "two_q": "TwoQ", "s3fifo": "S3FIFO", "gdsf": "GDSF", "random": "Random",
}  # fmt: skip
OLDEST = ("lru", "fifo", "lfu_resident", "belady")  # compared in tests/test_replay.py and tests/test_oracles.py too
EQUAL = ("clock", "sieve", "slru", "two_q", "s3fifo")  # where the room is a multiple of 4 and at least 20


def libcachesim(policy: str, ids: list[int], room: int) -> Misses:
    lcs = pytest.importorskip("libcachesim", reason="libcachesim is not installed (it ships for Linux only)")
    cache = getattr(lcs, THEIRS[policy])(room, hashpower=16)
    return [not cache.get(lcs.Request(obj_size=1, obj_id=x, op=lcs.ReqOp.OP_GET)) for x in ids]


def ours(policy: str, ids: list[int], room: int, size: int = 1) -> Misses:
    trace = one_layer([[x] for x in ids], max(ids) + 1)
    misses = ~simmoe.replay(trace, [size], room * size, policy, contract="sequential").hit
    return cast(Misses, misses.ravel().tolist())


# --- streams --------------------------------------------------------------------------------------------------------

streams = st.lists(st.integers(0, 11), min_size=1, max_size=300)


@pytest.mark.parametrize("policy", PLAIN)
@given(ids=streams, room=st.integers(1, 12), size=st.sampled_from((1, 7, 2**25)))
def test_ours_equals_the_plain_version(policy: str, ids: list[int], room: int, size: int) -> None:
    if policy == "two_q" and room < 4:
        return  # A1in may hold everything and Am nothing, or the other way round: the plain version takes from an empty one
    assert ours(policy, ids, room, size) == PLAIN[policy](ids, room)


def random_streams(seed: int, n: int = 12) -> Iterator[tuple[list[int], int]]:
    """(ids, room): uniform, skewed, and skewed with a loop in its middle."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        objects, length = int(rng.integers(30, 90)), 1500
        ids = (rng.zipf(1.2, length) % objects if i % 2 else rng.integers(0, objects, length)).tolist()
        if i % 3 == 0:
            ids[500:500] = [x % objects for x in range(300)]
        yield ids, int(rng.integers(20, objects))


@pytest.mark.real
@pytest.mark.parametrize("policy", EQUAL)
def test_the_plain_version_equals_libcachesim(policy: str) -> None:
    for ids, room in random_streams(3):
        room = room // 4 * 4 if policy == "slru" else room
        assert PLAIN[policy](ids, room) == libcachesim(policy, ids, room)


@pytest.mark.real
def test_slru_where_the_room_is_no_multiple_of_four() -> None:
    differ = 0
    for ids, room in random_streams(4):
        room = room // 4 * 4 + 1 + room % 3
        theirs = libcachesim("slru", ids, room)
        assert slru(ids, room, evicts_on_hits=True) == theirs
        differ += slru(ids, room) != theirs
    assert differ > 6  # of 12: the difference is there


@pytest.mark.real
def test_gdsf_keeps_what_was_missed() -> None:
    differ = 0
    for ids, room in random_streams(5):
        theirs = libcachesim("gdsf", ids, room)
        assert gdsf(ids, room, bypass=True) == theirs
        differ += gdsf(ids, room) != theirs
    assert differ  # the difference is there


@pytest.mark.real
def test_random_of_libcachesim_draws_other_numbers_by_the_same_rule() -> None:
    mine, theirs = (
        [sum(played("random", ids, room)) for ids, room in random_streams(6, 24)] for played in (ours, libcachesim)
    )
    assert mine != theirs and sum(mine) == pytest.approx(sum(theirs), rel=0.02)


@pytest.mark.parametrize("policy", [*PLAIN, *OLDEST, "arc", "w_tinylfu", "lfu", "random"])
def test_the_file_of_a_policy_that_libcachesim_has_names_the_version_compared_with(policy: str) -> None:
    assert "libcachesim 0.3.5" in " ".join((policies.load("eviction", policy).__doc__ or "").split())


@pytest.mark.real
def test_s3fifo_of_libcachesim_keeps_nothing_below_a_room_of_twenty() -> None:
    ids = np.random.default_rng(1).zipf(1.2, 500) % 40
    assert all(libcachesim("s3fifo", ids.tolist(), 19)) and not all(ours("s3fifo", ids.tolist(), 19))


# --- real routing ---------------------------------------------------------------------------------------------------

TRACES: dict[str, Any] = {"qwen3_30b_general": (slice(24, 25), 2000), "gptoss20b_gpqa": (slice(0, 24), 100)}
ROOMS = {"qwen3_30b_general": (20, 32, 48, 64, 96), "gptoss20b_gpqa": (100, 192, 288, 384, 640)}


def routed(name: str) -> list[int]:
    """A column of Qwen3, or all columns of the first tokens of gpt-oss, whose layers follow each other as in a global cache."""
    columns, tokens = TRACES[name]
    trace = real_traces.load(name, columns=columns)
    column = np.arange(trace.n_layers)[:, None] * trace.n_experts
    return cast(list[int], (trace.expert_ids[:tokens] + column).ravel().tolist())


@pytest.mark.traces
@pytest.mark.real
@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("policy", EQUAL)
def test_misses_equal_libcachesim_on_real_routing(policy: str, name: str) -> None:
    ids = routed(name)
    for room in ROOMS[name]:
        assert ours(policy, ids, room) == libcachesim(policy, ids, room), room


@pytest.mark.traces
@pytest.mark.real
@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("policy", OLDEST)
def test_misses_of_the_oldest_policies_equal_libcachesim_on_real_routing(policy: str, name: str) -> None:
    ids = routed(name)
    for room in ROOMS[name]:
        assert sum(ours(policy, ids, room)) == oracles.flat_libcachesim(ids, 1, room, policy), room


@pytest.mark.traces
@pytest.mark.real
@pytest.mark.parametrize("name", TRACES)
def test_gdsf_differs_from_libcachesim_by_its_bypass_only(name: str) -> None:
    ids = routed(name)
    for room in ROOMS[name]:
        assert ours("gdsf", ids, room) == gdsf(ids, room) and libcachesim("gdsf", ids, room) == gdsf(
            ids, room, bypass=True
        )


@pytest.mark.parametrize("policy", PLAIN)
def test_ours_equals_the_plain_version_on_longer_streams(policy: str) -> None:
    for ids, room in random_streams(3, 6):
        ids = ids[:700]
        for one in (room, max(room // 5, 4)):
            assert ours(policy, ids, one, 7) == PLAIN[policy](ids, one)
