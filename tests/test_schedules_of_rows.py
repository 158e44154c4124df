"""Schedules that say how many rows run, vllm and llama_cpp: against a scheduler in plain lists, engines, laws, and queueing theory."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe.play.plan import Plan
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.decide import guard
from simmoe.simulator.decide.laws import BrokenLaw
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.serving import BLOCK
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.simulator.time.engines import named
from simmoe.simulator.time.laws import check_requests, check_rows
from simmoe.simulator.time.requests import Request
from simmoe.simulator.time.serving import Serving
from simmoe.workloads.format import trace as traces
from tests.conftest import PAIRS
from tests.scenarios import FEW, build_trace, examples, few_kernels
from tests.test_house import ROOT
from tests.test_schedule import PREFETCHER, TINY, everything, one_by_one, served, tiny_machine

Turns = list[tuple[int, int]]  # prompt and answer of each, in tokens


def text(requests: list[Turns], seed: int = 0) -> Trace:
    """One request after the other, with prompts in one pass each and routing at random."""
    own = [[(PREFILL, p)] * (p > 0) + [(DECODE, 1)] * n for turns in requests for p, n in turns]
    layout = [(phase, rows) for one in own for phase, rows in one]
    whose = [i for i, turns in enumerate(requests) for p, n in turns for _ in range(p + n)]
    dice = random.Random(seed)
    return build_trace(
        [[[dice.randrange(4)]] for _ in whose],
        [rows for _, rows in layout],
        [phase for phase, _ in layout],
        whose,
        4,
        [0],
    )


# --- a scheduler in plain lists ----------------------------------------------------------------------------------------


class Card:
    """KV memory as a list of blocks: who holds each, since when it is free, what it holds and since when."""

    def __init__(self, blocks: int, keeps: bool) -> None:
        self.keeps, self.clock = keeps, 0
        self.rows = [{"owner": None, "freed": -blocks + i, "text": None, "filled": 0} for i in range(blocks)]
        self.order: dict[int, list[int]] = {}

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def idle(self) -> list[int]:
        return sorted(
            (i for i, row in enumerate(self.rows) if row["owner"] is None), key=lambda i: self.rows[i]["freed"]
        )

    def prefix(self, who: int, known: int) -> list[int]:
        found: list[int] = []
        while self.keeps and (len(found) + 1) * 16 <= known - 1:
            same = [i for i, row in enumerate(self.rows) if row["text"] == (who, len(found))]
            if not same:
                break
            found.append(min(same, key=lambda i: self.rows[i]["filled"]))
        return found

    def grow(self, who: int, tokens: int, prefix: list[int]) -> bool:
        mine, idle = self.order.setdefault(who, []), [i for i in self.idle() if i not in prefix]
        lacks = (tokens + 15) // 16 - len(mine) - len(prefix)
        if lacks > len(idle):
            return False
        fresh = idle[:lacks] if lacks > 0 else []
        for i in fresh:
            self.rows[i]["text"] = None
        for i in [*prefix, *fresh]:
            self.rows[i]["owner"] = who
            mine.append(i)
        for place in range(tokens // 16 if self.keeps else 0):
            if self.rows[mine[place]]["text"] is None:
                self.rows[mine[place]] |= {"text": (who, place), "filled": self.tick()}
        return True

    def drop(self, who: int) -> None:
        for i in reversed(self.order.pop(who, [])):
            self.rows[i] |= {"owner": None, "freed": self.tick()}


def in_lists(
    requests: list[Turns], arrival: list[int], budget: int, most: int, blocks: int, keeps: bool, lasted: list[int]
):
    """Each pass: (start, {request: (rows, of the cache)}, preempted), when pass n lasts lasted[n]; and who is refused."""
    card, queue, active = Card(blocks, keeps), list[int](), list[int]()
    goals = [[(p + before, p + before + n) for (p, n), before in zip(turns, befores(turns))] for turns in requests]
    has = dict.fromkeys(range(len(requests)), 0)  # tokens that are computed
    knows = {who: goals[who][0][0] for who in has}  # tokens that are there to compute
    coming, now, log, refused = list(range(len(requests))), 0, [], []
    while coming or queue or active or -1 in has.values():
        again = sorted(who for who in has if has[who] == -1)
        if not queue and not active and not again:
            now = max(now, arrival[coming[0]])
        while coming and arrival[coming[0]] <= now:
            who = coming.pop(0)
            fits = -(-goals[who][-1][1] // 16) <= blocks
            (queue if fits else refused).append(who)
        for who in again:
            has[who] = 0
            queue.append(who)
        if not queue and not active:
            continue
        left, ran, thrown, at = budget, {}, [], 0
        while at < len(active) and left:
            who = active[at]
            rows = min(knows[who] - has[who], left)
            ok = card.grow(who, has[who] + rows, [])
            while not ok:
                last = active.pop()
                card.drop(last)
                thrown.append((last, has[last]))
                has[last] = 0
                queue.insert(0, last)
                if last == who:
                    break
                ok = card.grow(who, has[who] + rows, [])
            if not ok:
                break
            ran[who], left, at = (rows, 0), left - rows, at + 1
        while not thrown and queue and left and len(active) < most:
            who = queue[0]
            prefix = card.prefix(who, knows[who])
            rows = min(knows[who] - 16 * len(prefix), left)
            if not card.grow(who, 16 * len(prefix) + rows, prefix):
                break
            active.append(queue.pop(0))
            ran[who], left = (rows, 16 * len(prefix)), left - rows
        log.append((now, ran, thrown))
        now += lasted[len(log) - 1]
        for who, (rows, cached) in ran.items():
            has[who] += rows + cached
            if has[who] == knows[who]:
                _, end = goals[who][0]
                if has[who] < end:
                    knows[who] += 1
                    continue
                goals[who].pop(0)
                active.remove(who)
                card.drop(who)
                if goals[who]:
                    has[who], knows[who] = -1, goals[who][0][0]
                else:
                    del has[who]
    return log, refused


def befores(turns: Turns) -> list[int]:
    """Tokens of the turns before each."""
    return [sum(p + n for p, n in turns[:i]) for i in range(len(turns))]


def drawn(seed: int):
    """Requests and the limits of a card for them: often so few blocks that requests are preempted, and now and then one is too long."""
    dice = random.Random(seed)
    long = dice.choice((12, 40, 90))
    requests = [
        [(dice.randint(1, long), dice.randint(1, long // 2)) for _ in range(dice.choice((1, 1, 2, 3)))]
        for _ in range(dice.randint(1, 9))
    ]
    needs = [-(-sum(p + n for p, n in turns) // BLOCK) for turns in requests]
    blocks = dice.choice((max(needs), max(needs) + dice.randint(0, 4), max(1, max(needs) - 1), sum(needs)))
    budget, most = dice.choice((1, 3, 8, 16, 33, 64, 500)), dice.choice((1, 2, 3, 9))
    return requests, budget, most, blocks, dice.random() < 0.5, dice.choice((0, 40, 300, 3000))


def played(
    requests: list[Turns], budget: int, most: int, blocks: int, keeps: bool, gap: int, engine: str = "plain"
) -> Run:
    room = {"max_tokens": budget, "max_batch": most, "kv_blocks": blocks, "prefix_cache": keeps}
    machine = Workload(tiny_machine(), text(requests), TINY, schedule="vllm", **room)
    return play(machine, Plan(8, arrivals=f"every:{gap}ps" if gap else None), named(engine))


SEEDS = 200


@pytest.mark.slow
@pytest.mark.parametrize("begin", range(0, SEEDS, 25))
def test_the_steps_are_those_of_a_scheduler_in_plain_lists(begin):
    preempted = cached = turned = 0
    for seed in range(begin, begin + 25):
        requests, budget, most, blocks, keeps, gap = drawn(seed)
        if all(-(-sum(p + n for p, n in turns) // BLOCK) > blocks for turns in requests):
            with pytest.raises(UserError, match=r"vllm.py refuses every request: each needs more than \d+ blocks"):
                played(requests, budget, most, blocks, keeps, gap)
            continue
        run = played(requests, budget, most, blocks, keeps, gap)
        arrival = [i * gap for i in range(len(requests))]
        want, refused = in_lists(requests, arrival, budget, most, blocks, keeps, run.pass_ps.tolist())
        log = run.serving
        got = [(start, {}, []) for start in run.clocks.start_ps.tolist()]
        for number, who, rows, again in log.chunks.tolist():
            got[number][1][who] = (rows, again)
        for number, who, rows in log.preempted.tolist():
            got[number][2].append((who, rows))
        assert got == want, seed
        assert log.refused.tolist() == refused, seed
        preempted, cached, turned = preempted + len(log.preempted), cached + log.cached, turned + len(log.ended)
    assert preempted and cached and turned


# --- engines -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prefetcher(tmp_path_factory):
    path = tmp_path_factory.mktemp("policies") / "right.py"
    path.write_text(PREFETCHER)
    return str(path)


@st.composite
def rooms(draw: st.DrawFn) -> dict[str, int | bool]:
    return {
        "max_batch": draw(st.integers(1, 4)), "max_tokens": draw(st.sampled_from((3, 4, 7, 100))), "kv_blocks": draw(st.integers(2, 4)),
        "prefix_cache": draw(st.booleans()),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("names", PAIRS)
def test_all_engines_are_equal_bit_for_bit(prefetcher, names):
    @settings(max_examples=examples(150), deadline=None)
    @given(served(), rooms())
    def compare(one, room):
        case, slots, plan, wants = one
        plan = replace(
            few_kernels(plan, evictions=FEW) if "fast" in names else plan, prefetch=prefetcher if wants else None
        )
        how: dict = {"schedule": "vllm", **room}
        if slots > 4:
            how = {
                "schedule": "llama_cpp",
                "max_batch": 2,
                "max_tokens": 7,
                "microbatch": 3,
                "prefix_cache": room["prefix_cache"],
            }
        machine = Workload(case.hw, case.trace, case.model, **how)
        first, second = (everything(play(machine, plan, named(name))) for name in names)
        assert first == second

    compare()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simpy", "fast"])
def test_engines_are_equal_where_requests_are_preempted(name):
    for seed in (3, 11, 12):
        asked = drawn(seed)
        assert everything(played(*asked, engine=name)) == everything(played(*asked))


# --- laws --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_rows_blocks_and_requests_are_conserved(seed):
    requests, budget, most, _, keeps, gap = drawn(seed)
    needs = [-(-sum(p + n for p, n in turns) // BLOCK) for turns in requests]
    run = played(requests, budget, most, max(needs), keeps, gap)
    found, log, trace = run.requests, run.serving, run.workload.trace
    assert found.tokens.tolist() == [sum(1 + n for _, n in turns) for turns in requests]
    assert trace.n_tokens == run.workload.begun.trace.n_tokens + log.recomputed and log.blocks.max() <= max(needs)
    assert run.decode.tokens == sum(n for turns in requests for _, n in turns) == run.emitted
    assert run.prefill.tokens == trace.n_tokens - run.decode.tokens
    assert check_requests(log, found.finish_ps, run.clocks) == int((found.finish_ps - found.arrival_ps).sum())
    asked = found.start_ps, trace, run.workload.begun.trace
    for name, wrong, line in (
        ("again", np.zeros_like(log.again) if log.recomputed else np.ones_like(log.again), "every row is played once"),
        ("blocks", log.blocks + max(needs), "blocks of KV cache ≤"),
        ("preempted", np.array([[0, 0, 1], *log.preempted.tolist()]), "rows given up = rows computed again"),
    ):
        with pytest.raises(BrokenLaw, match=line):
            check_rows(replace(log, **{name: wrong}), *asked, max(needs))


@pytest.mark.parametrize(
    ("cls", "method", "broken", "law"),
    [
        (Request, "ran", lambda asked: lambda self, rows: asked(self, rows - (rows > 1)), "rows given up|played once"),
        (
            Serving,
            "_give_up",
            lambda asked: lambda self, one, why, number: setattr(one, "computed", 0),
            "rows given up",
        ),
    ],
)
def test_a_loop_that_errs_breaks_a_law(monkeypatch, cls, method, broken, law):
    monkeypatch.setattr(cls, method, broken(getattr(cls, method)))
    with pytest.raises(BrokenLaw, match=law):
        played([[(10, 14)], [(10, 14)]], 64, 2, 3, False, 0)


ENGINE_RUN = {
    "hw": "h100", "model": "qwen3-30b-a3b", "runtime": "vllm", "prompt": 100, "generate": 12, "requests": 6, "rate": "40/s",
}  # fmt: skip


@pytest.mark.parametrize("schedule", ["vllm", "llama_cpp", "continuous"])
def test_passes_of_many_widths_follow_the_laws_of_a_runtime(schedule):
    """Passes of more rows than one read of the weights serves follow the law of their own rows, which nobody knows beforehand."""
    options = {**ENGINE_RUN, "schedule": schedule, **({} if schedule == "continuous" else {"max_tokens": 64})}
    runs = [simmoe.run(**options, engine=name) for name in ("simpy", "plain", "fast")]
    first = runs[0]
    assert all(run.pass_ps.tolist() == first.pass_ps.tolist() for run in runs)
    widths = set(np.diff(first.workload.trace.pass_ptr).tolist())
    assert len([n for n in widths if n > first.workload.costs.products.rows_per_read]) >= (
        1 if schedule == "continuous" else 3
    )


def test_without_load_a_runtime_serves_requests_as_it_runs_one_after_the_other():
    apart = simmoe.run(**{**ENGINE_RUN, "schedule": "vllm", "requests": 3, "rate": None}, arrivals="every:10s")
    recorded = simmoe.run("h100", apart.workload.trace, model="qwen3-30b-a3b", runtime="vllm")
    assert len(apart.pass_ps) == 39 and apart.pass_ps.tolist() == recorded.pass_ps.tolist()


@pytest.mark.slow
def test_without_load_a_request_runs_as_if_it_were_alone():
    for seed in range(8):
        requests = [turns[:1] for turns in drawn(seed)[0]]
        alone = play(Workload(tiny_machine(), one_by_one(text(requests)), TINY), Plan(8), named("plain"))
        run = played(requests, 500, 9, 100, seed % 2 == 0, 10**9)
        assert run.pass_ps.tolist() == alone.pass_ps.tolist() and run.bytes == alone.bytes
        assert run.requests.start_ps.tolist() == run.requests.arrival_ps.tolist()


# --- queueing theory ---------------------------------------------------------------------------------------------------


def queued(seed: int, n: int, apart_ps: int) -> tuple[Run, list[int]]:
    """A queue of one place, everything resident, and how long each request runs alone."""
    dice = random.Random(seed)
    requests = [[(dice.choice((1, 5, 40)), dice.choice((1, 3)))] for _ in range(n)]
    trace, plan = text(requests, seed), Plan(16, "everything", seed=seed, arrivals=f"poisson:{10**12 / apart_ps}/s")
    run = play(Workload(tiny_machine(), trace, TINY, schedule="vllm", max_batch=1, max_tokens=64), plan, named("plain"))
    alone = play(Workload(tiny_machine(), one_by_one(trace), TINY), Plan(16, "everything"), named("plain"))
    owner = alone.workload.trace.sequence[alone.workload.trace.pass_ptr[:-1]]
    return run, np.bincount(owner, alone.pass_ps).astype(np.int64).tolist()


@pytest.mark.slow
def test_one_place_is_lindleys_queue_and_its_mean_wait_that_of_pollaczek_and_khinchine():
    """Every wait to the picosecond; the mean of ten seeds within three standard errors."""
    means, times, apart = list[float](), list[int](), 100
    for seed in range(10):
        run, alone = queued(seed, 500, apart)
        found, wait = run.requests, 0
        arrival, waits = found.arrival_ps.tolist(), [0]
        for (before, after), service in zip(pairwise(arrival), alone):
            wait = max(wait + service - (after - before), 0)
            waits.append(wait)
        assert (found.start_ps - found.arrival_ps).tolist() == waits
        means.append(float(np.mean(waits)))
        times += alone
    service = np.array(times, float)
    busy = service.mean() / apart
    expected = (service**2).mean() / apart / (2 * (1 - busy))
    assert 0.3 < busy < 0.7
    assert abs(np.mean(means) - expected) <= 3 * np.std(means, ddof=1) / np.sqrt(10), (means, expected)


# --- by hand -----------------------------------------------------------------------------------------------------------


def chunks_of(run: Run) -> list[dict[int, tuple[int, int]]]:
    found: list[dict[int, tuple[int, int]]] = [{} for _ in run.pass_ps]
    for number, who, rows, again in run.serving.chunks.tolist():
        found[number][who] = (rows, again)
    return found


def test_a_prompt_is_read_in_chunks_beside_what_decodes():
    """Budget 4. A's prompt of 6 takes two passes; B's first chunk fills the second, its second runs beside A's first token."""
    run = played([[(6, 2)], [(5, 1)]], 4, 2, 10, False, 0)
    assert chunks_of(run) == [{0: (4, 0)}, {0: (2, 0), 1: (2, 0)}, {0: (1, 0), 1: (3, 0)}, {0: (1, 0), 1: (1, 0)}]
    trace = run.workload.trace
    assert trace.phase.tolist() == [PREFILL, PREFILL, DECODE, DECODE]
    assert trace.reads.tolist() == [False] * 8 + [False, True, True, True] + [False, False]
    ends = run.clocks.end_ps.tolist()
    assert run.requests.first_ps.tolist() == [ends[1], ends[2]] and run.requests.finish_ps.tolist() == [
        ends[3],
        ends[3],
    ]
    assert run.emitted == 3 and run.requests.mean_batch == 3 / 2
    assert run.ttft_s == {"first": None, "later": None}


