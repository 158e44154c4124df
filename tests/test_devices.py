"""Several devices: layers or experts split over them. All engines equal, a program of its own for the times, one rank is one machine."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import hardware_profiles, policies
from simmoe.cli.main import main
from simmoe.play import devices
from simmoe.play.plan import Plan
from simmoe.play.scenario import OPTIONS as SCENARIO
from simmoe.show.files import write_per_token
from simmoe.simulator.binding import bound
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.counts import count, hit_flags
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.devices import asked_of, rows_sent
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower import layer, oplist
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.lower.oplist import Ops
from simmoe.simulator.lower.tables import notes_of, tables_of, work_of
from simmoe.simulator.nouns.hardware import ComputeUnit, Fabric, Hardware, Link, Tier
from simmoe.simulator.nouns.layout import Layout
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.simulator.nouns.run import Clocks
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.engines import named
from simmoe.simulator.time.laws import check, check_causes
from tests.conftest import PAIRS
from tests.machines import TWO
from tests.scenarios import TB, Case, cases, examples, tiny_trace
from tests.test_engines import guesses_of

ENGINES = ["simpy", "plain"] + ["fast"] * (not compiled.missing())
GOLDEN = Path(__file__).parent / "golden" / "distributed.txt"
DISTRIBUTED = policies.load("timeline", "distributed")


@st.composite
def split(draw: st.DrawFn, prefetching: bool | None = None, most: int = 4) -> tuple[Case, Layout]:
    """A scenario on one to four unequal devices: whole layers on each, experts of each layer, or any mixture."""
    case = draw(cases(prefetching=prefetching))
    assume(not case.hw.unified and case.hw.link.upstream is None)
    n, trace = draw(st.integers(1, most)), case.trace
    kind = draw(st.sampled_from(("layers", "experts", "any")))
    of = np.random.default_rng(draw(st.integers(0, 99))).integers(0, n, (trace.n_layers, trace.n_experts))
    unit = {
        "layers": np.repeat(of[:, :1], trace.n_experts, 1),
        "experts": np.repeat(of[:1], trace.n_layers, 0),
        "any": of,
    }[kind]
    width = draw(st.sampled_from((1, 3, 40)))
    case = replace(
        case, hw=with_devices(draw, case.hw, n), model=replace(case.model, width=width), scope="global", buffered=False
    )
    return replace(case, timeline="distributed", cold_per_sequence=False), Layout(n, unit)


def with_devices(draw: st.DrawFn, hw, n: int):
    rates = st.sampled_from((TB // 4, TB // 2, 333_333_333_777, TB))
    names, unit = tuple(f"gpu{number}" for number in range(n)), hw.device
    units = {unit.name: unit} | {
        name: replace(unit, name=name, memory=name, bytes_per_s=draw(rates), launch_ps=draw(st.integers(0, 3)))
        for name in names[1:]
    }
    tiers = {**hw.tiers, **{name: replace(hw.device_memory, name=name) for name in names[1:]}}
    links = {
        name: replace(hw.link, dst=name, bytes_per_s=draw(rates), latency_ps=draw(st.integers(0, 3)))
        for name in names[1:]
    }
    fabric = Fabric(draw(rates), draw(st.integers(0, 4))) if n > 1 else None
    return replace(hw, units=units, tiers=tiers, devices=(unit.name, *names[1:]), more_links=links, fabric=fabric)


def played(case: Case, layout: Layout, engine: str, start: str = "cold"):
    """(clocks, workload laid out, guesses, decisions) of one engine, every law checked."""
    requests = requests_of(case.trace)
    work = SimpleNamespace(hw=case.hw, model=case.model, trace=case.trace, graphs=False, requests=requests)
    work.begun, work.counted = work, None
    budgets = (case.budget_bytes,) * layout.devices
    plan = Plan(
        sum(budgets), case.eviction, seed=case.seed, write_back=case.write_back, device_budgets=budgets, start=start
    )
    guesses = guesses_of(case, requests.n_events)
    chosen = named(engine)
    laid, guesses, decisions, loads = devices.decided(work, layout, plan, guesses, chosen)
    clocks = chosen.simulate(
        laid.costs, laid.requests, decisions, guesses, loads, policies.load("timeline", case.timeline)
    )
    counts = count(case.trace, laid.requests, decisions, guesses, case.model.expert_bytes, write_back=case.write_back)
    check(laid.costs, decisions, clocks, counts, plan.budget_bytes)
    check_causes(laid.costs, clocks)
    return clocks, laid, guesses, decisions


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("names", PAIRS)
@pytest.mark.parametrize("prefetching", [None, pytest.param(True, marks=pytest.mark.slow)])
def test_all_engines_are_equal_on_several_devices(prefetching, names):
    engines_agree(split(prefetching=prefetching), clocks_of, names, 150, few=False)


def clocks_of(case: Case, layout: Layout, engine: str, start: str = "cold") -> Clocks:
    return played(case, layout, engine, start)[0]


def engines_agree(drawn, clocks_of, names, n: int, few: bool = True) -> None:
    """Both engines have the same times, on one device and on several. drawn: of scenarios and where their experts stand. few: compiled text
    is that of one policy alone, since each is a kernel to compile."""
    seen = set()

    @settings(max_examples=examples(n), deadline=None)
    @given(drawn)
    def compare(made):
        case, where = made
        case = replace(case, eviction="lru") if few and "fast" in names else case
        one, other = (clocks_of(case, where, name, "auto") for name in names)
        seen.add(where.devices if isinstance(where, Layout) else where)
        assert one == other

    compare()
    assert max(seen) > 1


def ends_agree(drawn, clocks_of, ends_by_hand, n: int) -> None:
    """The ends of the passes are those of a program of its own."""

    @settings(max_examples=examples(n), deadline=None)
    @given(drawn)
    def compare(made):
        case, where = made
        assert clocks_of(case, where, "plain").end_ps.tolist() == ends_by_hand(case, where)

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_the_times_are_those_of_a_program_of_its_own():
    ends_agree(split(prefetching=False), clocks_of, ends_by_hand, 150)


def ends_by_hand(case: Case, layout: Layout) -> list[int]:
    """End of every pass, without prefetches; knows nothing of operations, tables or lists."""
    each = [Costs(case.hw.alone(d), case.model, case.trace) for d in range(layout.devices)]
    requests, lru = requests_of(case.trace), policies.load("eviction", case.eviction)
    asked = [asked_of(requests, layout.of(d)) for d in range(layout.devices)]
    least, none = int(case.model.expert_bytes.max()), requests.no_guesses
    decided = [
        decide(one, case.model.expert_bytes, lru, max(case.budget_bytes, least), seed=case.seed) for one in asked
    ]
    moved = [
        dict(zip(v.loads.tolist(), loading(c, q, v, none, write_back=case.write_back).demand_ps.tolist()))
        for c, q, v in zip(each, asked, decided)
    ]
    fabric = case.hw.fabric or Fabric(TB, 0)
    free, there, back = [0] * layout.devices, 0, 0  # links of the devices, both ways of the fabric
    now, ends, homes = 0, list[int](), layout.gaps

    def message(rows: int) -> int:
        return fabric.latency_ps + -(-rows * case.model.width * 2 * 10**12 // fabric.bytes_per_s)

    for number, size in enumerate(each[0].sizes):
        before = homes[0]
        for column, home in enumerate(homes):
            if home != before:
                now = there = max(there, now) + message(size.tokens)
            before = home
            now += each[home].chains(number)[column].ps
            if column == len(homes) - 1:
                break
            event, done = number * (len(homes) - 1) + column, []
            for d in range(layout.devices):
                rows = {slot // (case.trace.n_layers * case.trace.top_k) for slot in asked[d].use_slot[
                    asked[d].use_ptr[event] : asked[d].use_ptr[event + 1]].tolist()}  # fmt: skip
                begins = now
                if d != home and rows:
                    begins = there = max(there, now) + message(len(rows))
                ended = part_by_hand(
                    event, column, size, each[d], asked[d], decided[d], moved[d], free, d, begins, d == home
                )
                if d != home and rows:
                    ended = back = max(back, ended) + message(len(rows))
                done.append(ended)
            now = max(done)
        ends.append(now)
    return ends


def part_by_hand(event, column, size, costs, q, v, moved, free, d, begins, at_home) -> int:
    """When device d has computed its part of an event that it learns of at `begins`."""
    mine = range(int(q.ptr[event]), int(q.ptr[event + 1]))
    hits, loads = [i for i in mine if v.hit[i]], [i for i in mine if not v.hit[i]]
    now = begins + (costs.shared(column, size.tokens).ps if at_home else 0)
    if hits:
        now += costs.experts(column, len(hits), int(q.tokens[hits].sum())).ps
    ended = [now] * len(hits)
    for i in loads:
        issued = ended[v.wait[i] - 1] if v.wait[i] else begins
        free[d] = max(free[d], issued) + moved[i]
        now = max(now, free[d]) + costs.experts(column, 1, int(q.tokens[i])).ps
        ended.append(now)
    return now


@pytest.mark.slow
@pytest.mark.hypothesis
def test_one_rank_is_one_machine():
    """A second device that has nothing changes nothing, whatever the fabric; and with one device distributed is overlapped."""

    @settings(max_examples=examples(100), deadline=None)
    @given(split(most=2))
    def compare(made):
        case, layout = made
        alone = Layout(layout.devices, np.zeros_like(layout.unit))
        one = Layout(1, np.zeros_like(layout.unit))
        single = replace(case, hw=case.hw.alone(0))
        clocks, laid, _, decisions = played(replace(single, timeline="overlapped"), one, "plain")
        assert played(single, one, "plain")[0] == clocks
        if layout.devices == 2:
            other, laid_2, _, decisions_2 = played(case, alone, "plain")
            assert other == clocks
            flags = (hit_flags(case.trace, x.requests, y) for x, y in ((laid, decisions), (laid_2, decisions_2)))
            assert np.array_equal(*flags)

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_every_request_belongs_to_one_device_and_keeps_its_verdict():
    @settings(max_examples=examples(100), deadline=None)
    @given(split())
    def compare(made):
        case, layout = made
        _, laid, _, decisions = played(case, layout, "plain")
        requests, both = requests_of(case.trace), laid.requests
        assert sorted(both.obj.tolist()) == sorted(requests.obj.tolist())
        device = np.arange(both.n_events) % layout.devices
        assert (layout.unit.reshape(-1)[both.obj] == device[both.event_of_request]).all()
        assert np.array_equal(np.sort(both.use_slot), np.sort(requests.use_slot))
        assert (both.obj[both.use_request] == both.use_obj).all()
        assert (np.diff(decisions.loads) > 0).all() and not decisions.hit[decisions.loads].any()

    compare()


def test_rows_are_sent_once_to_each_device():
    """Two rows: the first chose two experts of one event, the second one of them."""
    case_slots = np.array([0, 1, 2])  # top_k 2: row 0 twice, row 1 once
    requests = SimpleNamespace(n_events=1, use_ptr=np.array([0, 3]), use_slot=case_slots)
    assert rows_sent(requests, 2).tolist() == [2]


@pytest.fixture
def two(tmp_path: Path) -> str:
    (tmp_path / "two.yaml").write_text(TWO)
    return str(tmp_path / "two.yaml")


OPTIONS = {"timeline": "distributed", "budget": "25%", "tokens": 400}


def test_a_run_says_what_each_device_holds(two):
    made = simmoe.run(two, "oracle-4x16-k4", placement="layer_split=3/1", **OPTIONS)
    shares = made.to_json()["devices"]
    assert [one["name"] for one in shares] == ["gpu", "gpu1"]
    for name in ("dense", "kv", "experts", "total"):
        assert sum(one["memory_bytes"][name] for one in shares) == made.memory_bytes[name]
    model, every = made.workload.model, made.workload.model.all_expert_bytes
    assert shares[0]["memory_bytes"]["experts"] + shares[1]["memory_bytes"]["experts"] == pytest.approx(
        every / 4, abs=2
    )
    assert made.memory_bytes["dense"] == model.dense_bytes
    assert "waiting for other devices" in made.where_ps() and "waiting for the CPU" not in made.where_ps()


def test_embedding_and_head_are_held_where_they_run(two):
    """The first device has the embedding and the first half of the layers, the second the others and the head."""
    made = simmoe.run(two, "oracle-4x16-k4", placement="layer_split=1/1", **OPTIONS)
    model = made.workload.model
    begins = model.moe_layers[len(model.moe_layers) // 2 - 1] + 1  # dense layers go with the MoE layer behind them
    first, second = (
        sum(layer.attention.bytes + layer.ffn.bytes + layer.shared.bytes for layer in some)
        for some in (model.layers[:begins], model.layers[begins:])
    )
    dense = [one["memory_bytes"]["dense"] for one in made.to_json()["devices"]]
    assert dense == [first + model.embedding.bytes, second + model.head.bytes]


def test_more_of_the_model_on_the_faster_card_is_faster(two):
    speeds = [
        simmoe.run(two, "oracle-4x16-k4", placement=f"layer_split={share}", **OPTIONS).tok_s
        for share in ("1/3", "1/1", "3/1", "1/0")
    ]
    assert speeds == sorted(speeds)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"placement": None}, "has 2 devices; say which has which experts, such as --placement layer_split=1/1"),
        ({"placement": "layer_split=1"}, "names 1 devices, and the machine has 2; write layer_split=1/1"),
        ({"placement": "layer_split=x/1"}, "names no proportions; write layer_split=1/1"),
        ({"placement": "layer_split=0/0"}, "names no proportions"),
        ({"placement": "n_cpu_moe=1"}, "say which has which experts"),
        (
            {"timeline": "overlapped"},
            "--timeline overlapped knows one device, and two has several; use --timeline distributed, expert_parallel or tensor_parallel",
        ),
        ({"miss": "cpu"}, "--miss cpu is not modelled on several devices"),
        ({"scope": "layer"}, "--scope layer is not modelled on several devices"),
        ({"cold_per_sequence": True}, "--cold-per-sequence is not modelled on several devices, which two has"),
        ({"eviction": "everything"}, "--eviction everything is not played on several devices"),
        ({"placement": "layer_split=1²/1"}, "names no proportions; write layer_split=1/1"),
        ({"model": "qwen3-30b-a3b"}, "qwen3-30b-a3b"),
        ({"graphs": True}, "--graphs: two states no graph_launch of gpu1"),
    ],
)
def test_what_cannot_be_played_is_one_line(two, options, line):
    with pytest.raises(UserError, match=line.replace("(", r"\(")):
        simmoe.run(two, "oracle-4x16-k4", **{"placement": "layer_split=1/1", **OPTIONS, **options})


def test_proportions_are_for_several_devices():
    with pytest.raises(UserError, match="names 2 devices, and the machine has 1"):
        simmoe.run("a100", "oracle-4x16-k4", placement="layer_split=1/1", tokens=100)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "\nlinks:\n  gpu1:",
            "\nlinks:\n  gpu2:",
            "links must name the devices behind the first, gpu1, and names gpu2",
        ),
        (
            "devices: [gpu, gpu1]",
            "devices: [gpu]",
            "links must name the devices behind the first, of which there are none",
        ),
        ("\nfabric:", "\nnotes: x\n# ", "missing key 'fabric'"),
        ("    memory: slow\n", "    memory: hbm\n", "units.gpu1.memory is that of another device"),
        ("    from: host_dram\n", "    from: slow\n", "links.gpu1.from is 'slow', but the experts live on 'host_dram'"),
        ("    to: slow\n", "    to: hbm\n", "links.gpu1.to is 'hbm', but a load must end in the memory of 'gpu1'"),
    ],
)
def test_a_mistake_in_a_profile_of_several_devices_is_one_line(tmp_path, old, new, line):
    assert old in TWO
    (tmp_path / "two.yaml").write_text(TWO.replace(old, new))
    with pytest.raises(UserError, match=line):
        hardware_profiles.load(tmp_path / "two.yaml")


def test_the_ends_of_every_range_reach_all_links_and_the_fabric(two):
    hw = hardware_profiles.load(two)
    slow, fast = hardware_profiles.bounds(hw)
    for one in (slow, fast):
        assert set(one.more_links) == {"gpu1"} and one.fabric is not None
    assert slow.more_links["gpu1"].bytes_per_s < hw.more_links["gpu1"].bytes_per_s
    assert slow.fabric.latency_ps >= hw.fabric.latency_ps and slow.fabric.bytes_per_s < fast.fabric.bytes_per_s


ANOTHER = {  # a value other than the default that changes a run of one device; None: it names an input or who plays
    "hw": None, "gpu": None, "host": None, "trace": None, "model": None, "engine": None, "set": ("link.bandwidth=2GB/s",),
    "format": "q4_k", "tokens": 300, "kv_format": "q8_0", "prompt": 9, "generate": 5, "depth": 77, "routing": None, "context": 999,
    "microbatch": 0, "batch": 2, "prefill_chunk": 7, "schedule": "continuous", "arrivals": "every:1ms", "max_batch": 2,
    "rate": "2/s", "ttft": "2s", "tpot": "10ms",
    "eviction": "fifo", "scope": "layer", "timeline": "serial", "overlap": False, "prefetch": "whole_layer",
    "prefetch_into": "buffers", "miss": "cpu", "placement": "expert_split=1/2", "write_back": True, "cold_per_sequence": True,
    "start": "warm", "warm_up": 64, "graphs": True, "page_cache": "1GB", "budget": "30%", "memory": "1GB", "seed": None,
    "requests": 3, "runtime": "llama_cpp_cuda", "flags": "-ub 64", "threads": 2, "op_offload": False, "mmap": False, "gpu_layers": 3,
    "kv_offload": False, "batch_threads": 2, "cancel": True, "system": "mixtral_offloading",
    "low_format": "Q4_0", "low_budget": "20%", "max_tokens": 64, "kv_blocks": 20, "kv_memory": "64MB", "prefix_cache": True,
    "tensor_split": "1/1", "draft": 2, "acceptance": "60%", "draft_cost": "3ms",
    "draft_model": "oracle-moe-2x4", "draft_format": "q4_k", "rejected": "drawn", "rollback": "redecode",
}  # fmt: skip


@pytest.mark.slow
def test_every_option_changes_a_run_over_several_devices_or_is_refused(two):
    assert set(ANOTHER) == set(SCENARIO)
    plain = {"placement": "layer_split=1/1", **OPTIONS, "tokens": 600}
    base = simmoe.run(two, "oracle-4x16-k4", **plain).to_json()
    dropped = []
    for name, value in ANOTHER.items():
        beside = {"prefetch": "whole_layer"} if name == "prefetch_into" else {}
        try:
            made = value is None or simmoe.run(two, "oracle-4x16-k4", **{**plain, **beside, name: value}).to_json()
        except UserError:
            continue
        same = value is not None and all(made[key] == base[key] for key in set(base) - {"scenario", "digest"})
        dropped += [name] * same
    assert dropped == []


def test_an_engine_that_deals_no_layers_is_refused(two):
    plain = {"placement": "layer_split=1/1", **OPTIONS, "tokens": 100, "budget": "100%"}
    with pytest.raises(UserError, match="--runtime vllm is simulated on one device"):
        simmoe.run(two, "oracle-4x16-k4", **plain, runtime="vllm")


def test_what_shows_one_device_refuses_several(two, tmp_path, capsys):
    command = ["run", "--hw", two, "--trace", "oracle-4x16-k4", "--timeline", "distributed", "--tokens", "100"]
    command += ["--placement", "layer_split=1/1"]
    assert main(command) == 2
    assert "a ladder of budgets (name one with --budget) is not made for several devices" in capsys.readouterr().err
    assert main([*command, "--budget", "25%", "--perfetto", str(tmp_path / "lanes.json")]) == 2
    assert "--perfetto (a lane for one device and its link) is not made for several" in capsys.readouterr().err


def test_the_rows_of_passes_say_what_all_devices_hold_at_their_ends(two, tmp_path):
    made = simmoe.run(
        two,
        "oracle-4x16-k4",
        placement="layer_split=1/1",
        prefill_chunk=3,
        start="cold",
        **{**OPTIONS, "budget": "100%"},
    )
    write_per_token(made, tmp_path / "passes.csv")
    with (tmp_path / "passes.csv").open() as stream:
        held = [int(row["resident_bytes"]) for row in csv.DictReader(stream)]
    events = made.workload.trace.n_layers * 2
    assert held == made.decisions.used.reshape(-1, events)[:, -1].tolist() and len(set(held)) > 1


def test_devices_hold_together_more_than_the_first_could(two, tmp_path):
    tight = "tiers:\n  hbm: {capacity: {value: 1500 MiB, kind: nominal, source: test}}\n"
    text = TWO.replace("tiers:\n", tight).replace("24 GiB", "1500 MiB")
    (tmp_path / "tight.yaml").write_text(text)
    options = {"placement": "layer_split=1/1", **OPTIONS, "budget": "90%", "tokens": 100}
    (row,) = simmoe.compare(str(tmp_path / "tight.yaml"), "oracle-4x16-k4", **options).rows
    assert row.why_not == "" and row.run.plan.budget_bytes > row.workload.memory.room_bytes


def test_links_that_together_exceed_the_memory_that_they_read_are_said(two, tmp_path, capsys):
    options = {"placement": "layer_split=1/1", **OPTIONS, "tokens": 100}
    assert simmoe.run(two, "oracle-4x16-k4", **options).notes == []
    (tmp_path / "wide.yaml").write_text(TWO.replace("bandwidth: {value: 12 GB/s", "bandwidth: {value: 100 GB/s"))
    (note,) = simmoe.run(str(tmp_path / "wide.yaml"), "oracle-4x16-k4", **options).notes
    assert "could carry 125.1 GB/s together, more than the 122 GB/s of host_dram" in note
    assert main(["hw", "show", two]) == 0 and "device gpu and gpu1," in capsys.readouterr().out


def test_the_first_device_that_has_experts_of_a_layer_runs_it(two):
    assert Layout(3, np.array([[1, 2], [2, 1], [2, 2], [0, 2]])).gaps == (1, 1, 2, 0, 0)


def test_a_sweep_tries_placements_over_several_devices(two):
    space = {
        "schema": 1, "name": "two", "hw": two, "trace": "oracle-4x16-k4", "timeline": "distributed", "budget": "25%", "tokens": 100,
        "placement": ["layer_split=3/1", "expert_split=1/1"], "objectives": {"tok_s": "maximize"},
    }  # fmt: skip
    trials = simmoe.sweep(space, sampler="grid").trials
    assert [trial.values is not None for trial in trials] == [True, True]


def test_a_users_timeline_is_tried_on_several_devices_too(two, tmp_path):
    text = Path(DISTRIBUTED.__file__).read_text("utf-8")
    (tmp_path / "mine.py").write_text(text)
    plan = {"placement": "expert_split=1/1", **OPTIONS, "tokens": 60}
    mine = simmoe.run(two, "oracle-4x16-k4", **{**plan, "timeline": str(tmp_path / "mine.py")})
    assert mine.clocks == simmoe.run(two, "oracle-4x16-k4", **plan).clocks
    broken = text.replace(
        "            ends = op_wait(t.unit[column], s.back[device], ends, f, t, w, s, e)\n", "            ends = now\n"
    )
    assert broken != text
    (tmp_path / "mine.py").write_text(
        text.replace("ends = done", "ends = begins").replace("done = load_beside", "ends = load_beside")
    )
    with pytest.raises(UserError, match=r"timeline mine\.py"):
        simmoe.run(two, "oracle-4x16-k4", **{**plan, "timeline": str(tmp_path / "mine.py")})


def test_the_operations_are_those_of_the_golden_file():
    assert str(lowered()) == GOLDEN.read_text("utf-8"), "python -m tests.test_devices writes it anew"


def lowered() -> Ops:
    """Two passes of two layers on two devices: the second device has layer 1, and expert 1 of layer 0."""
    part = Part(1, 1, 1)
    moe = Layer(part, shared=part, expert=part, n_experts=4)
    hw, trace = hand_made(), tiny_trace([[[0, 1]], [[1, 2], [1, 3]]], n_experts=4, n_layers=2)
    model = ModelShape("tiny", "fp16", "fp16", (moe, moe), 2, part, NO_PART, width=8)
    layout = Layout(2, np.array([[0, 1, 0, 0], [1, 1, 1, 1]]))
    case = Case(hw, model, trace, 2, timeline="distributed")
    _, laid, guesses, decisions = played(case, layout, "plain")
    work = SimpleNamespace(hw=hw, model=model, trace=trace, graphs=False, requests=requests_of(trace))
    work.begun, work.counted = work, None
    plan = Plan(4, device_budgets=(2, 2))
    loads = devices.decided(work, layout, plan, guesses_of(case, 4), named("plain"))[-1]
    fixed, tables = tables_of(laid.costs, laid.requests)
    lists, ops, last = Player().arrays, Ops(), 0
    done, notes = lists(work_of(laid.costs, laid.requests, decisions, guesses, loads)), lists(notes_of(2, 2))
    lower = bound(layer, DISTRIBUTED, oplist).lower_pass
    for number in range(trace.n_passes):
        last = lower(number, last, fixed, lists(tables), done, notes, ops)
    return ops


def hand_made() -> Hardware:
    units = {name: ComputeUnit(name, name, TB, 1, {"fp16": TB}) for name in ("gpu0", "gpu1")}
    tiers = {name: Tier(name, 10**15, TB) for name in ("gpu0", "gpu1", "home")}
    links = [Link("home", name, TB // 2, 0) for name in units]
    return Hardware(
        "tiny", "two devices", False, tiers, units, links[0], tuple(units), 0, 1, more_links={"gpu1": links[1]}, fabric=Fabric(TB, 1)
    )  # fmt: skip


if __name__ == "__main__":
    GOLDEN.write_text(str(lowered()), "utf-8")
