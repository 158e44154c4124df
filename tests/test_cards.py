"""Several cards under llama.cpp: layers dealt as it deals them, each at the cost of its card, one card after the other."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simmoe
from simmoe import hardware_profiles
from simmoe.play.cards import dealt
from simmoe.play.confidence import band
from simmoe.play.on_the_cpu import with_the_least
from simmoe.play.plan import memory_of
from simmoe.play.run import Run
from simmoe.play.what_if import figures
from simmoe.simulator.card_costs import MESSAGE, CardCosts
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Fabric, Hardware
from simmoe.simulator.runtime_costs import RuntimeCosts
from simmoe.simulator.time import compile as compiled

ENGINES = ["simpy", "plain"] + ["fast"] * (not compiled.missing())
HOST, RUNTIME = "ddr5_6000_2ch", "llama_cpp_cuda"
GPT_OSS = {"model": "gpt-oss-120b", "format": "MXFP4_MOE", "runtime": RUNTIME}
SMALL = {"model": "gpt-oss-20b", "format": "MXFP4_MOE", "runtime": RUNTIME, "prompt": 40, "generate": 6}
FREE = Fabric(10**15, 0)


def machine(*gpus: str) -> Hardware:
    return hardware_profiles.load("+".join([*gpus, HOST]))


def play(hw: Hardware | str, **options: object) -> Run:
    return simmoe.run(hw, **{**SMALL, **options})


# --- the machine --------------------------------------------------------------------------------------------------------


def test_each_card_is_as_it_is_in_that_host_alone():
    both = machine("rtx_5090", "rtx_3090")
    for number, name in enumerate(("rtx_5090", "rtx_3090")):
        alone, single = both.alone(number), machine(name)
        same = replace(alone.device, name="gpu", memory=single.device.memory, reserved_bytes=None)
        assert same == single.device
        assert replace(alone.link, dst=single.link.dst) == single.link
        assert replace(alone.device_memory, name=single.device_memory.name) == single.device_memory
        assert alone.cpu == single.cpu
    links = [link.bytes_per_s for link in both.links]
    assert both.fabric is not None and both.fabric.latency_ps == sum(link.latency_ps for link in both.links)
    assert both.fabric.bytes_per_s == pytest.approx(1 / sum(1 / rate for rate in links), rel=1e-6)
    assert both.fabric.bytes_per_s < min(links)


def test_three_cards_send_over_the_two_slowest_links():
    three, two = machine("rtx_5090", "rtx_3090", "rtx_3090"), machine("rtx_3090", "rtx_3090")
    assert three.devices == ("gpu", "gpu_2", "gpu_3") and three.fabric == two.fabric


def test_cards_of_a_box_of_several_show_no_desktop():
    both, own = machine("rtx_5090", "rtx_3090"), machine("rtx_5090").reserved_bytes
    assert [both.alone(card).reserved_bytes for card in (0, 1)] == [own - 2**29] * 2
    servers = machine("a100_pcie_40", "a100_pcie_40")
    assert [servers.alone(card).reserved_bytes for card in (0, 1)] == [machine("a100_pcie_40").reserved_bytes] * 2


def test_each_card_may_have_a_slot_of_its_own(tmp_path: Path):
    """Lanes that are halved: of one card by its link, of all by the host; messages follow, where nobody says how fast they are."""
    name = f"rtx_5090+rtx_5090+{HOST}"
    full, second = hardware_profiles.load(name), hardware_profiles.load(name, {"links.gpu_2.bandwidth": "20GB/s"})
    assert [link.bytes_per_s for link in second.links] == [full.links[0].bytes_per_s, 20 * 10**9]
    assert second.fabric.bytes_per_s == pytest.approx(1 / (1 / full.links[0].bytes_per_s + 1 / (20 * 10**9)), rel=1e-6)
    said = hardware_profiles.load(name, {"links.gpu_2.bandwidth": "20GB/s", "fabric.bandwidth": "9GB/s"})
    assert said.fabric.bytes_per_s == 9 * 10**9
    assert hardware_profiles.load(name, {"link.bandwidth": "60GB/s"}).fabric == full.fabric
    (tmp_path / "halved.yaml").write_text(
        "extends: ddr5_6000_2ch\nname: halved\ntitle: x8 each\nis: {slot: PCIe 5.0 x8}\n"
    )
    both = hardware_profiles.load(f"rtx_5090+rtx_5090+{tmp_path / 'halved.yaml'}")
    assert [2 * link.bytes_per_s for link in both.links] == pytest.approx(
        [link.bytes_per_s for link in full.links], rel=1e-3
    )
    assert 2 * both.fabric.bytes_per_s == pytest.approx(full.fabric.bytes_per_s, rel=1e-3)


@pytest.mark.parametrize(("split", "slow"), [("24/1", "link"), ("1/24", "links.gpu_2")])
def test_a_card_carries_its_layers_over_its_own_link(split: str, slow: str):
    """Three blocks of the CPU, of which one card has all or two."""
    name, times = f"rtx_5090+rtx_5090+{HOST}", {}
    for path in ("link", "links.gpu_2"):
        hw = hardware_profiles.load(name, {f"{path}.bandwidth": "5GB/s", "fabric.bandwidth": "10GB/s"})
        run = play(hw, placement="n_cpu_moe=3", tensor_split=split, mmap=False)
        times[path] = int(run.pass_ps[~run.decode_passes].sum())
    assert max(times, key=lambda path: times[path]) == slow and max(times.values()) > 1.3 * min(times.values())


def test_a_price_is_that_of_all_cards():
    prices = [machine(*["rtx_5090"] * n).figures["price"].value for n in (1, 2, 3)]
    assert prices[1] - prices[0] == prices[2] - prices[1] > 0


def test_one_card_is_the_machine_of_one_card():
    said, checked = hardware_profiles.content(f"rtx_5090+{HOST}")
    assert "links" not in said and "reserved" not in said["units"]["gpu"] and checked.file == f"rtx_5090+{HOST}"


# --- what is dealt ------------------------------------------------------------------------------------------------------


def by_hand(layers: int, gpu_layers: int, split: list[float]) -> list[int]:
    """The loop of llama.cpp's load_tensors, written again: the first card whose cumulated share lies above the layer's place."""
    sums = [np.float32(0)]
    for share in split:
        sums.append(np.float32(sums[-1] + np.float32(share)))
    ends = [one / sums[-1] for one in sums[1:]]
    start, number = max(layers + 1 - gpu_layers, 0), min(gpu_layers, layers + 1)
    found = []
    for layer in range(layers + 1):
        place = np.float32(layer - start) / np.float32(number or 1)
        card = 0
        while layer >= start and place >= ends[card]:
            card += 1
        found.append(card)
    return found


@given(st.integers(1, 99), st.integers(1, 120), st.lists(st.integers(0, 40), min_size=2, max_size=2).filter(sum))
def test_layers_are_dealt_as_llama_cpp_deals_them(layers: int, gpu_layers: int, split: list[int]):
    blocks = min(max(layers + 1 - gpu_layers, 0), layers)
    owners = dealt(machine("rtx_3090", "rtx_3090"), layers, blocks, "/".join(map(str, split)))
    assert list(owners) == by_hand(layers, layers + 1 - blocks, [float(share) for share in split])
    assert all(one <= other for one, other in pairwise(owners))


def test_the_caches_of_two_cards_are_those_that_the_program_prints():
    """ikawrakow/ik_llama.cpp#500: Qwen3-235B, 32,768 positions in q8_0 on two RTX 3090: 1632.02 and 1564.02 MiB."""
    made = simmoe.run(
        machine("rtx_3090", "rtx_3090"), model="qwen3-235b-a22b", format="IQ2_XXS", runtime=RUNTIME, kv_format="q8_0", context=32768,
        placement="n_cpu_moe=94", prompt=8, generate=1,
    )  # fmt: skip
    kv = [one["memory_bytes"]["kv"] / 2**20 for one in made.devices()]
    assert kv == pytest.approx([1632.02, 1564.02], abs=0.03)