def test_the_last_request_is_preempted_and_computes_all_anew():
    """Three blocks. Both prompts of 16 fill one each; the first token of both needs one more: the second gives up its 16 rows, and waits
    until the first has ended, though one block is free."""
    run = played([[(16, 3)], [(16, 2)]], 64, 2, 3, False, 0)
    assert chunks_of(run) == [
        {0: (16, 0), 1: (16, 0)}, {0: (1, 0)}, {0: (1, 0)}, {0: (1, 0)}, {1: (17, 0)}, {1: (1, 0)},
    ]  # fmt: skip
    assert run.serving.preempted.tolist() == [[1, 1, 16]]
    block = run.to_json()["requests"]
    assert (
        block["preemptions"] == 1
        and block["recomputed_tokens"] == 16
        and block["most_kv_blocks"] == 2
        and block["tokens"] == 7
    )
    assert run.workload.trace.reads[-18:].tolist() == [True] * 16 + [False] * 2


def test_the_next_turn_finds_the_full_blocks_of_the_one_before():
    """30 positions are one full block: the second turn of 4 rows computes 14 again; without the cache all 30."""
    for keeps, chunk in ((True, (18, 16)), (False, (34, 0))):
        run = played([[(20, 10), (4, 1)]], 64, 1, 4, keeps, 0)
        assert chunks_of(run)[11] == {0: chunk}
        assert run.serving.cached == (16 if keeps else 0) and run.serving.recomputed == 30 - run.serving.cached


