"""Requests that arrive, on several devices: engines, one device, the run played again as recorded, a scheduler for each, and laws."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

import simmoe
from simmoe.play.busy import busiest, busy_ps
from simmoe.play.plan import Plan
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower.occupancy import Occupancy
from simmoe.simulator.lower.tables import work_of
from simmoe.simulator.nouns.hardware import ComputeUnit, Fabric, Hardware, Link, Tier
from simmoe.simulator.nouns.model import NO_PART, Cache, Layer, ModelShape, Part
from simmoe.simulator.nouns.serving import BLOCK
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.engines import Engine, named
from simmoe.simulator.time.laws import check_requests
from simmoe.workloads.format import trace as traces
from tests.conftest import PAIRS
from tests.scenarios import build_trace
from tests.test_house import ROOT
from tests.test_schedule import everything, one_by_one
from tests.test_schedules_of_rows import drawn, in_lists

ENGINES = ["simpy", "plain"] + ["fast"] * (not compiled.missing())
PART = Part(9, 9, 2)
MOE = Layer(PART, caches=(Cache(1, 1),), shared=Part(2, 2, 1), expert=Part(4, 4, 1), n_experts=8)
MODEL = ModelShape("tiny", "fp16", "fp16", (MOE, MOE), 2, Part(3, 3, 1), NO_PART, width=5)
EVERY = 8 * 2 * 4  # bytes of all experts
DEALT = (("expert_parallel", "round_robin"), ("distributed", "layer_split"), ("distributed", "round_robin"))


def text(requests: list[list[tuple[int, int]]], seed: int = 0) -> Trace:
    """One request after the other, two layers, two of eight experts at random."""
    dice = random.Random(seed)
    passes = [
        (phase, n) for turns in requests for p, g in turns for phase, n in [(PREFILL, p)] * (p > 0) + [(DECODE, 1)] * g
    ]
    whose = [i for i, turns in enumerate(requests) for p, g in turns for _ in range(p + g)]
    rows = [[sorted(dice.sample(range(8), 2)) for _ in range(2)] for _ in whose]
    return build_trace(rows, [n for _, n in passes], [phase for phase, _ in passes], whose, 8, [0, 1])


def box(devices: int, fabric: Fabric | None = None, alike: bool = False) -> Hardware:
    """Devices of unlike speed, each with a link of its own."""
    names = [f"gpu{number}" for number in range(devices)]
    speed = [10**12 if alike else 10**12 // (1 + number) for number in range(devices)]
    units = {name: ComputeUnit(name, name, rate, 2, {"fp16": rate}) for name, rate in zip(names, speed)}
    tiers = {name: Tier(name, 10**15, rate) for name, rate in zip(names, speed)} | {
        "home": Tier("home", 10**15, 10**12)
    }
    links = {name: Link("home", name, rate // 4, 1) for name, rate in zip(names, speed)}
    return Hardware(
        "box", "devices of a few bytes", False, tiers, units, links[names[0]], tuple(names), 0, 1,
        more_links={name: links[name] for name in names[1:]}, fabric=(fabric or Fabric(10**12, 3)) if devices > 1 else None,
    )  # fmt: skip


def plan_of(devices: int, timeline: str, placement: str, share: float = 1.0, **more) -> Plan:
    each = (max(int(share * EVERY), 4),) * devices
    return Plan(sum(each), timeline=timeline, placement=placement, device_budgets=each, **more)


def drawn_room(seed: int) -> tuple[dict, dict]:
    """Requests with what a scheduler may use, and what else is played."""
    dice = random.Random(seed)
    requests, tokens, most, _, keeps, gap = drawn(seed)
    needs = max(-(-sum(p + n for p, n in turns) // BLOCK) for turns in requests)
    schedule = ("vllm", "llama_cpp", "continuous")[seed % 3]
    room: dict = {"schedule": schedule, "max_batch": most}
    room |= {"continuous": {}, "vllm": {"max_tokens": tokens, "kv_blocks": needs + dice.randint(0, 3), "prefix_cache": keeps},
             "llama_cpp": {"max_tokens": tokens, "microbatch": 3, "prefix_cache": keeps}}[schedule]  # fmt: skip
    how = {"arrivals": f"every:{gap}ps" if gap else None, "seed": seed}
    return {"trace": text(requests, seed), **room}, how


def served(devices: int, seed: int, engine: str = "plain", fabric: Fabric | None = None, **more) -> Run:
    room, how = drawn_room(seed)
    timeline, placement = DEALT[seed % 2 if devices > 1 else 0]
    made = Workload(box(devices, fabric), model=MODEL, **room)
    return play(made, plan_of(devices, timeline, placement, 0.25, **how | more), Watched(*named(engine)))


# --- engines -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("names", PAIRS)
def test_all_engines_are_equal_bit_for_bit(names):
    """Whatever is loaded when: with prefetches that are still on their way when the next pass begins, victims that are written back, and
    policies that count."""
    for seed in range(18):
        dice, devices = random.Random(seed), 2 + seed // 3 % 2
        more: dict = {"prefetch": dice.choice((None, None, "whole_layer")), "write_back": dice.random() < 0.3}
        more |= {} if "fast" in names else {"eviction": dice.choice(("lru", "lfu", "random", "w_tinylfu"))}
        more |= {"start": dice.choice(("auto", "cold"))}
        one, other = (everything(served(devices, seed, name, **more)) for name in names)
        assert one == other, seed


@pytest.mark.slow
def test_one_device_is_the_plain_run():
    """Of one device; and of two of which the second has neither experts nor sequences."""
    for seed in range(12):
        room, how = drawn_room(seed)
        one = Workload(box(1), model=MODEL, **room)
        plain = everything(play(one, Plan(EVERY // 4, prefetch="whole_layer", **how), named("plain")))
        for timeline in ("distributed", "expert_parallel"):
            plan = plan_of(1, timeline, "round_robin", 0.25, prefetch="whole_layer", **how)
            assert everything(play(one, plan, named("plain")))[:2] == plain[:2], (seed, timeline)
        even = replace(room["trace"], sequence=room["trace"].sequence * 2)
        two = Workload(box(2), model=MODEL, **room | {"trace": even})
        run = play(two, plan_of(2, "expert_parallel", "layer_split=1/0", 0.25, **how), named("plain"))
        alone = play(one, Plan(EVERY // 4, **how), named("plain"))
        assert run.clocks == alone.clocks and run.bytes == alone.bytes
        assert run.serving.chunks.tolist() == alone.serving.chunks.tolist()


class Watched(Engine):
    """Keeps the loop."""

    def serve(self, *arguments):
        loops.append(super().serve(*arguments))
        return loops[-1]


loops: list = []


@pytest.mark.slow
def test_what_is_lowered_and_reserved_pass_by_pass_is_that_of_the_whole_run():
    """Which guess brought what is met passes later, among others."""
    fresh = 0
    for seed in range(18):
        run = served(2 + seed % 2, seed, "simpy", prefetch="whole_layer", write_back=seed % 3 == 0)
        loop, requests, costs = loops[-1][0], run.workload.requests, run.workload.costs
        loads = loop.decided(loop.played()[1])[1]()
        want = work_of(costs, requests, run.decisions, run.guesses, loads, with_gone=True)
        for name, mine in loop.lowered.work.now._asdict().items():
            assert list(mine) == list(getattr(want, name)), (seed, name)
        held = Occupancy.of(requests, run.decisions, run.guesses, MODEL.expert_bytes)
        for name in (
            "rooms",
            "begins",
            "emptied",
            "group",
            "size",
            "load_obj",
            "guess_obj",
            "leave",
            "own",
            "promoted",
        ):
            assert getattr(loop.lowered.occupancy, name) == getattr(held, name), (seed, name)
        fresh += len(want.fresh)
    assert fresh > 100


# --- the run played again as recorded ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 3])
def test_the_passes_that_were_made_take_as_long_when_they_are_recorded(devices):
    """Messages of the fabric included. Nothing is on its way between passes, since nothing is prefetched."""
    played = 0
    for seed in range(30):
        run = served(devices, seed)
        if run.serving.recomputed or run.serving.cached:  # no recorded trace has rows twice
            continue
        played += 1
        trace, plan = run.workload.trace, replace(run.plan, arrivals=None)
        again = play(Workload(run.workload.hw, trace, MODEL), plan, named("plain"))
        assert again.pass_ps.tolist() == run.pass_ps.tolist(), seed
        assert again.counts == run.counts and again.clocks.link_busy_ps == run.clocks.link_busy_ps
        assert again.crossing == run.crossing and again.decisions.used.tolist() == run.decisions.used.tolist()
    assert played > 10


@pytest.mark.slow
@pytest.mark.parametrize(("timeline", "placement"), DEALT)
def test_without_load_a_request_runs_as_if_it_were_alone(timeline, placement):
    for seed in range(8):
        trace = text([turns[:1] for turns in drawn(seed)[0]], seed)
        plan = plan_of(3, timeline, placement, 0.25)
        alone = play(Workload(box(3), one_by_one(trace), MODEL), plan, named("plain"))
        made = Workload(box(3), trace, MODEL, schedule="vllm", max_tokens=500, max_batch=9)
        run = play(made, replace(plan, arrivals="every:1us"), named("plain"))
        assert run.pass_ps.tolist() == alone.pass_ps.tolist() and run.bytes == alone.bytes
        assert run.requests.start_ps.tolist() == run.requests.arrival_ps.tolist()


# --- a scheduler for each device ---------------------------------------------------------------------------------------


def on_rank(run: Run, rank: int, devices: int, asked, arrival: list[int]):
    """What the scheduler in plain lists makes of one device's requests, which runs when all devices do: passes, refused; and the same of
    the run."""
    requests, tokens, most, blocks, keeps = asked
    mine = list(range(rank, len(requests), devices))
    start, place = run.clocks.start_ps.tolist(), {who: i for i, who in enumerate(mine)}
    lasted = np.append(np.diff(start), run.pass_ps[-1]).tolist()
    got: dict[int, tuple] = {}
    for number, who, rows, again in run.serving.chunks.tolist():
        if who in place:
            got.setdefault(number, (start[number], {}, []))[1][place[who]] = (rows, again)
    for number, who, rows in run.serving.preempted.tolist():
        if who in place:
            got[number][2].append((place[who], rows))
    seen = [min([at for at in start if at >= arrival[who]], default=10**18) for who in mine]  # by its scheduler
    refused = [place[who] for who in run.serving.refused.tolist() if who in place]
    steps = [lasted[number] for number in sorted(got)]
    wanted = in_lists([requests[who] for who in mine], seen, tokens, most, blocks, keeps, [*steps, 0])
    return wanted, ([got[number] for number in sorted(got)], refused)


@pytest.mark.slow
@pytest.mark.parametrize("begin", [0, 40, 80])
def test_each_device_runs_what_a_scheduler_in_plain_lists_does_with_its_requests(begin):
    preempted = cached = beside = 0
    for seed in range(begin, begin + 40):
        requests, tokens, most, _, keeps, gap = drawn(seed)
        needs = max(-(-sum(p + n for p, n in turns) // BLOCK) for turns in requests)
        room = {"max_tokens": tokens, "max_batch": most, "kv_blocks": needs + seed % 3, "prefix_cache": keeps}
        made = Workload(box(3), text(requests, seed), MODEL, schedule="vllm", **room)
        how = {"arrivals": f"every:{gap}ps" if gap else None}
        run = play(made, plan_of(3, "expert_parallel", "round_robin", 0.5, **how), named("plain"))
        arrival = [i * gap for i in range(len(requests))]
        for rank in range(min(3, len(requests))):
            wanted, got = on_rank(run, rank, 3, (requests, tokens, most, room["kv_blocks"], keeps), arrival)
            assert got == wanted, (seed, rank)
        log = run.serving
        preempted, cached = preempted + len(log.preempted), cached + log.cached
        beside += len(log.chunks) - len(run.pass_ps)
    assert preempted and cached and beside


def test_what_is_too_long_for_one_device_is_refused_though_all_together_would_hold_it():
    requests = [[(40, 2)], [(10, 2)], [(10, 2)]]
    plan = plan_of(2, "expert_parallel", "round_robin")
    run = play(Workload(box(2), text(requests), MODEL, schedule="vllm", kv_blocks=2), plan, named("plain"))
    assert run.serving.refused.tolist() == [0] and run.serving.blocks.max() == 1
    assert len(run.requests.sequence) + len(run.serving.refused) == 3
    assert run.workload.room[:3] == (2, 8192, 2) and run.workload.room.ranks == 2


def test_a_device_reads_a_prompt_while_the_other_decodes():
    """Under a schedule that does one or the other, each device for itself: the pass is mixed."""
    plan = plan_of(2, "expert_parallel", "round_robin")
    run = play(Workload(box(2), text([[(2, 4)], [(6, 1)], [(1, 2)]]), MODEL, schedule="continuous"), plan)
    trace = run.workload.trace
    assert trace.reads is not None and run.ttft_s == {"first": None, "later": None}
    assert run.prefill.tokens == 9 and run.decode.tokens == 7 == run.emitted


def test_one_scheduler_serves_all_where_the_devices_share_the_layers():
    trace = text([[(5, 2)]] * 6)
    made = Workload(box(3), trace, MODEL, schedule="vllm", max_batch=2, max_tokens=6)
    run = play(made, plan_of(3, "distributed", "layer_split"), named("plain"))
    assert run.workload.room.ranks == 1 and np.diff(run.workload.trace.pass_ptr).max() == 6
    ranks = play(made, plan_of(3, "expert_parallel", "round_robin"), named("plain"))
    assert np.diff(ranks.workload.trace.pass_ptr).max() == 3 * 6  # so many on each of three


# --- laws --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_rows_and_requests_are_conserved_and_no_resource_works_longer_than_there_is_time(seed):
    run = served(3, seed)
    found, log, trace = run.requests, run.serving, run.workload.trace
    begun = run.workload.begun.trace
    assert len(found.sequence) + len(log.refused) == len(np.unique(begun.sequence))
    assert trace.n_tokens == begun.n_tokens + log.recomputed
    area = check_requests(log, found.finish_ps, run.clocks)
    assert area == int((found.finish_ps - found.arrival_ps).sum()) == round(found.mean_in_system * found.makespan_ps)
    elapsed = int(run.clocks.end_ps[-1] - run.clocks.start_ps[0])
    assert set(busy_ps(run)) == {"device", "link", "fabric"} and min(busy_ps(run).values()) > 0
    assert max(busy_ps(run).values()) <= elapsed
    loaded = run.workload.requests.obj[run.decisions.loads]
    links = np.bincount(run.workload.costs.layout.unit.reshape(-1)[loaded], minlength=3)
    links *= [each.transfer_ps[0] for each in run.workload.costs.each]
    assert links.sum() == run.clocks.link_busy_ps and 0.9 * links.mean() - 1 < busy_ps(run)["link"] <= links.max()
    assert found.to_json()["requests_per_s"] <= busiest(run).requests_per_s * (1 + 1e-12)


def test_how_long_the_fabric_sends_by_hand():
    """A message of n rows takes 10 n bytes at 10^12 B/s, and 3 ps."""
    trace = text([[(3, 2)], [(2, 1)]], 4)
    for timeline, placement in DEALT:
        run = play(Workload(box(2), trace, MODEL, schedule="vllm"), plan_of(2, timeline, placement), named("plain"))
        rows, unit, ports = run.workload.trace, run.workload.costs.layout.unit, [0, 0]
        for number in range(rows.n_passes):
            mine = range(rows.pass_ptr[number], rows.pass_ptr[number + 1])
            for column in range(2):
                for port in range(2):
                    home = [
                        int(rows.sequence[row]) % 2 if timeline == "expert_parallel" else int(unit[column].min())
                        for row in mine
                    ]
                    sent = sum(
                        port in unit[column, rows.expert_ids[row, column]] and port != here
                        for row, here in zip(mine, home)
                    )
                    ports[port] += 3 + 10 * sent if sent else 0
            if placement == "layer_split":
                ports[0] += 3 + 10 * len(mine)
        assert busy_ps(run)["fabric"] == (max(ports) if timeline == "expert_parallel" else sum(ports)) > 0


@pytest.mark.slow
def test_a_faster_fabric_ends_no_pass_later_where_it_makes_no_other_passes():
    """All have arrived before the first pass, so that no schedule looks at the clock."""
    slower = 0
    for seed in range(12):
        runs = [served(3, seed, fabric=fabric, arrivals=None) for fabric in (Fabric(10**11, 9), Fabric(10**12, 2))]
        assert runs[0].serving.chunks.tolist() == runs[1].serving.chunks.tolist()
        assert (runs[1].clocks.end_ps <= runs[0].clocks.end_ps).all()
        slower += int(runs[0].clocks.end_ps[-1] > runs[1].clocks.end_ps[-1])
    assert slower > 9


# --- machines of the library -------------------------------------------------------------------------------------------

EIGHT = {
    "model": "qwen3-30b-a3b", "format": "fp8", "timeline": "expert_parallel", "placement": "round_robin", "prompt": 24, "generate": 6,
    "requests": 24, "engine": "plain",
}  # fmt: skip


def test_each_device_reserves_the_blocks_of_its_own_scheduler():
    run = simmoe.run("4xh100:nvlink4", schedule="vllm", kv_blocks=40, max_batch=5, rate="1000/s", ttft="1s", **EIGHT)
    block = 16 * run.workload.model.kv_bytes_per_position
    assert [one["memory_bytes"]["kv"] for one in run.to_json()["devices"]] == [40 * block] * 4
    said = run.to_json()["scenario"]
    assert said["kv_blocks"] == 40 and said["max_batch"] == 5 and said["schedulers"] == 4
    assert run.requests.goodput.of == 24
    split = simmoe.run(
        "4xh100:nvlink4",
        schedule="vllm",
        kv_blocks=40,
        **EIGHT | {"timeline": "distributed", "placement": "layer_split"},
    )
    assert sum(one["memory_bytes"]["kv"] for one in split.to_json()["devices"]) == 40 * block
    assert "schedulers" not in split.to_json()["scenario"]


@pytest.mark.slow
def test_eight_devices_hold_a_higher_rate_than_one():
    options = {
        **EIGHT,
        "generate": 2,
        "requests": 12,
        "ttft": "20ms",
        "tpot": "5ms",
        "schedule": "vllm",
        "budgets": ["100%"],
    }
    eight = simmoe.serve_curve("8xh100:nvlink4", **options).to_json()
    one = simmoe.serve_curve("h100", **options | {"timeline": "overlapped", "placement": None}).to_json()
    assert eight["curves"][0]["holds_per_s"] > one["curves"][0]["holds_per_s"] > 0
    assert eight["curves"][0]["busiest"] in ("device", "fabric") and eight["schedulers"] == 8


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"cold_per_sequence": True}, "--cold-per-sequence is not modelled on several devices"),
        ({"warm_up": 20}, "--warm-up 20 cuts off passes that are known beforehand"),
        ({"miss": "cpu"}, "--miss cpu is not modelled on several devices"),
        ({"eviction": "belady", "budget": "50%"}, "looks ahead"),
        ({"timeline": "overlapped"}, "--timeline overlapped knows one device"),
        ({"prefetch": "perfect", "budget": "50%"}, "--prefetch perfect reads other passes"),
        ({"placement": None}, "say which has which experts"),
    ],
)
def test_what_cannot_be_together_is_one_line(more, line):
    with pytest.raises(UserError, match=line) as raised:
        simmoe.run("4xh100:nvlink4", **EIGHT | {"schedule": "vllm"} | more)
    assert "\n" not in str(raised.value)


def test_without_a_clock_driven_schedule_there_are_no_arrivals_on_several_devices_either():
    with pytest.raises(UserError, match="--rate 2/s is for a clock-driven schedule"):
        simmoe.run(
            "2xh100:nvlink4", "oracle-12x64", placement="round_robin", timeline="distributed", budget="25%", rate="2/s"
        )


def test_a_prefetcher_brings_experts_to_every_device():
    options = {
        "placement": "round_robin",
        "timeline": "distributed",
        "budget": "25%",
        "tokens": 60,
        "prefetch": "perfect",
    }
    run = simmoe.run("2xh100:nvlink4", "oracle-12x64", **options)
    unit = run.workload.costs.layout.unit.reshape(-1)
    assert np.bincount(unit[run.guesses.obj[run.decisions.issued]], minlength=2).min() > 0


def test_a_users_timeline_is_tried_and_played(tmp_path):
    from simmoe import policies

    (tmp_path / "mine.py").write_text((policies.FOLDER / "timeline" / "expert_parallel.py").read_text("utf-8"))
    options = {**EIGHT, "schedule": "vllm", "budget": "50%", "requests": 3}
    mine = simmoe.run("2xh100:nvlink4", **options | {"timeline": str(tmp_path / "mine.py")})
    assert mine.clocks == simmoe.run("2xh100:nvlink4", **options).clocks


@pytest.mark.slow
@pytest.mark.skipif("oracle-12x64" not in traces.names(), reason="the bundled traces are not made yet")
def test_the_table_of_the_page_is_what_the_runs_give():
    """docs/serving_devices.md."""
    page = (ROOT / "docs" / "serving_devices.md").read_text("utf-8")
    asked = {
        "trace": "oracle-12x64",
        "budget": "100%",
        "schedule": "vllm",
        "requests": 64,
        "prompt": 256,
        "generate": 32,
    }
    parallel = {"timeline": "expert_parallel", "placement": "round_robin"}
    machines = {f"{n}xh100:nvlink4": parallel for n in (2, 4, 8)} | {"8xh100:ethernet_10g": parallel, "h100": {}}
    layers = {"timeline": "distributed", "placement": "layer_split"}
    rows = [*machines.items(), ("8xh100:nvlink4", layers)]
    for hw, more in rows:
        run = simmoe.run(hw, rate="4000/s", **asked, **more)
        found, where = run.requests.to_json(), run.where_ps()
        waits = where.get("waiting for other devices", 0) / sum(where.values())
        times = (f"{found[name]['p50']:#.3g}".rstrip(".") for name in ("ttft_ms", "tpot_ms"))
        row = f"| {found['requests_per_s']:,.4g} | {' ms | '.join(times)} ms | {100 * waits:.0f} % |"
        assert row in next(
            line for line in page.splitlines() if line.startswith(f"| `{hw}`") and ("layer" in line) == (more is layers)
        ), row


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["30%", "100%"])
@pytest.mark.parametrize(
    ("timeline", "placement"), [("tensor_parallel", None), ("tensor_expert_parallel", "round_robin")]
)
def test_a_tensor_split_serves_requests_as_all_engines_say_and_as_recorded(timeline, placement, budget):
    options = {"timeline": timeline, "placement": placement, "budget": budget}
    asked = {"schedule": "vllm", "requests": 6, "prompt": 30, "generate": 5, "rate": "2000/s"}
    runs = [simmoe.run("4xh100:nvlink4", "oracle-12x64", engine=name, **asked, **options) for name in ENGINES]
    assert all(run.clocks == runs[0].clocks for run in runs)
    again = simmoe.run("4xh100:nvlink4", runs[0].workload.trace, engine="plain", **options)
    assert again.pass_ps.tolist() == runs[0].pass_ps.tolist() and again.bytes == runs[0].bytes
    assert again.crossing == runs[0].crossing and runs[0].workload.room.ranks == 1
    elapsed = int(runs[0].clocks.end_ps[-1] - runs[0].clocks.start_ps[0])
    assert 0 < busy_ps(runs[0])["fabric"] <= max(busy_ps(runs[0]).values()) <= elapsed


@pytest.mark.parametrize(
    ("timeline", "placement"), [("tensor_parallel", None), ("tensor_expert_parallel", "round_robin")]
)
@pytest.mark.parametrize(
    ("hw", "model", "position", "copies"),
    [
        ("2xh100:nvlink4", "deepseek-v2-lite", 27 * 576 * 2, 2),  # a latent row of 512 + 64 numbers for all heads
        ("4xh100:nvlink4", "qwen3-30b-a3b", 48 * 2 * 4 * 128 * 2, 1),  # four KV heads
        ("8xh100:nvlink4", "qwen3-30b-a3b", 48 * 2 * 4 * 128 * 2, 2),
    ],
)
def test_a_size_of_kv_memory_is_that_of_all_devices_together(timeline, placement, hw, model, position, copies):
    asked = {"schedule": "vllm", "requests": 2, "prompt": 4, "generate": 1, "kv_memory": "500MB", "budget": "100%"}
    said = simmoe.run(hw, model=model, timeline=timeline, placement=placement, engine="plain", **asked).to_json()
    blocks = 500_000_000 // (copies * BLOCK * position)
    assert said["scenario"]["kv_blocks"] == blocks
    assert said["memory_bytes"]["kv"] == copies * blocks * BLOCK * position <= 500_000_000