# --- time ---------------------------------------------------------------------------------------------------------------


def messages_ps(run: Run) -> np.ndarray:
    """Of each pass, by a law written again here: latency and 4 bytes of each number of each row, once for each change of card."""
    workload, fabric = run.workload, run.workload.hw.fabric
    changes = sum(one != other for one, other in pairwise(workload.owners))
    rows = np.diff(workload.trace.pass_ptr).tolist()
    sizes = [4 * n * workload.model.width for n in rows]
    return np.array([changes * (fabric.latency_ps - (-size * 10**12 // fabric.bytes_per_s)) for size in sizes])


@pytest.mark.parametrize("placement", [None, "n_cpu_moe=3", "n_cpu_moe=15"])
@pytest.mark.parametrize("split", [None, "20/5"])
def test_equal_cards_take_the_time_of_one_with_their_memory_and_the_messages(placement, split):
    one = play(machine("rtx_5090"), placement=placement)
    two = play(machine("rtx_5090", "rtx_5090"), placement=placement, tensor_split=split)
    sent = messages_ps(two)
    assert (sent > 0).all()
    assert two.pass_ps.tolist() == (one.pass_ps + sent).tolist()
    where, alone, decoded = two.where_ps(), one.where_ps(), two.decode_passes
    assert where.pop(MESSAGE) == int(sent[decoded].sum())
    assert where == alone


def test_a_free_fabric_costs_a_picosecond():
    hw = machine("rtx_5090", "rtx_5090", "rtx_5090")
    free = play(replace(hw, fabric=FREE))
    assert (free.pass_ps - play(machine("rtx_5090")).pass_ps <= 2 * np.diff(free.workload.trace.pass_ptr) * 12).all()


def summed(run: Run) -> list[int]:
    """Each pass as the sum of what each layer costs on the card that has it: by the costs of a machine of that card alone."""
    workload = run.workload
    model, trace = workload.model, workload.trace
    each = [RuntimeCosts(workload.hw.alone(n), model, trace, workload.runtime) for n in range(len(workload.hw.devices))]
    found = []
    for number, size in enumerate(each[0].sizes):
        total = each[workload.owners[-1]].head_piece(size).ps
        for layer, owner in zip(model.layers, workload.owners):
            total += sum(piece.ps for piece in each[owner].dense_pieces(layer, size))
        rows = slice(trace.pass_ptr[number], trace.pass_ptr[number + 1])
        for column, layer in enumerate(model.moe_layers):
            costs, ids = each[workload.owners[layer]], trace.expert_ids[rows, column]
            total += costs.experts(column, len(np.unique(ids)), ids.size, costs.law(size)).ps
        found.append(total)
    return found


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("gpus", [("rtx_5090", "rtx_3090"), ("rtx_3090", "rtx_5090", "rtx_4070_ti")])
def test_each_layer_costs_what_it_costs_on_its_card(gpus, engine):
    run = play(machine(*gpus), engine=engine, tensor_split="/".join("213"[: len(gpus)]))
    assert run.engine == engine
    assert run.pass_ps.tolist() == (np.array(summed(run)) + messages_ps(run)).tolist()


def test_unequal_cards_lie_between_both():
    fast, slow, both = (play(machine(*gpus)) for gpus in (["rtx_5090"], ["rtx_3090"], ["rtx_5090", "rtx_3090"]))
    net = both.pass_ps - messages_ps(both)
    assert (fast.pass_ps < net).all() and (net < slow.pass_ps).all()
    more = play(machine("rtx_5090", "rtx_3090"), tensor_split="4/1")
    assert (more.pass_ps < both.pass_ps).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"placement": "n_cpu_moe=9"}, {"gpu_layers": 12}, {"kv_offload": False}, {"batch": 3}]
)
def test_all_engines_agree(options):
    made = [play(machine("rtx_5090", "rtx_3090"), engine=engine, **options).to_json() for engine in ENGINES]
    for one in made:
        one.pop("engine")
    assert all(json.dumps(one) == json.dumps(made[0]) for one in made)


def test_causes_add_up():
    run = play(machine("rtx_5090", "rtx_3090"), placement="n_cpu_moe=2")
    assert sum(run.where_ps().values()) == int(run.pass_ps[run.decode_passes].sum())


# --- memory -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {}, {"placement": "n_cpu_moe=9"}, {"gpu_layers": 20}, {"kv_offload": False}, {"batch": 3}, {"eviction": "nothing"},
        {"eviction": "everything"},
    ],
)  # fmt: skip
def test_the_cards_hold_together_what_one_would(options):
    one, two = play(machine("rtx_5090"), **options), play(machine("rtx_5090", "rtx_3090"), **options)
    parts = [part["memory_bytes"] for part in two.devices()]
    for name in ("dense", "kv", "experts"):
        assert sum(part[name] for part in parts) == one.memory_bytes[name] == two.memory_bytes[name]
    for name, total in two.memory_bytes.items():
        assert sum(part[name] for part in parts) == total
    assert one.other_memory_bytes == two.other_memory_bytes
    assert [part["name"] for part in two.to_json()["devices"]] == ["gpu", "gpu_2"]