def test_a_request_that_can_never_fit_is_refused_and_the_others_run():
    run = played([[(20, 5)], [(60, 5)], [(9, 3)]], 64, 3, 2, False, 20)
    found, block = run.requests, run.to_json()["requests"]
    assert found.sequence.tolist() == [0, 2] and block["n"] == 2 and block["refused"] == 1
    assert run.serving.refused.tolist() == [1]


def test_a_batch_of_slots_is_computed_a_microbatch_at_a_time():
    """Two slots, batches of 8 tokens, 3 at a time. The second slot is taken first, so B stands before A; the token that B decodes comes
    before the rest of A's prompt. C waits for B's slot."""
    machine = Workload(
        tiny_machine(),
        text([[(6, 2)], [(5, 1)], [(4, 2)]]),
        TINY,
        schedule="llama_cpp",
        max_batch=2,
        max_tokens=8,
        microbatch=3,
    )
    run = play(machine, Plan(16), named("plain"))
    assert chunks_of(run) == [
        {1: (3, 0)}, {0: (1, 0), 1: (2, 0)}, {0: (2, 0)},  # a batch: five of B, three of A
        {0: (2, 0), 1: (1, 0)}, {0: (1, 0)},
        {0: (1, 0), 2: (2, 0)}, {2: (2, 0)},
        {0: (1, 0), 2: (1, 0)}, {2: (1, 0)},
    ]  # fmt: skip
    usual = Workload(tiny_machine(), text([[(6, 2)]] * 9), TINY, schedule="llama_cpp").room
    assert (usual.max_batch, usual.max_tokens, usual.microbatch) == (4, 2048, 512)


