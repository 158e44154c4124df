"""What a placement leaves to the device: bounds, memories, budgets and hit rates of a run, and blocks as llama.cpp counts them.

Every answer is asked for as a user asks, by a command; what it must be is counted here from the trace and the figures of the inputs.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simmoe
from simmoe.cli.main import main

Play = Callable[..., dict[str, Any]]


@pytest.fixture
def play(capsys: pytest.CaptureFixture[str]) -> Play:
    """`simmoe run WORDS --json` as data; {"refused": line} where it ends with one line and exit code 2."""

    def played(*words: str) -> dict[str, Any]:
        code = main(["run", *map(str, words), "--json"])
        out, line = capsys.readouterr()
        if code:
            assert code == 2 and line.count("\n") == 1, line
            return {"refused": line.strip()}
        return dict(json.loads(out))

    return played


def recorded(folder: Path, blocks: Sequence[int], experts: int, top_k: int, model: str, tokens: int = 24) -> Path:
    """Two sequences, each a prompt of two passes and then decode passes of one row; experts drawn, the first ones more often."""
    rng, rows = np.random.default_rng(7), 2 * tokens
    weight = 1 / np.arange(1, experts + 1)
    ids = np.array(
        [[rng.choice(experts, top_k, replace=False, p=weight / weight.sum()) for _ in blocks] for _ in range(rows)],
        np.int16,
    )
    lengths = [4, 4, *[1] * (tokens - 8)] * 2
    path = folder / f"{Path(model).stem}-{tokens}.npz"
    np.savez_compressed(
        path, expert_ids=ids, layer_index=np.array(blocks, np.int16), pass_ptr=np.cumsum([0, *lengths]).astype(np.int64),
        phase=np.array([0, 0, *[1] * (tokens - 8)] * 2, np.int8), sequence=np.repeat([0, 1], tokens).astype(np.int32),
        position=np.tile(np.arange(tokens), 2).astype(np.int32),
        meta=np.array(json.dumps({"schema_version": 1, "n_experts": experts, "top_k": top_k, "model": model})),
    )  # fmt: skip
    return path


@pytest.fixture
def gpt_oss(tmp_path: Path) -> tuple[str, ...]:
    """36 blocks of 128 experts on a desktop with 24 GB of GPU memory."""
    return (
        "--hw",
        "rtx_3090",
        "--trace",
        str(recorded(tmp_path, range(36), 128, 4, "gpt-oss-120b")),
        "--format",
        "mxfp4",
    )


@pytest.fixture
def deepseek(tmp_path: Path) -> tuple[str, ...]:
    """27 blocks, the first without experts, the others with 64 each."""
    path = recorded(tmp_path, range(1, 27), 64, 6, "deepseek-v2-lite")
    return ("--hw", "rtx_4090", "--trace", str(path), "--format", "q4_k")


def layer_bytes(name: str, form: str) -> int:
    """Of all routed experts of an MoE layer."""
    model = simmoe.load_model(name, form)
    return int(model.all_expert_bytes) // len(model.moe_layers)


def requests_of(words: Sequence[str], columns: range) -> int:
    """Distinct experts of every decode pass and MoE layer of the trace, those layers alone."""
    with np.load(words[words.index("--trace") + 1]) as file:
        ids, ptr, phase = file["expert_ids"], file["pass_ptr"], file["phase"]
    return sum(
        len(np.unique(ids[ptr[i] : ptr[i + 1], column])) for i in np.flatnonzero(phase == 1) for column in columns
    )


# --- fault 1: what a bound and every other option does ---------------------------------------------------------------


def test_fault_01_the_bound_everything_keeps_the_placement(play: Play, gpt_oss: tuple[str, ...]):
    """Measured with llama.cpp on this machine: 33.1 tok/s. No token ends before the CPU has read its experts of 25 layers."""
    found = play(*gpt_oss, "--eviction", "everything", "--placement", "n_cpu_moe=25")
    hw, model = simmoe.load_hardware("rtx_3090"), simmoe.load_model("gpt-oss-120b", "mxfp4")
    assert hw.cpu is not None
    on_cpu_s = 25 * 4 * int(model.expert_bytes[0]) / hw.cpu.bytes_per_s
    assert 0.6 * 33.1 < found["tok_s"] < min(1.4 * 33.1, 1 / on_cpu_s)
    assert found["memory_bytes"]["experts"] == 11 * layer_bytes("gpt-oss-120b", "mxfp4")
    assert found["decode"]["hit_rate"] == 1 and found["bytes"] == 0


@pytest.mark.slow
def test_fault_01_the_bound_of_a_ladder_keeps_it_too(play: Play, gpt_oss: tuple[str, ...]):
    ladder = play(*gpt_oss, "--placement", "n_cpu_moe=25")
    warm_up = ladder["bounds"]["everything"]["start"].rpartition("warm-up of ")[2].split()[0]
    alone = play(*gpt_oss, "--eviction", "everything", "--placement", "n_cpu_moe=25", "--warm-up", warm_up)
    assert ladder["bounds"]["everything"]["tok_s"] == alone["tok_s"]
    assert ladder["rungs"][-1]["budget_bytes"] == 11 * layer_bytes("gpt-oss-120b", "mxfp4")


def test_fault_01_a_bound_keeps_it_under_continuous_batching(play: Play, gpt_oss: tuple[str, ...]):
    words = (*gpt_oss, "--schedule", "continuous", "--eviction", "everything")
    placed, free = play(*words, "--placement", "n_cpu_moe=25"), play(*words)
    assert placed["tok_s"] < free["tok_s"] / 2 and placed["decode"]["hit_rate"] == 1


BASES: dict[str, dict[str, tuple[str, ...]]] = {
    "a policy": {},
    "a placement": {"--placement": ("n_cpu_moe=6",)},
    "the CPU serves misses": {"--hw": ("rtx_4090",), "--miss": ("balanced",)},
    "prefetches": {"--prefetch": ("whole_layer",), "--budget": ("75%",)},
    "serial": {"--timeline": ("serial",)},
    "a page cache": {"--page-cache": ("40MB",)},
    "continuous": {"--schedule": ("continuous",)},
    "nothing": {"--eviction": ("nothing",)},
    "everything": {"--eviction": ("everything",)},
    "everything, placed": {"--eviction": ("everything",), "--placement": ("n_cpu_moe=6",)},
}
VALUES: dict[str, tuple[str, ...]] = {  # of each option one value that is not the usual one
    "--hw": ("rtx_3060",), "--set": ("units.gpu.bandwidth=500GB/s",), "--model": ("mixtral-8x7b",),
    "--format": ("fp32",), "--tokens": ("20",), "--context": ("4096",), "--microbatch": ("0",), "--batch": ("2",),
    "--prefill-chunk": ("2",), "--schedule": ("continuous",), "--arrivals": ("every:10s",), "--max-batch": ("1",),
    "--max-tokens": ("8",), "--kv-blocks": ("40",), "--kv-memory": ("64MB",), "--prefix-cache": (),
    "--rate": ("2/s",), "--ttft": ("2s",), "--tpot": ("10ms",),
    "--eviction": ("random",), "--scope": ("layer",),
    "--timeline": ("sync",), "--overlap": ("none",), "--prefetch": ("whole_layer",), "--prefetch-into": ("buffers",), "--miss": ("cpu",),
    "--placement": ("random=50%",), "--write-back": (), "--cold-per-sequence": (), "--graphs": (), "--page-cache": ("20MB",),
    "--budget": ("50%",), "--memory": ("120MB",), "--engine": ("simpy",), "--seed": ("5",), "--start": ("cold",),
    "--warm-up": ("4",), "--prompt": ("5",), "--generate": ("7",), "--depth": ("100",),
    "--kv-format": ("q8_0",), "--runtime": ("llama_cpp_cuda",), "--flags": ("-ub 64",), "--threads": ("2",), "--op-offload": ("none",),
    "--mmap": ("none",),
    "--gpu-layers": ("3",), "--kv-offload": ("none",), "--tensor-split": ("1/1",),
    "--requests": ("2",), "--batch-threads": ("2",), "--cancel": (), "--system": ("mixtral_offloading",),
    "--low-format": ("IQ1_S",), "--low-budget": ("10%",),
    "--draft": ("2",), "--acceptance": ("60%",), "--draft-cost": ("3ms",), "--rejected": ("drawn",), "--rollback": ("redecode",),
    "--draft-model": ("oracle-moe-2x4",), "--draft-format": ("q4_k",),
}  # fmt: skip
OUTPUT = {
    "--help",
    "--json",
    "--per-token",
    "--perfetto",
    "--band",
    "--save",
    "--force",
}  # what is written, not what is played
ELSEWHERE = {
    "--trace",
    "--routing",
    "--gpu",
    "--host",
}  # no routing is drawn beside a trace; a GPU and a host are a machine
SAME = {  # honoured, though no number moves
    "--engine": "every engine gives the same numbers",
    "--seed": "nothing is drawn here",
}
NO_LOADS = {"--overlap", "--timeline", "--write-back"}  # how loads and evictions go, where a bound has none


def numbers(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in ("scenario", "digest", "engine", "versions")}


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_fault_01_every_option_changes_the_result_or_is_refused(play: Play, tmp_path: Path, base: str):
    trace, budget = recorded(tmp_path, (2, 5, 8, 11), 16, 4, "oracle-moe-4x16-k4", tokens=16), {"--budget": ("25%",)}
    usual = {"--hw": ("rtx_4090_nvme",), "--trace": (str(trace),), "--format": ("q4_k",)}
    words = {**usual, **({} if "--eviction" in BASES[base] else budget), **BASES[base]}

    def with_option(option: str, *value: str) -> dict[str, Any]:
        return play(*(word for one, values in {**words, option: value}.items() for word in (one, *values)))

    plain, dropped = with_option("--format", "q4_k"), []
    assert "refused" not in plain
    other = recorded(tmp_path, (2, 5, 8, 11), 16, 4, "oracle-moe-4x16-k4", tokens=12)
    for option, value in {**VALUES, "--trace": (str(other),)}.items():
        idle = option in NO_LOADS and not plain["evictions" if option == "--write-back" else "bytes"]
        if option == "--start" and plain["start"] == "cold":
            value = ("warm",)
        if option in SAME or idle or words.get(option) == value:
            continue
        if option == "--overlap" and base == "serial":  # two names of one thing
            continue
        if numbers(with_option(option, *value)) == numbers(plain):
            dropped.append(option)
    assert dropped == []


def test_fault_01_the_table_of_options_is_whole(capsys: pytest.CaptureFixture[str]):
    """A new option needs a row in VALUES."""
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    known = set(re.findall(r"(?m)^  (--[a-z-]+)", capsys.readouterr().out))
    assert known - OUTPUT == {*VALUES, *ELSEWHERE}


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["nothing", "everything"])
def test_fault_01_a_bound_takes_no_budget_that_it_would_drop(play: Play, gpt_oss: tuple[str, ...], bound: str):
    for option in (("--budget", "25%"), ("--memory", "12GB")):
        line = play(*gpt_oss, "--eviction", bound, *option)["refused"]
        assert option[0] in line and f"the bound {bound}" in line


# --- fault 4: memories, budgets and hit rates --------------------------------------------------------------------------


def test_fault_04_the_experts_of_the_cpu_take_no_device_memory(play: Play, gpt_oss: tuple[str, ...]):
    found, layer = (
        play(*gpt_oss, "--placement", "n_cpu_moe=25", "--budget", "100%"),
        layer_bytes("gpt-oss-120b", "mxfp4"),
    )
    assert found["memory_bytes"]["experts"] == 11 * layer
    assert found["other_memory_bytes"] == {"host_dram": {"experts of the CPU": 25 * layer, "total": 25 * layer}}


def test_fault_04_a_percentage_is_of_what_is_left_to_the_device(play: Play, deepseek: tuple[str, ...]):
    layer = layer_bytes("deepseek-v2-lite", "q4_k")
    found = play(*deepseek, "--placement", "n_cpu_moe=14", "--budget", "50%")
    assert found["memory_bytes"]["experts"] == 13 * layer // 2
    host = found["other_memory_bytes"]["host_dram"]
    assert host == {"experts of the CPU": 13 * layer, "experts to load": 13 * layer, "total": 26 * layer}


def test_fault_04_the_hit_rate_is_of_what_is_left_to_the_device(play: Play, deepseek: tuple[str, ...]):
    found = play(*deepseek, "--placement", "n_cpu_moe=14", "--budget", "50%")["decode"]
    mine, every = (requests_of(deepseek, range(low, 26)) for low in (13, 0))
    assert 0 < found["hits"] < mine and found["hit_rate"] == found["hits"] / mine
    assert found["hits"] + found["misses"] == mine and found["on_cpu"] == found["placed"] == every - mine


def test_fault_04_what_a_miss_rule_sends_to_the_cpu_is_a_miss(play: Play, deepseek: tuple[str, ...]):
    found = play(*deepseek, "--placement", "n_cpu_moe=14", "--budget", "50%", "--miss", "cpu")["decode"]
    mine, every = (requests_of(deepseek, range(low, 26)) for low in (13, 0))
    assert found["hits"] == found["hit_rate"] == found["misses"] == 0  # nothing is ever loaded
    assert found["placed"] == every - mine and found["on_cpu"] == every


def test_fault_04_the_rows_per_token_count_no_miss_of_the_cpu(play: Play, deepseek: tuple[str, ...], tmp_path: Path):
    table = tmp_path / "rows.csv"
    play(*deepseek, "--placement", "n_cpu_moe=14", "--budget", "50%", "--per-token", str(table))
    header, *rows = (line.split(",") for line in table.read_text().splitlines())
    each = {
        name: np.array([int(row[header.index(name)]) for row in rows if row[1] == "decode"])
        for name in ("hits", "misses")
    }
    assert each["hits"].sum() + each["misses"].sum() == requests_of(deepseek, range(13, 26))


@pytest.mark.parametrize(
    "budget", [("--budget", "1%"), ("--budget", "100%"), ("--budget", "3GB"), ("--memory", "3GB"), ()]
)
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_fault_04_a_device_without_experts_needs_no_budget(
    play: Play, deepseek: tuple[str, ...], budget: Any, scope: str
):
    """All experts on the CPU: any budget gives the same run, and so does a ladder, which has one rung."""
    words = (*deepseek, "--placement", "n_cpu_moe=27")
    found, bound = play(*words, *budget, "--scope", scope), play(*words, "--eviction", "everything")
    if not budget:
        found, bound = found["rungs"][0]["run"], found["bounds"]["everything"]
    assert found["memory_bytes"] == bound["memory_bytes"] and found["memory_bytes"]["experts"] == 0
    assert found["tok_s"] == bound["tok_s"] and found["total_ps"] == bound["total_ps"]
    assert found["decode"]["hit_rate"] is None and found["decode"]["placed"] == found["decode"]["requests"]
    assert not budget or found["decode"]["placed"] == requests_of(deepseek, range(26))  # a ladder's warm-up counts none


@pytest.mark.slow
def test_fault_04_the_home_holds_only_what_may_be_loaded(play: Play, gpt_oss: tuple[str, ...]):
    """25 layers on the CPU take 42.4 GB of 48, the other 18.7 GB are resident for good; with less budget they must be in the home too."""
    words = (*gpt_oss, "--set", "tiers.host_dram.capacity=48GB", "--placement", "n_cpu_moe=25")
    assert play(*words, "--budget", "100%")["tok_s"] > 0
    line = play(*words, "--budget", "50%")["refused"]
    assert "host_dram" in line and "experts of the CPU" in line and "experts to load" in line
    again = play(*words, "--budget", "100%", "--cold-per-sequence")[
        "refused"
    ]  # the slots are given up, so all is loaded again
    assert "experts to load" in again


@pytest.mark.slow
def test_fault_04_the_page_cache_stands_beside_the_experts_of_the_cpu(play: Play, deepseek: tuple[str, ...]):
    words = (
        "--hw",
        "rtx_4090_nvme",
        *deepseek[2:],
        "--placement",
        "n_cpu_moe=14",
        "--set",
        "tiers.host_dram.capacity=6GB",
    )
    layer = layer_bytes("deepseek-v2-lite", "q4_k")  # 13 of them: 4.05 GB
    held = play(*words, "--budget", "50%", "--page-cache", "1GB")["other_memory_bytes"]
    assert held["host_dram"] == {"experts of the CPU": 13 * layer, "page cache": 10**9, "total": 13 * layer + 10**9}
    assert held["nvme"] == {"experts to load": 13 * layer, "total": 13 * layer}
    assert "page cache 2 GB" in play(*words, "--budget", "50%", "--page-cache", "2GB")["refused"]


@pytest.mark.slow
def test_fault_04_one_memory_holds_the_experts_of_both(play: Play, deepseek: tuple[str, ...]):
    """A machine whose GPU and CPU read one memory: it holds all, whoever computes them."""
    words, layer = ("--hw", "strix_halo", *deepseek[2:]), layer_bytes("deepseek-v2-lite", "q4_k")
    found = play(*words, "--placement", "n_cpu_moe=14", "--budget", "100%")
    memory = found["memory_bytes"]
    assert memory["experts"] == memory["experts of the CPU"] == 13 * layer
    assert memory["total"] == memory["dense"] + memory["kv"] + 26 * layer and found["other_memory_bytes"] == {}
    small = (
        "tiers.dram.capacity=" + str(memory["total"] + simmoe.load_hardware("strix_halo").reserved_bytes - layer) + "B"
    )
    for budget in ("100%", "95%"):
        assert "does not fit" in (
            line := play(*words, "--set", small, "--placement", "n_cpu_moe=14", "--budget", budget)
        )["refused"] or ("do not fit" in line["refused"])
    assert play(*words, "--set", small, "--placement", "n_cpu_moe=14", "--budget", "90%")["tok_s"] > 0


def test_fault_04_quotas_are_of_the_experts_left_to_the_device(play: Play, deepseek: tuple[str, ...]):
    """50 % of what is left, 13 layers: each has 32 slots, as in an LRU that is written here; the other 13 have none."""
    found = play(*deepseek, "--placement", "n_cpu_moe=14", "--budget", "50%", "--scope", "layer")
    with np.load(deepseek[deepseek.index("--trace") + 1]) as file:
        ids, ptr, phase = file["expert_ids"], file["pass_ptr"], file["phase"]
    hits = 0
    for column in range(13, 26):
        slots: OrderedDict[int, None] = OrderedDict()
        for i in range(len(phase)):
            asked = list(dict.fromkeys(ids[ptr[i] : ptr[i + 1], column].reshape(-1).tolist()))
            hits += sum(one in slots for one in asked) * int(phase[i])
            for one in [one for one in asked if one not in slots]:
                if len(slots) == 32:
                    old = next((other for other in slots if other not in asked), None)
                    assert old is not None, "the trace asks for more than the slots hold"
                    del slots[old]
                slots[one] = None
            for one in ids[ptr[i] : ptr[i + 1], column].reshape(-1).tolist():
                slots.move_to_end(one)
    assert found["decode"]["hits"] == hits > 0


@pytest.mark.slow
@pytest.mark.parametrize("n", [4, 8])
def test_fault_04_what_is_streamed_is_said_with_the_least_n_that_fits(
    play: Play, gpt_oss: tuple[str, ...], capsys: pytest.CaptureFixture[str], n: int
):
    """llama.cpp ends with "out of memory" where this run streams."""
    memory = play(*gpt_oss, "--placement", f"n_cpu_moe={n}", "--budget", "15GB")
    layer = layer_bytes("gpt-oss-120b", "mxfp4")
    streams, least = (36 - n) * layer - 15 * 10**9, 36 - 15 * 10**9 // layer
    note = next(note for note in memory["notes"] if "llama.cpp" in note)
    assert f"streams {streams / 1e9:.3g} GB that llama.cpp would refuse; least N that fits: {least}" in note
    assert main(["run", *gpt_oss, "--placement", f"n_cpu_moe={n}", "--budget", "15GB"]) == 0
    out = capsys.readouterr().out.replace("\n", " ")
    assert out.index("that llama.cpp would refuse") < out.index("tok/s")
    whole = play(*gpt_oss, "--placement", f"n_cpu_moe={least}", "--budget", "15GB")
    assert not any("llama.cpp" in note for note in whole.get("notes", []))
    assert any(
        "llama.cpp" in note
        for note in play(*gpt_oss, "--placement", f"n_cpu_moe={least - 1}", "--budget", "15GB")["notes"]
    )


# --- fault 5: blocks as llama.cpp counts them --------------------------------------------------------------------------


@pytest.mark.slow
def test_fault_05_n_cpu_moe_counts_blocks_and_takes_any_number(play: Play, deepseek: tuple[str, ...]):
    """Block 0 has no experts; 27 is all, and so is 99."""
    found = {n: play(*deepseek, "--budget", "100%", "--placement", f"n_cpu_moe={n}") for n in (0, 1, 2, 27, 99)}
    on_cpu = {n: one["decode"]["on_cpu"] for n, one in found.items()}
    every = requests_of(deepseek, range(26))
    assert on_cpu == {0: 0, 1: 0, 2: requests_of(deepseek, range(1)), 27: every, 99: every}
    assert found[0]["total_ps"] == found[1]["total_ps"] and found[27]["total_ps"] == found[99]["total_ps"]


CONFIGS: dict[str, tuple[dict[str, Any], list[int], dict[int, int]]] = {  # config.json, blocks with experts, N -> layers on the CPU
    "every second block": (
        {"model_type": "qwen3_moe", "num_hidden_layers": 48, "decoder_sparse_step": 2, "num_experts": 8, "intermediate_size": 128},
        list(range(1, 48, 2)), {0: 0, 1: 0, 2: 1, 24: 12, 47: 23, 48: 24, 99: 24},
    ),
    "three dense blocks, and one for further tokens": (
        {"model_type": "deepseek_v3", "num_hidden_layers": 6, "first_k_dense_replace": 3, "num_nextn_predict_layers": 1,
         "n_routed_experts": 8, "n_shared_experts": 1, "intermediate_size": 128, "kv_lora_rank": 16, "q_lora_rank": 32,
         "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16},
        [3, 4, 5], {3: 0, 4: 1, 6: 3, 7: 3},
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_fault_05_an_imported_model_knows_its_blocks(
    play: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    config, blocks, wanted = CONFIGS[name]
    usual = {
        "hidden_size": 64, "vocab_size": 100, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({**usual, **config}))
    model = tmp_path / "model.yaml"
    assert main(["model", "import", str(tmp_path / "config.json"), "--out", str(model)]) == 0
    capsys.readouterr()
    words = (
        "--hw",
        "rtx_4090",
        "--trace",
        str(recorded(tmp_path, blocks, 8, 2, str(model))),
        "--model",
        str(model),
        "--budget",
        "100%",
    )
    for n, layers in wanted.items():
        found = play(*words, "--placement", f"n_cpu_moe={n}")["decode"]
        assert found["on_cpu"] == requests_of(words, range(layers)), n


# --- laws -----------------------------------------------------------------------------------------------------------


PLACEMENTS = ("n_cpu_moe=0", "n_cpu_moe=5", "n_cpu_moe=40", "popular=30%", "random=80%", "random=0%")


@pytest.mark.parametrize("hw", ["rtx_4090", "strix_halo"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_fault_04_all_memories_together_hold_every_expert_once(
    play: Play, deepseek: tuple[str, ...], hw: str, placement: str
):
    words = ("--hw", hw, *deepseek[2:], "--placement", placement)
    for plan in (("--budget", "100%"), ("--eviction", "everything")):
        found = play(*words, *plan)
        held = [found["memory_bytes"], *found["other_memory_bytes"].values()]
        experts = sum(one.get("experts", 0) + one.get("experts of the CPU", 0) for one in held)
        assert experts == 26 * layer_bytes("deepseek-v2-lite", "q4_k")
        rate = found["decode"]["hit_rate"]
        assert plan[0] == "--budget" or rate == (None if found["memory_bytes"]["experts"] == 0 else 1)


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["n_cpu_moe=14", "popular=50%"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_fault_04_more_budget_never_hits_less(play: Play, deepseek: tuple[str, ...], placement: str, scope: str):
    found = [
        play(*deepseek, "--placement", placement, "--scope", scope, "--timeline", "serial", "--budget", f"{percent}%")
        for percent in (20, 30, 45, 60, 80, 100)
    ]
    found.append(play(*deepseek, "--placement", placement, "--timeline", "serial", "--eviction", "everything"))
    for less, more in pairwise(found):
        assert less["hits"] <= more["hits"] and less["tok_s"] <= more["tok_s"]


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["n_cpu_moe=0", "n_cpu_moe=1", "popular=100%", "random=100%"])
@pytest.mark.parametrize(
    "plan", [("--budget", "30%"), ("--eviction", "everything"), ("--budget", "30%", "--scope", "layer")]
)
def test_fault_04_a_placement_of_nothing_is_no_placement(
    play: Play, deepseek: tuple[str, ...], placement: str, plan: Any
):
    one, other = numbers(play(*deepseek, *plan)), numbers(play(*deepseek, *plan, "--placement", placement))
    for said in (one, other):
        said.pop("notes", None)  # what a placement streams, whose text it counts
    assert one == other


def noted(found: dict[str, Any], words: str) -> list[str]:
    return [note for note in found.get("notes", ()) if words in note]


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["n_cpu_moe=1", "n_cpu_moe=2", "popular=97%", "random=97%"])
def test_fault_04_a_placement_that_leaves_no_expert_to_the_cpu_says_so(play: Play, placement: str):
    """The model's blocks with experts are 2, 5, 8 and 11, and 97 % of 8 experts are all 8."""
    words = ("--hw", "rtx_4090", "--trace", "oracle-4x8", "--tokens", 200, "--budget", "25%")
    found = play(*words, "--placement", placement)
    (note,) = noted(found, "leaves no expert to the CPU")
    assert note.startswith(placement) and ("first block with experts is number 2" in note) == ("n_cpu" in note)
    assert found["decode"]["placed"] == 0 and found["tok_s"] == play(*words)["tok_s"]
    assert not noted(play(*words, "--placement", "n_cpu_moe=3"), "leaves no expert")


@pytest.mark.slow
@pytest.mark.parametrize("other", ["switch-4x8", "oracle-4x8-seed1"])
def test_fault_04_use_counted_in_a_trace_of_other_weights_says_so(play: Play, other: str):
    """Expert 3 of a model that was trained apart is another expert: what its trace uses most says nothing of this one."""
    words = ("--hw", "rtx_4090", "--trace", "oracle-4x8", "--tokens", 200, "--budget", "25%")
    (note,) = noted(play(*words, "--placement", f"popular=50%:{other}"), "another model")
    assert note.startswith(f"popular=50%:{other} counts the experts of another model")
    for same in ("popular=50%:oracle-4x8", "popular=50%:first=20%", "popular=50%"):
        assert not noted(play(*words, "--placement", same), "another model")
