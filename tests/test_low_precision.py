"""Low copies of experts: a player of its own says what they do to the cache and to time; engines are equal to the picosecond."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import policies
from simmoe.cli.main import main
from simmoe.play.energy import _decode_traffic
from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.counts import count, link_bytes_by_pass, moved
from simmoe.simulator.decide.decisions import decide, first_events
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.low_pool import Pool, with_low
from simmoe.simulator.decide.prices import priced
from simmoe.simulator.errors import UserError
from simmoe.simulator.link_time import load_ps
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.time.engines import Engine, named
from simmoe.simulator.time.laws import check, check_causes
from simmoe.sweeps.search import sweep
from tests.conftest import FAST, PAIRS
from tests.scenarios import FEW, Case, cases, cpus, examples, few_kernels, physics, stores, tiny_trace, without_store
from tests.test_engines import enough, guesses_of, half, same
from tests.test_miss_answers import one_layer

WILD = str(Path(__file__).with_name("wild_low.py"))
ENGINES = ["simpy", "plain", FAST]


@st.composite
def halved(draw, **how) -> tuple[Case, int | None]:
    """A case whose model has low copies, and the bytes of their pool; None: they are forgotten."""
    case = replace(draw(cases(**how)), miss=WILD, write_back=False)
    model = case.model
    experts = [model.layers[i].expert for i in model.moe_layers]
    low = tuple(replace(one, bytes=max(1, one.bytes * draw(st.integers(1, 3)) // 4)) for one in experts)
    most = max(one.bytes for one in low)
    pool = draw(st.one_of(st.none(), st.integers(most, 6 * most)))
    return replace(case, model=replace(model, low=low, low_format="low")), pool


def run(case: Case, pool_bytes: int | None, engine: Engine, left: set[int] | None = None):
    """(clocks, counts, link bytes by pass, decisions); the laws of every run are checked."""
    requests, sizes, model = requests_of(case.trace), case.model.expert_bytes, case.model
    guesses, costs = guesses_of(case, requests.n_events), Costs(case.hw, model, case.trace)
    cold_at = first_events(case.trace, requests) if case.cold_per_sequence else None
    unit_of = np.isin(np.arange(requests.n_objects), list(left)).astype(np.int8) if left else None
    module, rule = policies.load("eviction", case.eviction), priced(policies.load("miss", case.miss), costs, requests)
    made = decide(
        requests, sizes, module, case.budget_bytes, scope=case.scope, guesses=guesses, cold_at=cold_at, unit_of=unit_of, rule=rule,
        seed=case.seed, player=engine.player,
    )  # fmt: skip
    low_bytes = np.array([one.bytes for one in model.low])
    pool = None if pool_bytes is None else Pool(low_bytes, pool_bytes, module, case.seed)
    decisions = with_low(requests, made, guesses, pool, cold_at, engine.player)
    loads = loading(costs, requests, decisions, guesses)
    clocks = engine.simulate(costs, requests, decisions, guesses, loads, policies.load("timeline", case.timeline))
    over = moved(decisions, clocks.fate)
    counts = count(case.trace, requests, over, guesses, model.version_bytes)
    check(costs, decisions, clocks, counts, case.budget_bytes + (pool_bytes or 0))
    check_causes(costs, clocks)
    return clocks, counts, link_bytes_by_pass(case.trace, requests, over, guesses, model.version_bytes), decisions


# --- a player of its own ------------------------------------------------------------------------------------------------------


@dataclass
class Room:
    """Objects by use, the oldest first."""

    capacity: int
    size: dict[int, int]
    held: list[int] = field(default_factory=list)

    def use(self, obj: int) -> None:
        self.held.remove(obj)
        self.held.append(obj)

    def load(self, obj: int, pinned: set[int], computed: list[int]) -> list[int]:
        """Takes `obj` in; which of `computed`, the event's own in computed order, had to leave for it."""
        own = []
        while sum(self.size[one] for one in self.held) + self.size[obj] > self.capacity:
            others = [one for one in self.held if one not in pinned]
            leaves = others[0] if others else computed.pop(0)
            own += [] if others else [leaves]
            self.held.remove(leaves)
        self.held.append(obj)
        return own