def test_the_next_turn_takes_the_slot_that_holds_the_one_before():
    for keeps, chunk in ((True, (3, 8)), (False, (11, 0))):
        machine = Workload(
            tiny_machine(),
            text([[(6, 2), (3, 1)], [(5, 4)]]),
            TINY,
            schedule="llama_cpp",
            max_batch=2,
            prefix_cache=keeps,
        )
        run = play(machine, Plan(16), named("plain"))
        assert chunks_of(run)[3][0] == chunk and run.serving.cached + run.serving.recomputed == 8


def test_kv_memory_is_that_of_the_blocks():
    base = {
        "hw": "h100",
        "model": "qwen3-30b-a3b",
        "format": "fp8",
        "prompt": 30,
        "generate": 2,
        "requests": 5,
        "schedule": "vllm",
    }
    model = simmoe.Scenario(**base).workload().model
    each = 16 * model.kv_bytes_per_position
    for room, blocks in (
        ({"kv_blocks": 7}, 7), ({"kv_memory": 9 * each + 5}, 9), ({"max_batch": 3}, 3 * 2), ({}, 5 * 2),
    ):  # fmt: skip
        workload = simmoe.Scenario(**base, **room).workload()
        assert workload.room.kv_blocks == blocks and workload.kv_bytes == blocks * each
    assert workload.room.max_tokens == 8192
    assert simmoe.Scenario(**base | {"hw": "a100"}).workload().room.max_tokens == 2048