def test_what_does_not_fit_is_said_of_its_card_with_a_split_that_fits():
    cards = {"hw": machine("rtx_5090", "rtx_3090"), **GPT_OSS, "context": 32768, "prompt": 8, "generate": 2}
    with pytest.raises(
        UserError, match=r"short are gpu_2 of .* by 9.. MB of 25.2 GB; --tensor-split (\d+)/(\d+) fits$"
    ) as told:
        simmoe.run(**cards, placement="n_cpu_moe=9")
    split = str(told.value).partition("--tensor-split ")[2].split()[0]
    made = simmoe.run(**cards, placement="n_cpu_moe=9", tensor_split=split)
    first, last = map(int, split.split("/"))
    assert first + last == 37 and made.devices()[0]["layers"] == f"0-{first - 1}"
    with pytest.raises(UserError, match="short are gpu of"):
        simmoe.run(**cards, placement="n_cpu_moe=9", tensor_split=f"{first + 1}/{last - 1}")


def test_a_bound_says_which_card_it_exceeds():
    """Together they would hold all experts."""
    cards = {"hw": machine("rtx_5090", "rtx_3090"), **GPT_OSS, "prompt": 8, "generate": 2, "placement": "n_cpu_moe=9"}
    run = simmoe.run(**cards, eviction="everything")
    assert run.plan.budget_bytes < memory_of(run.workload, run.plan).room_bytes
    assert any(note.startswith("The bound everything does not fit") for note in run.notes)