@dataclass
class Brute:
    """LRU, one budget for all layers, no prefetches, an overlapped or serial timeline on a discrete machine."""

    case: Case
    pool: int | None
    pass_ps: list[int] = field(default_factory=list)
    link_bytes: list[int] = field(default_factory=list)
    tally: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("hits", "misses", "dropped", "substituted", "low_precision", "low_hits"), 0
        )
    )

    def play(self) -> Brute:
        case, n = self.case, self.case.trace.n_experts
        full = {o: int(case.model.expert_bytes[o // n]) for o in range(n * case.trace.n_layers)}
        low = {o: case.model.low[o // n].bytes for o in full}
        self.slots, self.copies = Room(case.budget_bytes, full), Room(self.pool or 0, low)
        self.costs, self.rule = Costs(case.hw, case.model, case.trace), policies.load("miss", case.miss)
        self.stream = self.link = 0
        met: set[int] = set()
        for number in range(case.trace.n_passes):
            rows = slice(int(case.trace.pass_ptr[number]), int(case.trace.pass_ptr[number + 1]))
            sequences = set(case.trace.sequence[rows].tolist())
            if case.cold_per_sequence and not sequences <= met:
                self.slots.held, self.copies.held = [], []
            met |= sequences
            begin, self.moved = self.stream, 0
            for column in range(case.trace.n_layers):
                self.stream += self.costs.chains(number)[column].ps
                self.event(number, column, case.trace.expert_ids[rows, column].tolist())
            self.stream += self.costs.chains(number)[-1].ps
            self.pass_ps.append(self.stream - begin)
            self.link_bytes.append(self.moved)
        return self

    def answers(self, missing: list[int], tokens: dict[int, int], column: int) -> dict[int, str | int]:
        """What becomes of each: load, low, drop, or the object that stands in; the arithmetic of wild_low."""
        n = self.case.trace.n_experts
        here, said = sorted(o for o in self.slots.held if o // n == column), {}
        for obj in missing:
            turn = (5 * obj + 3 * tokens[obj] + len(missing)) % 7
            said[obj] = "low" if turn < 3 else "drop" if turn == 3 else "load"
            if turn == 4 and here:
                said[obj] = here[obj % len(here)]
        return said

    def event(self, number: int, column: int, rows: list[list[int]]) -> None:
        uses = [column * self.case.trace.n_experts + e for row in rows for e in row if e >= 0]
        tokens = {o: uses.count(o) for o in uses}  # in order of first use
        hits = [o for o in tokens if o in self.slots.held]
        said = self.answers([o for o in tokens if o not in hits], tokens, column)
        low, stands = [o for o in said if said[o] == "low"], {o: by for o, by in said.items() if isinstance(by, int)}
        beside = list(dict.fromkeys(by for by in stands.values() if by not in tokens))
        held = [o for o in low if o in self.copies.held]
        brought = [o for o in tokens if said.get(o) in ("load", "low") and o not in held]
        computed, copied, waits = [*hits, *beside], list(held), {}
        for obj in brought:
            if said[obj] == "load":
                own = self.slots.load(obj, {*tokens, *beside}, computed)
                computed.append(obj)
            else:
                own = self.copies.load(obj, set(low), copied) if self.pool else []
                copied.append(obj)
            waits[obj] = [(said[obj], one) for one in own]
        for obj in uses:
            if obj in self.slots.held:
                self.slots.use(obj)
            if obj in self.copies.held and obj in low:
                self.copies.use(obj)
        for by in stands.values():
            if by in self.slots.held:
                self.slots.use(by)
        slots_of_hits = sum(tokens[o] for o in hits) + sum(tokens[o] for o in stands)
        self.time(number, column, len(hits) + len(beside), slots_of_hits, held, brought, waits, said, tokens)
        for name, of in (("hits", hits), ("substituted", stands), ("low_precision", low), ("low_hits", held)):
            self.tally[name] += len(of)
        self.tally["misses"] += sum(what == "load" for what in said.values())
        self.tally["dropped"] += sum(what == "drop" for what in said.values())

    def launch(self, count: int, size: int, slots: int, column: int) -> None:
        part = self.case.model.layers[self.case.model.moe_layers[column]].expert
        if count:
            self.stream += self.costs.piece("experts", count * size, slots * part.flops_per_token).ps

    def time(self, number, column, resident, slots, held, brought, waits, said, tokens) -> None:
        full, low = int(self.case.model.expert_bytes[column]), self.case.model.low[column].bytes
        decided, serial, ended = self.stream, self.case.timeline == "serial", {}
        self.stream += self.costs.shared(column, self.costs.sizes[number].tokens).ps
        self.launch(resident, full, slots, column)
        of_slots = self.stream
        self.launch(len(held), low, sum(tokens[o] for o in held), column)
        of_pool, issue = self.stream, decided
        for obj in brought:
            size = low if said[obj] == "low" else full
            of = [ended.get(one, of_slots if one[0] == "load" else of_pool) for one in waits[obj]]
            issue = self.stream if serial else max(issue, *of, decided)
            self.link = max(self.link, issue) + load_ps(size, self.case.hw)
            self.moved += size
            self.stream = max(self.stream, self.link)
            self.launch(1, size, tokens[obj], column)
            ended[said[obj], obj] = self.stream


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("name", ENGINES)
def test_low_copies_do_to_cache_and_time_what_a_player_of_its_own_says(name):
    @settings(max_examples=examples(200), deadline=None)
    @given(halved(prefetching=False))
    def compare(drawn):
        case, pool = drawn
        unified = replace(case.hw, unified=False)
        timeline = "serial" if case.timeline == "serial" else "overlapped"
        case = replace(case, hw=unified, eviction="lru", scope="global", timeline=timeline)
        case = enough(few_kernels(case) if name == "fast" else case, set())
        case = replace(case, eviction="lru")
        want = Brute(case, pool).play()
        clocks, counts, link_bytes, _ = run(case, pool, named(name))
        assert {one: getattr(counts, one) for one in want.tally} == want.tally
        assert link_bytes.tolist() == want.link_bytes
        assert (clocks.end_ps - clocks.start_ps).tolist() == want.pass_ps

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("names", PAIRS)
def test_engines_are_equal_with_low_copies(names):
    @settings(max_examples=examples(300), deadline=None)
    @given(halved(), physics(), stores(), cpus(), st.one_of(st.none(), st.integers(0, 5)))
    def compare(drawn, changed, with_store, with_cpu, cpu_seed):
        case, pool = drawn
        left = half(case, cpu_seed)
        case = enough(replace(case, hw=with_store(with_cpu(changed(case.hw)))), left)
        case = few_kernels(without_store(case), evictions=FEW) if "fast" in names else case
        one, other = (run(case, pool, named(name), left) for name in names)
        assert one[:2] == other[:2] and same(one[3], other[3])

    compare()


# --- by hand ------------------------------------------------------------------------------------------------------------------

ALWAYS = "from simmoe.policies.answers import LOW, VERSION\ndef serve(n, resident, event, m):\n"
EACH = "    for k in range(n):\n        m.unit[k] = VERSION + LOW\n"
ODD = ALWAYS + "    for k in range(n):\n        if m.obj[k] % 2 == 1:\n            m.unit[k] = VERSION + LOW\n"


@pytest.fixture
def low(tmp_path):
    """A rule that has low copies serve all that is missing."""
    (tmp_path / "low.py").write_text(ALWAYS + EACH)
    return str(tmp_path / "low.py")


def two_formats(flops: int = 2, copy: int = 2):
    """Experts of 4 bytes and copies of 2, one byte and one FLOP per ps; nothing else takes time."""
    hw, model = one_layer(flops)
    return hw, replace(model, low=tuple(replace(layer.expert, bytes=copy) for layer in model.layers), low_format="half")


def hand_made(hw, model, passes, miss, *, budget=16, low_budget=None, engine="plain", **how):
    plan = Plan(budget, miss=miss, start="cold", low_budget=low_budget, **how)
    return play(Workload(hw, tiny_trace(passes, 4), model), plan, named(engine))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("timeline", ["overlapped", "serial"])
def test_a_copy_costs_its_own_bytes_on_the_link_and_in_its_launch(engine, timeline, low):
    """Loaded until 2 and read until 4, again in each pass; with a pool the second pass reads it at once."""
    hw, model = two_formats()
    for low_budget, pass_ps, loaded, hits in ((None, [4, 4], 4, 0), (4, [4, 2], 2, 1)):
        run = hand_made(hw, model, [[[0]], [[0]]], low, low_budget=low_budget, engine=engine, timeline=timeline)
        assert run.pass_ps.tolist() == pass_ps and (run.bytes, run.link_bytes.sum()) == (loaded, loaded)
        assert (run.counts.low_precision, run.counts.low_hits) == (2, hits)
        assert (run.hits, run.misses, run.counts.hit_rate, run.cold_misses) == (0, 0, 0, 2)
        assert _decode_traffic(run.workload, run.decided, np.ones(2, bool)) == (4, 4)


@pytest.mark.parametrize("engine", ENGINES)
def test_experts_and_copies_of_an_event_are_separate_launches_and_their_loads_one_queue(engine, tmp_path):
    """What is odd is served by copies. Pass 1 loads 0 until 4 and the copy of 1 until 6. Pass 2 hits both, one launch each, and loads the
    copy of 3 and expert 2, in the order in which they are requested."""
    mine = tmp_path / "odd.py"
    mine.write_text(ODD)
    hw, model = two_formats()
    run = hand_made(hw, model, [[[0], [1]], [[0], [3], [1], [2]]], str(mine), budget=20, low_budget=4, engine=engine)
    # Expert 0 is read from 4 to 8, the copy of 1 from 8 to 10. Pass 2: READY until 4, the copy of 1 until 6; that of 3, there at 2, until
    # 8; expert 2, there at 6, until 12.
    assert run.pass_ps.tolist() == [10, 12] and run.bytes == 4 + 2 + 2 + 4
    assert (run.hits, run.misses, run.counts.low_precision, run.counts.low_hits) == (1, 2, 3, 1)
    assert run.memory_bytes == {"dense": 0, "kv": 0, "experts": 16, "low copies": 4, "total": 20}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_copy_that_takes_the_room_of_a_copy_of_its_event_waits_for_its_launch(engine, low):
    """A pool of one copy: the second pass hits the copy of 0, which leaves for that of 1 when it has been read, at 2."""
    hw, model = two_formats()
    run = hand_made(hw, model, [[[0]], [[0], [1]]], low, low_budget=2, engine=engine)
    assert run.pass_ps.tolist() == [4, 6] and run.decisions.wait.tolist() == [0, 0, 1]
    assert (run.evictions, run.decisions.evicted.tolist()) == (1, [4])  # copies are numbered behind the four experts


@pytest.mark.parametrize("engine", ENGINES)
def test_computed_order_is_slots_then_pool_then_loads(engine, tmp_path):
    """One slot and a pool of one copy; what is odd is served by copies. The second pass hits expert 0 and the copy of 1, which leaves for
    that of 3 when it has been read, at 6; expert 2 takes the slot of 0, but its load stands behind that of 3 in the queue."""
    mine = tmp_path / "odd.py"
    mine.write_text(ODD)
    hw, model = two_formats()
    run = hand_made(hw, model, [[[0], [1]], [[0], [1], [3], [2]]], str(mine), budget=6, low_budget=2, engine=engine)
    assert run.decisions.wait.tolist() == [0, 0, 0, 0, 2, 1] and run.decisions.evicted.tolist() == [5, 0]
    # Copy of 3: there at 8, read until 10; expert 2: there at 12, read until 16.
    assert run.pass_ps.tolist() == [10, 16]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_load_waits_for_the_load_whose_slot_it_takes_also_behind_copies(engine, tmp_path):
    """One slot. The copy of 1 is there at 2 and read until 4, expert 0 at 6 and until 10; only then 2 is loaded, into the slot of 0."""
    mine = tmp_path / "odd.py"
    mine.write_text(ODD)
    hw, model = two_formats()
    for low_budget in (None, 2):
        run = hand_made(
            hw, model, [[[1], [0], [2]]], str(mine), budget=4 + (low_budget or 0), low_budget=low_budget, engine=engine
        )
        assert run.decisions.wait.tolist() == [0, 0, 2] and run.pass_ps.tolist() == [18]


@pytest.mark.parametrize("engine", ["plain", "simpy"])
def test_a_new_sequence_empties_the_pool_where_it_empties_the_slots(engine, low):
    hw, model = two_formats()
    trace = tiny_trace([[[0]], [[0]], [[0]]], 4, sequences=[[0], [0], [1]])
    for cold, hits in ((False, 2), (True, 1)):
        plan = Plan(16, miss=low, low_budget=4, start="cold", cold_per_sequence=cold)
        run = play(Workload(hw, trace, model), plan, named(engine))
        assert (run.counts.low_hits, run.bytes) == (hits, 2 * (3 - hits))


def test_what_copies_take_beside_the_budget_and_where_they_come_from(low):
    hw, model = two_formats()
    run = hand_made(hw, model, [[[0]], [[0], [1], [2]]], low, budget=8)
    assert run.memory_bytes["low copies"] == 6 and run.memory_bytes["total"] == 8 + 6
    assert run.other_memory_bytes == {"home": {"experts to load": 16, "low copies to load": 8, "total": 24}}
    small = replace(hw, tiers={**hw.tiers, "dram": replace(hw.tiers["dram"], capacity_bytes=13)})
    with pytest.raises(UserError, match="6 B of low copies do not fit on tiny beside 8 B of experts: short by 1 B"):
        hand_made(small, model, [[[0]], [[0], [1], [2]]], low, budget=8)
    small = replace(hw, tiers={**hw.tiers, "home": replace(hw.tiers["home"], capacity_bytes=23)})
    with pytest.raises(UserError, match="experts to load 16 B, low copies to load 8 B are short by 1 B"):
        hand_made(small, model, [[[0]]], low, budget=8)
    with pytest.raises(UserError, match="the pool of 1 B for low copies is below one copy, 2 B"):
        hand_made(hw, model, [[[0]]], low, budget=8, low_budget=1)


@pytest.mark.parametrize("engine", ["plain", "simpy"])
def test_the_bound_nothing_forgets_copies_too(engine, low):
    hw, model = two_formats()
    run = hand_made(hw, model, [[[0]], [[0], [1]]], low, budget=0, eviction="nothing", engine=engine)
    assert run.pass_ps.tolist() == [4, 6] and (run.bytes, run.counts.low_precision) == (6, 3)


def test_a_timeline_that_forgets_the_copies_of_the_pool_is_refused(tmp_path, low):
    own = Path(policies.load("timeline", "serial").__file__).read_text()
    forgets = "        now = held_low(unit, event, column, now, f, t, w, s, e)\n"
    mine = tmp_path / "mine.py"
    hw, model = two_formats()
    for text, said in (
        (own, None),
        (own.replace(forgets, "        now = now\n"), "held_low"),
        (own.replace("row, w.loads", "column, w.loads"), "row_of"),
    ):
        mine.write_text(text)
        if said is None:
            assert hand_made(hw, model, [[[0]], [[0], [1]]], low, low_budget=4, timeline=str(mine)).counts.low_hits == 1
        else:
            with pytest.raises(UserError, match="layer column 0"):
                hand_made(hw, model, [[[0]], [[0], [1]]], low, low_budget=4, timeline=str(mine))


# --- the rule -----------------------------------------------------------------------------------------------------------------


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.sampled_from((0, 6553, 6554, 26214, 26215, 65536)), min_size=1, max_size=5), st.sampled_from((0, 0.1, 0.4, 1)),
       st.sampled_from((0, 0.1, 0.4)))  # fmt: skip
def test_hobbit_has_a_copy_serve_below_the_share_and_leaves_out_below_the_second(gate, share, skip):
    from types import SimpleNamespace

    from simmoe.policies.answers import DROP, LOW, VERSION
    from simmoe.policies.miss import hobbit

    m = SimpleNamespace(unit=[0] * len(gate), obj=list(range(len(gate))), gate=gate,
                        argument=[round(share * 10**6), round(skip * 10**6)])  # fmt: skip
    hobbit.serve(len(gate), None, 0, m)
    assert m.unit == [DROP if g / 65536 < skip else VERSION + LOW if g / 65536 < share else 0 for g in gate]


# --- as a user runs it --------------------------------------------------------------------------------------------------------

SAME = {"hw": "rtx_4090", "trace": "oracle-4x16-k4", "tokens": 120, "budget": "25%", "start": "cold"}
POOLS = [None, "20%"]


def told(words: str, capsys) -> dict:
    assert (
        main(
            shlex.split(
                f"run --hw rtx_4090 --trace oracle-4x16-k4 --tokens 120 --budget 25% --engine plain --json {words}"
            )
        )
        == 0
    )
    return json.loads(capsys.readouterr().out)


def test_what_copies_serve_is_counted_apart_and_every_result_says_so(capsys):
    fetch, nobody = told("", capsys), told("--miss hobbit=0%", capsys)
    assert {"low_precision", "low_hits"}.isdisjoint(fetch["decode"]) and "low_format" not in fetch["scenario"]["model"]
    apart = {"scenario": 0, "digest": 0, "notes": 0, "other_memory_bytes": 0}
    assert {**nobody, **apart} == {**fetch, **apart} and nobody["digest"] != fetch["digest"]
    digests = set()
    for words in ("", "--low-budget 20%", "--low-format Q4_0"):
        found = told(f"--miss hobbit {words}", capsys)
        digests.add(found["digest"])
        for of in (found["prefill"], found["decode"]):
            served = sum(of.get(name, 0) for name in ("hits", "misses", "on_cpu", "dropped", "low_precision"))
            assert of["requests"] == served and of["hit_rate"] == of["hits"] / of["requests"]
        assert found["decode"]["low_precision"] > 0 and any(
            "changes what the model says" in one for one in found["notes"]
        )
        assert any(one.startswith("Low copies in Q") for one in found["notes"])
    assert len(digests) == 3


def test_a_format_is_the_same_however_it_is_written():
    one, other = (simmoe.run(**SAME, miss="hobbit", low_format=name) for name in ("Q4_0", "q4_0"))
    assert one.digest == other.digest and one.scenario()["model"]["low_format"] == "Q4_0"


def test_copies_are_of_the_bytes_that_their_format_has():
    run = simmoe.run(**SAME, miss="hobbit", engine="plain", low_format="Q4_0")
    other = simmoe.load_model("oracle-moe-4x16-k4", "Q4_0")
    assert run.bytes == run.counts.low_precision * int(other.expert_bytes[0]) > 0


@pytest.mark.parametrize("low_budget", POOLS)
@pytest.mark.parametrize("miss", ["hobbit=100%,skip=10%", WILD])
def test_passes_that_form_while_the_clock_runs(miss, low_budget):
    options = {**SAME, "schedule": "continuous", "miss": miss, "low_budget": low_budget}
    one, other = (simmoe.run(**options, engine=engine) for engine in ("plain", "simpy"))
    assert one.clocks == other.clocks and one.counts == other.counts and same(one.decisions, other.decisions)
    assert one.counts.low_precision > 0 and (one.counts.low_hits > 0) == (low_budget is not None)
    recorded = simmoe.run(
        **SAME, miss=miss, low_budget=low_budget, engine="plain"
    )  # one sequence after the other: the same passes
    if one.workload.trace.expert_ids.tolist() == recorded.workload.trace.expert_ids.tolist():
        assert (one.counts, one.bytes) == (recorded.counts, recorded.bytes)


@pytest.mark.parametrize("low_budget", POOLS)
def test_behind_a_warm_up_stands_the_rest_of_the_whole_run(low_budget):
    options = {**SAME, "miss": WILD, "low_budget": low_budget}
    whole, rest = (simmoe.run(**options, engine="plain", warm_up=one) for one in (None, 80))
    again = simmoe.run(**options, engine="simpy", warm_up=80)
    n = len(whole.decisions.hit) - len(rest.decisions.hit)
    assert n > 0 and again.clocks == rest.clocks and same(again.decisions, rest.decisions)
    for name in ("low", "loads"):
        theirs = getattr(whole.decisions, name).astype(int) - n
        assert getattr(rest.decisions, name).tolist() == theirs[theirs >= 0].tolist()
    assert rest.decisions.used.tolist() == whole.decisions.used[-len(rest.decisions.used) :].tolist()


def test_a_long_run_in_stretches_is_the_run_in_one(monkeypatch):
    options = {**SAME, "engine": "plain", "miss": WILD, "low_budget": "20%"}
    whole = simmoe.run(**options)
    monkeypatch.setattr("simmoe.simulator.decide.stretches.LONGEST", 50)
    short = simmoe.run(**options)
    assert short.clocks == whole.clocks and short.counts == whole.counts and short.counts.low_hits > 0
    assert short.energy == whole.energy


def test_a_budget_that_is_too_small_without_a_pool_does_not_blame_the_pool(capsys):
    words = (
        "run --hw rtx_4090 --trace oracle-4x16-k4 --tokens 120 --budget 5% --miss hobbit --low-budget 20% --scope layer"
    )
    assert main(shlex.split(words)) == 2
    said = capsys.readouterr().err
    assert "is below the least that works with scope layer: 37,779,456 B" in said and "raise --budget" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--miss hobbit --low-format fp32", "--low-format fp32: a copy of an expert is as large as the expert"),
        ("--miss hobbit --low-budget 1B", "the pool of 1 B for low copies is below one copy"),
        ("--miss hobbit --low-budget 100%", "(one expert); lower --low-budget"),
        (
            "--miss hobbit --low-budget 80% --scope layer",
            "what is left is below the 37,779,456 B that whole ones need with scope layer (one expert per MoE layer); lower --low-budget",
        ),
        ("--miss hobbit --write-back", "--miss hobbit with --write-back is not modelled"),
    ],
)
def test_what_a_run_with_copies_cannot_honour_is_one_line(words, said, capsys):
    assert main(shlex.split(f"run --hw rtx_4090 --trace oracle-4x16-k4 --tokens 120 --budget 25% {words}")) == 2
    assert said in capsys.readouterr().err


def test_files_of_a_run_name_copies(tmp_path, capsys):
    timeline, passes = tmp_path / "run.json", tmp_path / "passes.csv"
    found = told(f"--miss {WILD} --low-budget 20% --per-token {passes}", capsys)
    words = f"run --hw rtx_4090 --trace oracle-4x16-k4 --tokens 120 --budget 25% --miss {WILD} --low-budget 20% --perfetto {timeline}"
    assert main(shlex.split(words)) == 0
    rows = [line.split(",") for line in passes.read_text().splitlines()]
    assert sum(int(row[rows[0].index("loaded_bytes")]) for row in rows[1:]) == found["bytes"]
    names = [one["name"] for one in json.loads(timeline.read_text())["traceEvents"] if one.get("tid") in (2, 4)]
    loads = [name for name in names if name.startswith("L") and name.endswith("low copy")]
    both = found["prefill"], found["decode"]
    assert len(loads) == sum(of["low_precision"] - of.get("low_hits", 0) for of in both) > 0
    assert sum(name.startswith("evict") for name in names) == found["evictions"]
    assert any(name.startswith("evict") and name.endswith("low copy") for name in names)


def test_no_page_cache_beside_copies(capsys):
    assert (
        main(
            shlex.split(
                "run --hw rtx_4090_nvme --trace oracle-4x16-k4 --tokens 64 --budget 25% --page-cache 100MB --miss hobbit"
            )
        )
        == 2
    )
    assert "--miss hobbit with --page-cache is not modelled" in capsys.readouterr().err


def test_bounds_of_what_is_loaded_in_full_are_not_claimed():
    from simmoe.play.gaps import Bars

    run = simmoe.run(**SAME, miss="hobbit", engine="plain")
    assert set(Bars().of(run, named("plain"))) == {"everything"}


def test_an_engine_reads_copies_with_its_own_kernels():
    options = {**SAME, "runtime": "offload_runtime", "miss": "hobbit=100%", "start": "auto"}
    one, other = (simmoe.run(**options, low_budget=room, engine="plain") for room in (None, "80%"))
    assert one.clocks == simmoe.run(**options, engine="simpy").clocks
    assert other.counts.low_hits > 0 and other.bytes < one.bytes
    column, law = 0, 0
    costs, places = one.workload.costs, one.workload.costs.places
    full, copy = (costs.experts(row, 2, 2, law).ps for row in (column, column + places))
    assert copy < full


def test_the_system_asks_for_copies_and_the_ladder_gives_each_rung_its_pool(capsys):
    run = simmoe.run(**SAME, system="hobbit", prefetch="last_token", engine="plain")
    assert run.plan.miss == "hobbit=40%,skip=10%" and run.counts.low_precision > 0 and run.decisions.pooled
    assert (
        main(
            shlex.split(
                "run --hw rtx_4090 --trace oracle-4x16-k4 --tokens 200 --engine plain --miss hobbit=60% --low-budget 20%"
            )
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "Low copies in Q2_K" in out and "everything" in out


def test_rules_with_and_without_copies_stand_in_one_table_and_one_sweep(capsys):
    """What is said of copies is for the rules that have some serve, and the results of the others say so."""
    both, usual = {"low_format": "Q4_0", "low_budget": "30%"}, {"tokens": 120, "budget": "25%"}
    space = {
        "schema": 1,
        "name": "one",
        "objectives": {"tok_s": "maximize"},
        "hw": "rtx_4090",
        "trace": "oracle-4x16-k4",
        **usual,
        **both,
    }
    done = sweep({**space, "miss": ["fetch", "hobbit"], "low_format": ["Q4_0", "Q8_0"]}, sampler="grid")
    found = {(trial.params["miss"], trial.params["low_format"]): trial.user_attrs for trial in done.trials}
    for (miss, low_format), attrs in found.items():
        run = simmoe.run("rtx_4090", "oracle-4x16-k4", **usual, miss=miss, **{**both, "low_format": low_format})
        assert (attrs["tok_s"], attrs["digest"]) == (run.tok_s, run.digest)
    plain = simmoe.run("rtx_4090", "oracle-4x16-k4", **usual)
    assert {found["fetch", one]["digest"] for one in ("Q4_0", "Q8_0")} == {plain.digest}
    assert len({attrs["tok_s"] for attrs in found.values()}) == 3
    assert (
        len({attrs["scenario_digest"] for attrs in found.values()}) == 3
    )  # those of fetch are one scenario, played once
    assert {"--low" in attrs["command"] for (miss, _), attrs in found.items() if miss == "fetch"} == {False}
    assert {attrs["command"].count("--low") for (miss, _), attrs in found.items() if miss == "hobbit"} == {2}
    table = simmoe.compare_policies(
        "rtx_4090", "oracle-4x16-k4", tokens=120, budget="25%", eviction="lru", miss=["fetch", "hobbit"], **both
    )
    assert {row.label: row.why_not for row in table.rows if not row.bound} == {"fetch": "", "hobbit": ""}
    notes = {row.label: row.run.notes for row in table.rows if not row.bound}
    assert "No low copy serves under --miss fetch: --low-format and --low-budget change nothing" in notes["fetch"]
    assert not any(one.startswith("No low copy") for one in notes["hobbit"])


def test_ends_of_a_workload_with_low_copies_have_them_too():
    workload = Workload("rtx_4090", "oracle-4x16-k4", tokens=64)
    assert not any(end.model.low for end in workload.ends)
    assert all(end.model.low == workload.with_low().model.low for end in workload.with_low().ends)


def test_quality_is_that_of_copies_that_are_no_more_precise():
    from simmoe.play.low import measured_bits

    workload = Workload("rtx_4090", "oracle-4x16-k4", low_format="Q4_0", tokens=64)
    assert measured_bits(workload.model) is None and measured_bits(workload.with_low().model) == 4
    assert measured_bits(Workload("rtx_4090", "oracle-4x16-k4", low_format="q2_k", tokens=64).with_low().model) == 3
    assert measured_bits(Workload("rtx_4090", "oracle-4x16-k4", low_format="Q8_0", tokens=64).with_low().model) == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("gpt-oss-20b --format MXFP4_MOE --low-format IQ2_XXS", "at MXFP4_MOE; name a smaller format, such as int4"),
        ("oracle-moe-2x4 --format IQ1_S", "at IQ1_S; no format that is known makes one smaller"),
        ("oracle-moe-2x4 --format Q2_K", "at Q2_K; name a smaller format, such as IQ2_XXS"),
    ],
)
def test_a_format_is_named_that_makes_copies_smaller(words, said, capsys):
    """The format that was refused was named as the one to take."""
    assert main(shlex.split(f"run --hw a100 --prompt 4 --generate 4 --budget 25% --miss hobbit --model {words}")) == 2
    assert capsys.readouterr().err.strip().endswith(said)