@pytest.mark.slow
@pytest.mark.skipif("oracle" not in traces.names(), reason="the bundled traces are not made yet")
def test_chunks_trade_pauses_for_first_tokens():
    """The table of docs/serving.md: prompts that are read whole hurt the slowest passes of those who decode."""
    asked = {
        "prompt": 1500,
        "generate": 60,
        "requests": 16,
        "arrivals": "poisson:12/s",
        "schedule": "vllm",
        "budget": "100%",
    }
    page, found = (ROOT / "docs" / "serving.md").read_text("utf-8"), []
    for tokens in (2048, 256, 64):
        run = simmoe.run("a100", "oracle", max_tokens=tokens, **asked)
        ttft_ms = run.to_json()["requests"]["ttft_ms"]["p50"]
        row = rf"\| {tokens:,}[^|]*\| {run.tpot_ms(99):#.3g} ms \| {ttft_ms:#.3g} ms \|"
        assert re.search(row, page), row
        found.append((run.tpot_ms(99), ttft_ms))
    pauses, first = zip(*found)
    assert list(pauses) == sorted(pauses, reverse=True) and pauses[0] > 2 * pauses[1] and list(first) == sorted(first)


# --- files of the user, and what is refused -----------------------------------------------------------------------------

OWN = """
from simmoe.simulator.nouns.serving import Chunk, NextPass

class Schedule:
    def __init__(self, room):
        self.room, self.pass_ = room, 0

    def next_pass(self, now_ps, requests, arrived):
        self.pass_ += 1
        BODY
"""
WRONG = [
    ("return [1]", r"returned \[1\]; return a NextPass"),
    ("return NextPass(3)", r"return a NextPass of lists"),
    ("return NextPass([(0, 1)])", r"returned \(0, 1\), which is no Chunk\(request, rows, cached\)"),
    ("return NextPass([Chunk([], 1)])", r"returned request \[\], which is none of the 2"),
    ("return NextPass([Chunk(0, 1.0)])", r"which holds something else than whole numbers"),
    ("return NextPass([Chunk(0, 1)], [], [1, 1])", r"returned requests \[1, 1\] as preempted or refused, one of them twice"),
    ("return NextPass([Chunk(9, 1)])", r"returned request 9, which is none of the 2 that are there"),
    ("return NextPass([Chunk(0, 1), Chunk(0, 1)])", r"returned request 0 twice"),
    ("return NextPass([Chunk(0, 99)])", r"returned 99 rows of request 0, which has 20 to run"),
    ("return NextPass([Chunk(0, 4, 16)])", r"returned 16 rows of request 0 out of a prefix cache"),
    ("return NextPass([Chunk(0, 1)], [1])", r"returned request 1 as preempted, which holds no KV cache"),
    ("return NextPass([])", r"returned no request, although 2 have not ended"),
    ("return NextPass([Chunk(0, 8), Chunk(1, 8)])", r"returned 16 rows; --max-tokens allows 10"),
    ("return NextPass([Chunk(0, 5), Chunk(1, 5)])", r"hold 4 blocks of KV cache; --kv-blocks allows 2"),
    ("return 1 / 0", r"next_pass\(\) failed in pass 0 at line 10: ZeroDivisionError"),
    ("return NextPass([Chunk(self.pass_ % 2, 1)], [1 - self.pass_ % 2] * (self.pass_ > 1))", r"returned another pass; \d+ are 2 times"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "line"), WRONG)
