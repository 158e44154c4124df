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
from tests.conftest import COMPILED, PAIRS
from tests.scenarios import Case, cases, cpus, examples, few_kernels, physics, stores, tiny_trace
from tests.test_engines import enough, guesses_of, half, same
from tests.test_miss_answers import one_layer

WILD = str(Path(__file__).with_name("wild_low.py"))
ENGINES = ["simpy", "plain", pytest.param("fast", marks=COMPILED)]


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
    @settings(max_examples=examples(400), deadline=None)
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
    @settings(max_examples=examples(500), deadline=None)
    @given(halved(), physics(), stores(), cpus(), st.one_of(st.none(), st.integers(0, 5)))
    def compare(drawn, changed, with_store, with_cpu, cpu_seed):
        case, pool = drawn
        left = half(case, cpu_seed)
        case = enough(replace(case, hw=with_store(with_cpu(changed(case.hw)))), left)
        one, other = (run(case, pool, named(name), left) for name in names)
        assert one[:2] == other[:2] and same(one[3], other[3])

    compare()