def test_the_least_blocks_that_fit_do_and_one_less_does_not():
    cards = {"hw": machine("rtx_3090", "rtx_3090"), **GPT_OSS, "context": 4096, "prompt": 8, "generate": 2}
    with pytest.raises(
        UserError, match=r"least N that fits is --placement n_cpu_moe=\d+ with --tensor-split \d+/\d+$"
    ) as told:
        simmoe.run(**cards)
    least, split = str(told.value).rpartition("n_cpu_moe=")[2].split(" with --tensor-split ")
    simmoe.run(**cards, placement=f"n_cpu_moe={least}", tensor_split=split)
    layers = 37
    for first in range(1, layers):
        with pytest.raises(UserError, match="short are"):
            simmoe.run(**cards, placement=f"n_cpu_moe={int(least) - 1}", tensor_split=f"{first}/{layers - first}")
    with pytest.raises(UserError, match=r"least N that fits is --placement n_cpu_moe=\d+$") as told:
        simmoe.run(**{**cards, "hw": machine("rtx_3090", "rtx_3060")}, tensor_split="1/0")
    assert int(str(told.value).rpartition("=")[2]) > int(least)


def test_require_leaves_the_cpu_what_the_cards_do_not_hold():
    """With the split that leaves it the fewest blocks."""
    scenario = simmoe.Scenario(f"rtx_3090+rtx_3090+{HOST}", **GPT_OSS, context=4096, prompt=8, generate=2)
    chosen = with_the_least(scenario, scenario.workload())
    least = int(str(chosen.placement).removeprefix("n_cpu_moe="))
    said = with_the_least(replace(scenario, tensor_split="1/1"), replace(scenario, tensor_split="1/1").workload())
    assert said.tensor_split == "1/1" and least < int(str(said.placement).removeprefix("n_cpu_moe="))
    needed = simmoe.require(f"rtx_3090+rtx_3090+{HOST}", **GPT_OSS, context=4096, prompt=8, generate=2, tok_s=1)
    box = needed.met[0]
    assert box.run is not None and box.placement == f"n_cpu_moe={least}, tensor_split={chosen.tensor_split}"
    assert box.run.tok_s == simmoe.run(chosen).tok_s
    small = simmoe.Scenario(f"rtx_3090+rtx_3090+{HOST}", **SMALL)
    assert with_the_least(small, small.workload()) == small


def test_what_if_asks_of_the_memories_of_all_cards():
    run = play(machine("rtx_5090", "rtx_3090"))
    asked = {change.what: change.options["set"] for change in figures(run) if "set" in change.options}
    assert asked["a device memory twice as fast"] == (
        "peak.memory_bandwidth=3.584TB/s",
        "tiers.gddr_2.peak_bandwidth=1.872TB/s",
    )


# --- as it was measured -------------------------------------------------------------------------------------------------