def test_what_a_schedule_may_not_answer_is_one_line(tmp_path, body, line):
    (tmp_path / "mine.py").write_text('TAKES = ("max_tokens", "kv_blocks")' + OWN.replace("BODY", body))
    machine = Workload(
        tiny_machine(),
        text([[(20, 3)], [(20, 3)]]),
        TINY,
        schedule=str(tmp_path / "mine.py"),
        max_tokens=10,
        kv_blocks=2,
    )
    with pytest.raises(UserError, match=line) as error:
        play(machine, Plan(16), named("plain"))
    assert "\n" not in str(error.value) and str(error.value).startswith(("schedule mine.py", "policy mine.py"))


def test_a_schedule_that_fails_before_it_is_asked_is_one_line(tmp_path):
    (tmp_path / "mine.py").write_text(OWN.replace("BODY", "pass").replace("room, 0", "room, 1 / 0"))
    with pytest.raises(UserError, match=r"mine.py: Schedule\(\) failed at line \d+: ZeroDivisionError"):
        play(
            Workload(tiny_machine(), text([[(2, 3)]]), TINY, schedule=str(tmp_path / "mine.py")),
            Plan(16),
            named("plain"),
        )


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("TAKES = 5", r"schedule mine.py: TAKES is 5; name options out of max_tokens, kv_blocks, prefix_cache, microbatch"),
        ("TAKES = ('max_tokens', 'batch')", r"schedule mine.py: TAKES is \('max_tokens', 'batch'\); name options"),
        ("def usual(memory_bytes, device): return 'a', 'b'", r"mine.py: usual\(\) returned \('a', 'b'\); return two whole numbers"),
        ("def usual(memory_bytes, device): return 0, 9", r"mine.py: usual\(\) returned \(0, 9\); return two whole numbers above 0"),
        ("def usual(memory_bytes, device): return None", r"mine.py: usual\(\) returned None; return two whole numbers"),
        ("def usual(memory_bytes, device): return 1 // 0", r"mine.py: usual\(\) failed at line 1: ZeroDivisionError"),
    ],
)  # fmt: skip
def test_what_a_schedule_may_not_say_of_itself_is_one_line(tmp_path, head, line):
    (tmp_path / "mine.py").write_text(f"{head}\n" + OWN.replace("BODY", "return NextPass([])"))
    with pytest.raises(UserError, match=line) as error:
        Workload(tiny_machine(), text([[(2, 3)]]), TINY, schedule=str(tmp_path / "mine.py"))
    assert "\n" not in str(error.value)


def test_a_schedule_without_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "MOST_TURNS", 12_345)
    (tmp_path / "mine.py").write_text(OWN.replace("BODY", "while True:\n            pass"))
    machine = Workload(tiny_machine(), text([[(2, 3)]]), TINY, schedule=str(tmp_path / "mine.py"))
    with pytest.raises(UserError, match=r"next_pass\(\) failed in pass 0 .*: a loop turned more than 12,345 times"):
        play(machine, Plan(16), named("plain"))


@pytest.mark.parametrize("schedule", ["vllm", "llama_cpp"])
def test_a_budget_of_rows_below_what_is_decoded_together_is_refused(schedule):
    """A verify pass of three rows is not cut, so that no pass of two would ever run it."""
    trace = build_trace([[[0]]] * 7, [2, 3, 2], [PREFILL, DECODE, DECODE], [0] * 7, 4, [0])
    with pytest.raises(
        UserError, match=r"^--max-tokens 2 has no room for the 3 rows .* decodes in one pass.* give 3 or more$"
    ):
        Workload(tiny_machine(), trace, TINY, schedule=schedule, max_tokens=2)
    enough = Workload(tiny_machine(), trace, TINY, schedule=schedule, max_tokens=3)
    assert play(enough, Plan(16), named("plain")).workload.trace.n_tokens == 7
    assert Workload(tiny_machine(), text([[(20, 3)]]), TINY, schedule=schedule, max_tokens=1).room.max_tokens == 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"schedule": "continuous", "kv_blocks": 4},
            "--kv-blocks 4: --schedule continuous has none; name one that does, such as",
        ),
        ({"max_tokens": 4}, "--max-tokens 4: --schedule recorded has none"),
        ({"prefix_cache": True}, "--prefix-cache: --schedule recorded has none"),
        ({"schedule": "vllm", "microbatch": 4}, "--microbatch 4: no layer of tiny has a window"),
        ({"schedule": "vllm", "kv_blocks": 4, "kv_memory": "1GB"}, "give --kv-blocks .* or --kv-memory .*, not both"),
        (
            {"schedule": "vllm", "kv_memory": "1kB"},
            "--kv-memory 1kB holds no block of 16 positions of tiny, which takes",
        ),
    ],
)
def test_an_option_that_a_schedule_has_not_is_refused(options, line):
    with pytest.raises(UserError, match=line):
        Workload(tiny_machine(), text([[(3, 1)]]), with_cache(), **options)