def test_two_5090s_on_gpt_oss_120b():
    """ggml-org/llama.cpp#15077, nothing fitted to it: -ngl 99 --n-cpu-moe 3 at the native context decodes 108 tok/s; the host is not
    told."""
    options = {**GPT_OSS, "flags": "-ngl 99 --n-cpu-moe 3 -fa -c 131072"}
    run = simmoe.run(f"rtx_5090+rtx_5090+{HOST}", **options)
    assert run.memory_bytes["kv"] == pytest.approx(4.85e9, rel=0.01)
    sure = band(run)
    assert sure is not None and sure.hardware[0] <= 108 <= sure.hardware[1]


# --- flags --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["-ts 3,1", "--tensor-split 3/1", "-sm layer -ts 3,1"])
def test_the_flag_is_the_option(said):
    hw = machine("rtx_5090", "rtx_3090")
    by_flag, by_option = play(hw, flags=said), play(hw, tensor_split="3/1")
    assert by_flag.to_json() == by_option.to_json()
    assert by_flag.scenario()["tensor_split"] == "3/1"


@pytest.mark.parametrize(
    ("gpus", "options", "why"),
    [
        (2, {"flags": "-sm row"}, "split mode row splits each layer over several devices"),
        (2, {"flags": "-sm tensor"}, "split mode tensor splits"),
        (2, {"flags": "-sm none"}, "split mode none uses one card, and rtx_3090.rtx_3090"),
        (2, {"flags": "-dev CUDA0,CUDA1"}, "leave it out"),
        (2, {"tensor_split": "1/1/1"}, "names 3 cards, and the machine has 2; write --tensor-split 1/1"),
        (2, {"tensor_split": "0/0"}, "names no proportions"),
        (2, {"tensor_split": "1:1"}, "names no proportions"),
        (1, {"tensor_split": "1"}, "deals layers to several cards, and rtx_3090.ddr5_6000_2ch has one"),
        (2, {"runtime": "ideal", "tensor_split": "1/1"}, "the ideal runtime has none"),
        (2, {"runtime": "vllm"}, "without a runtime there are --timeline expert_parallel and tensor_parallel"),
        (2, {"runtime": "mixtral_offloading"}, "is simulated on one device"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line(gpus, options, why):
    with pytest.raises(UserError, match=why) as told:
        play(machine(*["rtx_3090"] * gpus), **options)
    assert "\n" not in str(told.value)


def test_a_saved_scenario_of_cards_is_played_again(tmp_path: Path):
    file = tmp_path / "two.yaml"
    scenario = simmoe.Scenario(f"rtx_5090+rtx_3090+{HOST}", **{**SMALL, "tensor_split": "3/1"})
    scenario.save(file)
    again = simmoe.load_scenario(file)
    assert simmoe.run(again).to_json() == simmoe.run(scenario).to_json()


def test_costs_of_a_model_without_a_width_are_refused():
    run = play(machine("rtx_5090", "rtx_3090"))
    workload = run.workload
    with pytest.raises(UserError, match="states no width"):
        CardCosts(workload.hw, replace(workload.model, width=0), workload.trace, workload.runtime, workload.owners)


# --- with what else a run may ask ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_draft_takes_its_time_before_each_pass_on_cards_too(engine: str):
    """Nothing is loaded, so a guess of 1 ms adds 1 ms; passes of several rows ask the cards for the law of their products."""
    hw = machine("rtx_3090", "rtx_3060")
    options = {"draft": 9, "acceptance": "50%", "engine": engine}
    free, paid = play(hw, **options), play(hw, **options, draft_cost="1ms")
    guesses = np.where(paid.decode_passes, np.diff(paid.workload.trace.pass_ptr) - 1, 0)
    assert (paid.pass_ps - free.pass_ps).tolist() == (guesses * 10**9).tolist() and guesses.max() == 5


ARRIVING = {"schedule": "llama_cpp", "max_tokens": 128, "requests": 7, "prompt": 90, "generate": 5}


@pytest.mark.parametrize("schedule", ["llama_cpp", "vllm", "continuous"])
def test_requests_that_arrive_are_served_by_unlike_cards_at_the_cost_of_each(schedule: str):
    """Every engine; and each pass is what its layers cost on their cards, with the messages."""
    hw = machine("rtx_5090", "rtx_3060")
    options = {**ARRIVING, "schedule": schedule, "rate": "60/s"} | (
        {"max_tokens": None} if schedule == "continuous" else {}
    )
    runs = [play(hw, **options, engine=engine) for engine in ENGINES]
    assert all(run.clocks == runs[0].clocks for run in runs)
    assert not any(
        "cards at once" in note for note in runs[0].notes
    )  # each pass is formed when the one before has ended
    assert runs[0].pass_ps.tolist() == (np.array(summed(runs[0])) + messages_ps(runs[0])).tolist()
    assert len(set(np.diff(runs[0].workload.trace.pass_ptr).tolist())) > 1


def test_equal_cards_serve_as_one_with_their_memory_and_the_messages():
    """All have arrived at once, so that the messages change no pass. And far apart, requests take as long as recorded."""
    one, two = (play(machine(*["rtx_5090"] * cards), **ARRIVING) for cards in (1, 2))
    assert two.serving.chunks.tolist() == one.serving.chunks.tolist()
    assert two.pass_ps.tolist() == (one.pass_ps + messages_ps(two)).tolist()
    apart = play(machine("rtx_5090", "rtx_3060"), **ARRIVING, arrivals="every:10s")
    assert (
        apart.pass_ps.tolist()
        == play(apart.workload.hw, trace=apart.workload.trace, prompt=None, generate=None).pass_ps.tolist()
    )


@pytest.mark.parametrize("more", [{"max_batch": 3}, {"schedule": "vllm", "kv_blocks": 50}])
def test_each_card_reserves_kv_memory_for_its_layers_of_what_may_be_served(more: dict[str, object]):
    one, two = (play(machine(*["rtx_5090"] * cards), **ARRIVING | more) for cards in (1, 2))
    held = [card["memory_bytes"]["kv"] for card in two.devices()]
    assert sum(held) == one.memory_bytes["kv"] == two.memory_bytes["kv"] and min(held) > 0


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"placement": "affinity"}, "--placement affinity gives experts to devices, and .*: leave it out, or give .* --tensor-split"),
        ({"placement": "layer_split=1/1"}, "--placement layer_split=1/1 gives experts to devices"),
        ({"timeline": "expert_parallel"}, "--timeline expert_parallel is of devices that compute a layer together"),
        ({"timeline": "distributed"}, "--timeline distributed is of devices that compute a layer together"),
        ({"draft": 2, "acceptance": "60%", "draft_model": "oracle-moe-2x4"}, "--draft-model is simulated on one device"),
        ({"budget": "50%"}, r"are not resident .*: leave the budget out, and all are; else the least N .* --placement n_cpu_moe=12$"),
    ],
)  # fmt: skip
def test_what_cards_cannot_honour_is_refused(options: dict[str, object], line: str):
    with pytest.raises(UserError, match=line):
        play(machine("rtx_5090", "rtx_5090"), **options)