def with_cache():
    from simmoe.simulator.nouns.model import Cache

    return replace(TINY, layers=(replace(TINY.layers[0], caches=(Cache(1000, 0),)),))


def test_what_is_decoded_together_is_not_cut():
    """Verify passes of three rows, one of them rejected, under a budget of four: the second request waits for the next pass."""
    layout = [(PREFILL, 2), (DECODE, 3), (DECODE, 3)]
    whose = [who for who in (0, 1) for _, rows in layout for _ in range(rows)]
    trace = build_trace(
        [[[i % 4]] for i in range(len(whose))], [rows for _, rows in layout] * 2, [phase for phase, _ in layout] * 2, whose, 4, [0]
    )  # fmt: skip
    trace = replace(trace, emitted=np.array(([1, 1] + [1, 1, 0] * 2) * 2, np.int8))
    run = play(Workload(tiny_machine(), trace, TINY, schedule="vllm", max_tokens=4), Plan(16), named("plain"))
    assert chunks_of(run) == [{0: (2, 0), 1: (2, 0)}, {0: (3, 0)}, {0: (3, 0)}, {1: (3, 0)}, {1: (3, 0)}]
    assert run.requests.tokens.tolist() == [5, 5] and run.emitted == 8
    run = play(Workload(tiny_machine(), trace, TINY, schedule="vllm", max_tokens=5), Plan(16), named("plain"))
    assert chunks_of(run)[1:] == [{0: (3, 0)}, {0: (3, 0)}, {1: (3, 0)}, {1: (3, 0)}]
    with pytest.raises(UserError, match="--max-tokens 2 has no room for the 3 rows"):
        play(Workload(tiny_machine(), trace, TINY, schedule="vllm", max_tokens=2), Plan(16), named("plain"))


FLAGS = {"model": "olmoe-1b-7b", "prompt": 8, "generate": 2, "requests": 2}


@pytest.mark.parametrize(
    ("schedule", "runtime", "flags", "said"),
    [
        ("llama_cpp", "llama_cpp_cuda", "-np 2 -b 64 -ub 16", {"max_batch": 2, "max_tokens": 64, "microbatch": 16}),
        ("llama_cpp", "llama_cpp_cuda", "-np 1", {"max_batch": 1, "max_tokens": None}),
        ("llama_cpp", "llama_cpp_cuda", "-np 8 -c 32768", {"max_batch": 8, "context": 4096}),
        ("llama_cpp", "llama_cpp_cuda", "-c 32768", {"max_batch": None, "context": 8192}),
        ("vllm", "vllm", "--max-num-seqs 8 --max-num-batched-tokens 64", {"max_batch": 8, "max_tokens": 64, "microbatch": None}),
        ("continuous", "llama_cpp_cuda", "-np 3 -b 64", {"max_batch": 3, "max_tokens": None, "microbatch": 64}),
    ],
)  # fmt: skip
def test_an_engines_flags_say_what_may_run_together(schedule, runtime, flags, said):
    found = simmoe.Scenario(hw="h100", schedule=schedule, runtime=runtime, flags=flags, **FLAGS)
    assert {name: getattr(found, name) for name in said} == said and found.batch is None


def test_slots_that_an_option_counts_share_the_context_of_the_flags():
    asked = {"hw": "h100", "schedule": "llama_cpp", "runtime": "llama_cpp_cuda", "flags": "-c 32768", **FLAGS}
    assert simmoe.Scenario(**asked, max_batch=2).context == 16384


def test_flags_and_options_of_what_may_run_together_are_said_once():
    with pytest.raises(UserError, match="--flags say max-tokens 64, and --max-tokens 32; say it once"):
        simmoe.Scenario(
            hw="h100", schedule="llama_cpp", runtime="llama_cpp_cuda", flags="-b 64", max_tokens=32, **FLAGS
        )