# --- beside other runs --------------------------------------------------------------------------------------------------

UNFIT = {**GPT_OSS, "context": 16384, "prompt": 8, "generate": 2}
WAY = "the least N that fits is --placement n_cpu_moe=10 with --tensor-split 23/14"


def test_a_row_of_compare_that_does_not_fit_names_what_would():
    """The other rows are played; nothing is chosen for it."""
    boxes = [f"rtx_3090+rtx_3090+{HOST}", f"rtx_5090+rtx_5090+{HOST}"]
    first, second = simmoe.compare(boxes, **UNFIT).rows
    assert first.run is None and first.why_not.endswith(WAY) and second.run is not None


def test_trials_of_a_sweep_that_do_not_fit_name_what_would(tmp_path: Path):
    """Placements and splits are axes of cards under an engine."""
    file = tmp_path / "space.yaml"
    said = "".join(f"{name}: {value}\n" for name, value in UNFIT.items())
    axes = (
        "placement: [none, n_cpu_moe=10]\ntensor_split: [none, 23/14]\nobjectives: {tok_s: maximize, price: minimize}\n"
    )
    file.write_text(f"schema: 1\nname: cards\nhw: rtx_3090+rtx_3090+{HOST}\n{said}{axes}")
    study = simmoe.sweep(file, trials=20).study
    played = {
        (one.user_attrs["point"].get("placement"), one.user_attrs["point"].get("tensor_split")): one
        for one in study.trials
    }
    why = {key: one.user_attrs.get("why_not") for key, one in played.items()}
    assert len(why) == 4 and why["n_cpu_moe=10", "23/14"] is None
    assert why["none", "none"].endswith(WAY) and why["n_cpu_moe=10", "none"].endswith("--tensor-split 23/14 fits")
    file.write_text(file.read_text().replace("23/14", "1/1/1"))
    with pytest.raises(
        UserError, match=r"tensor_split '1/1/1' of the space works with none .*: --tensor-split 1/1/1 names 3 cards"
    ):
        simmoe.sweep(file, trials=1)
