"""Prompts that pass through several cards at once under llama.cpp: the order in which its scheduler hands out parts of passes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import simmoe
from simmoe import hardware_profiles
from simmoe.cli.main import main
from simmoe.play.confidence import band
from simmoe.play.pipeline import COPIES, prompts
from simmoe.play.result import Run
from simmoe.policies import runtime as runtimes
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.simulator.pipeline import ends_ps
from simmoe.simulator.runtime_costs import RuntimeCosts
from simmoe.simulator.time import compile as compiled

ENGINES = ["simpy", "plain"] + ["fast"] * (not compiled.missing())
SMALL = {"model": "gpt-oss-20b", "format": "MXFP4_MOE", "runtime": "llama_cpp_cuda", "prompt": 1500, "generate": 4}
TWO, THREE = "rtx_5090+rtx_3090+ddr5_6000_2ch", "rtx_5090+rtx_3090+rtx_5090+ddr5_6000_2ch"
PASSES = st.integers(1, 5).flatmap(
    lambda cards: st.lists(st.lists(st.integers(0, 60), min_size=cards, max_size=cards), min_size=1, max_size=9)
)


def ended(parts: list[list[int]], message: int, copies: int, peer: bool) -> list[int]:
    return ends_ps(np.array(parts, np.int64), np.full(len(parts), message, np.int64), copies, peer).tolist()


def oracle(parts: list[list[int]], message: int, copies: int, peer: bool) -> list[int]:
    """Written again, backwards: what each part waits for."""
    last = len(parts[0]) - 1

    @cache
    def handed(number: int, card: int) -> int:
        """When the host gives a card its part: behind the part before, the pass whose inputs it overwrites, and what it carries itself."""
        before = (number, card - 1) if card else (number - 1, last)
        waits = [handed(*before)] if before[0] >= 0 else [0]
        waits += [end(number - copies, card)] if number >= copies else []
        waits += [end(number, card - 1) + message] if card and not peer else []
        return max(waits)

    @cache
    def end(number: int, card: int) -> int:
        waits = [handed(number, card)]
        waits += [end(number, card - 1) + message] if card else []
        waits += [end(number - 1, card) + message * (peer and card < last)] if number else []
        return max(waits) + parts[number][card]

    return [end(number, last) for number in range(len(parts))]


@given(PASSES, st.integers(0, 20), st.integers(2, 6), st.booleans())
@example([[5, 1], [5, 1]], 3, 4, True)  # a card that sends is not free
@example([[1, 5], [1, 5], [1, 5], [1, 5]], 3, 2, False)  # the host waits for the second card
def test_parts_wait_for_what_the_scheduler_waits_for(parts, message, copies, peer):
    assert ended(parts, message, copies, peer) == oracle(parts, message, copies, peer)


@given(PASSES, st.integers(0, 20), st.integers(1, 6), st.booleans())
def test_it_lies_between_the_busiest_card_and_one_pass_at_a_time(parts, message, copies, peer):
    serial = ended(parts, message, 1, peer)
    assert serial == np.cumsum([sum(one) + message * (len(one) - 1) for one in parts]).tolist()
    found = ended(parts, message, copies, peer)
    assert all(one <= other for one, other in zip(found, serial))
    assert found[-1] >= max(map(sum, zip(*parts)))
    assert all(one <= other for one, other in pairwise(found))
    if len(parts) == 1 or len(parts[0]) == 1:
        assert found == serial


@given(PASSES, st.integers(0, 20), st.integers(1, 6), st.booleans())
def test_no_pass_ends_later_with_more_copies_or_with_peer_access(parts, message, copies, peer):
    found = ended(parts, message, copies, peer)
    assert all(one <= other for one, other in zip(ended(parts, message, copies + 1, peer), found))
    assert all(one <= other for one, other in zip(ended(parts, message, copies, True), found))


@given(st.integers(1, 40), st.integers(2, 4), st.integers(1, 100))
def test_equal_parts_have_a_closed_form(passes, cards, part):
    parts = [[part] * cards] * passes
    assert ended(parts, 0, 4, True)[-1] == (passes + cards - 1) * part
    assert ended(parts, 0, 4, False)[-1] == (passes * (cards - 1) + 1) * part


def test_a_copy_is_overwritten_when_its_card_has_used_it():
    """The last card is the slow one: the first two may run ahead by as many passes as there are copies."""
    parts = [[1, 1, 100]] * 6
    assert ended(parts, 0, 2, True) == ended(parts, 0, 4, True)  # the slow card never waits
    slow_first = [[1, 100, 1]] * 6
    assert ended(slow_first, 0, 4, False)[-1] == 6 * 100 + 6 + 1


@pytest.mark.parametrize(
    ("cards", "passes", "peer", "measured"),
    [
        (2, 64, False, 593.65 / 317.68),  # Tesla P40, LostRuins/koboldcpp#1059: 32,668 tokens in passes of 512
        (3, 64, False, 463.35 / 317.68),
        (4, 4, True, 1478.12 / 793.17),  # Instinct MI50, ggml-org/llama.cpp#20793: with it, and a build without
        (4, 8, True, 1822.28 / 798.87),
    ],
)
def test_measured_gains_are_most_of_what_the_order_allows(cards, passes, peer, measured):
    """Equal cards take equal parts; messages, the head, unequal layers and what the host takes are left out."""
    gain = passes * cards / ended([[1] * cards] * passes, 0, 4, peer)[-1]
    assert 0.75 * gain < measured < 1.01 * gain
    other = passes * cards / ended([[1] * cards] * passes, 0, 4, not peer)[-1]
    if cards > 2:  # two cards do not tell the kinds of messages apart
        assert abs(measured / other - 1) > abs(measured / gain - 1)


# --- in runs ------------------------------------------------------------------------------------------------------------


def play(hw: object = TWO, **options: object) -> Run:
    return simmoe.run(hw, **{**SMALL, **options})


def one_at_a_time(name: str = "llama_cpp_cuda") -> Runtime:
    runtime = runtimes.load(name)
    constant = replace(runtime.constants[COPIES], value=1.0)
    return replace(runtime, constants={**runtime.constants, COPIES: constant})


def parts_of(run: Run) -> list[list[int]]:
    """Of each prompt pass, by the costs of machines of each card alone."""
    workload = run.workload
    model, trace, owners = workload.model, workload.trace, workload.owners
    each = [RuntimeCosts(workload.hw.alone(n), model, trace, workload.runtime) for n in range(len(workload.hw.devices))]
    found = []
    for number in np.flatnonzero(~run.decode_passes):
        size, total = each[0].sizes[number], [0] * len(each)
        total[owners[-1]] += each[owners[-1]].head_piece(size).ps
        for layer, owner in zip(model.layers, owners):
            total[owner] += sum(piece.ps for piece in each[owner].dense_pieces(layer, size))
        for column, layer in enumerate(model.moe_layers):
            costs, rows = each[owners[layer]], slice(*trace.pass_ptr[number : number + 2])
            ids = trace.expert_ids[rows, column]
            total[owners[layer]] += costs.experts(column, len(np.unique(ids)), ids.size, costs.law(size)).ps
        found.append(total)
    return found


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("hw", [TWO, THREE, "2xrtx_5090:pcie5_x16_p2p"])
def test_the_passes_of_a_prompt_end_when_the_order_says(hw, engine):
    run = play(hw, engine=engine)
    fabric, width = run.workload.hw.fabric, run.workload.model.width
    sizes = np.diff(run.workload.trace.pass_ptr)[:3].tolist()
    assert sizes == [512, 512, 476]
    messages = np.array([fabric.latency_ps - (-4 * n * width * 10**12 // fabric.bytes_per_s) for n in sizes])
    assert fabric.peer == ("p2p" in str(hw))
    assert run.clocks.end_ps[:3].tolist() == ends_ps(np.array(parts_of(run)), messages, 4, fabric.peer).tolist()
    assert run.ttft_s["first"] == run.clocks.end_ps[2] / 1e12


@pytest.mark.parametrize("hw", [TWO, THREE])
def test_only_prompts_are_shorter(hw):
    found, serial = play(hw), play(hw, runtime=one_at_a_time())
    decoded = found.decode_passes
    assert found.pass_ps[decoded].tolist() == serial.pass_ps[decoded].tolist()
    assert found.pass_ps[~decoded].sum() < serial.pass_ps[~decoded].sum()
    assert found.where_ps() == serial.where_ps()
    shorter = serial.pass_ps - found.pass_ps
    assert found.clocks.overlapped_ps.tolist() == shorter.tolist() and shorter[0] == 0 and shorter[decoded].max() == 0
    assert ends_ps(np.array(parts_of(found)), np.zeros(3, np.int64), 1, False)[-1] < serial.clocks.end_ps[2]


@pytest.mark.parametrize(
    "options",
    [
        {"placement": "n_cpu_moe=1"},
        {"kv_offload": False},
        {"gpu_layers": 12},
        {"model": "deepseek-v2-lite", "format": "Q4_K_M", "gpu_layers": 27},  # the CPU's layer has no routed experts
        {"prompt": 512},
        {"microbatch": 1500},
        {"hw": "rtx_5090+ddr5_6000_2ch"},
        {"timeline": "serial"},
    ],
)
def test_what_does_not_overlap_is_as_it_was(options):
    found, serial = play(**options), play(**options, runtime=one_at_a_time())
    assert found.clocks == serial.clocks and not len(found.clocks.overlapped_ps[found.clocks.overlapped_ps > 0])
    assert not any("at once" in note for note in found.notes)


def test_blocks_of_none_on_the_cpu_change_nothing():
    assert play(placement="n_cpu_moe=0").pass_ps.tolist() == play().pass_ps.tolist()


def test_ik_llama_cpp_reads_one_pass_at_a_time():
    """Its builds have a single copy (ikawrakow/ik_llama.cpp#751)."""
    run = play(runtime="ik_llama_cpp")
    assert not len(run.clocks.overlapped_ps) and not any("at once" in note for note in run.notes)


def test_all_engines_agree():
    made = [play(THREE, engine=engine).to_json() for engine in ENGINES]
    for one in made:
        one.pop("engine")
    assert all(json.dumps(one) == json.dumps(made[0]) for one in made)


def test_prompts_do_not_overlap_each_other(tmp_path):
    """Two sequences, each read in two passes: the second begins when the first has been answered, or has at least been read."""
    for generate, groups in ((2, [(0, 2), (4, 6)]), (0, [(0, 2), (2, 4)])):
        file = tmp_path / f"{generate}.npz"
        simmoe.save_trace(_two_sequences(generate), file)
        run = play(trace=file, prompt=None, generate=None)
        assert prompts(run.workload) == groups
        alone = play(trace=file, prompt=None, generate=None, runtime=one_at_a_time())
        first = [begin for begin, _ in groups]
        assert run.pass_ps[first].tolist() == alone.pass_ps[first].tolist()


def _two_sequences(generate: int) -> simmoe.Trace:
    model = simmoe.load_model("gpt-oss-20b")
    rows, n = [700 + generate] * 2, len(model.moe_layers)
    rng = np.random.default_rng(3)
    passes = ([512, 188] + [1] * generate) * 2
    return simmoe.Trace(
        expert_ids=np.argsort(rng.random((sum(rows), n, 32)), axis=2)[:, :, :4].astype(np.int16),
        layer_index=np.array(model.moe_layers, np.int16), pass_ptr=np.cumsum([0, *passes]),
        phase=np.array(([0, 0] + [1] * generate) * 2, np.int8), sequence=np.repeat(np.arange(2, dtype=np.int32), rows),
        position=np.tile(np.arange(rows[0], dtype=np.int32), 2), meta={"n_experts": 32, "model": "gpt-oss-20b"},
    )  # fmt: skip


def test_the_slow_end_has_one_pass_at_a_time():
    run, serial = play(), play(runtime=one_at_a_time())
    sure = band(run)
    assert sure is not None and sure.prompt is not None and run.prompt_tok_s is not None
    assert sure.prompt[0] < serial.prompt_tok_s < run.prompt_tok_s < sure.prompt[1]
    assert runtimes.load("llama_cpp_cuda").slowest.of(COPIES) == 1
    assert any(note.startswith("Up to 4 passes of a prompt are on the cards at once") for note in run.notes)


def test_launches_that_overlap_are_not_drawn(tmp_path, capsys):
    words = (
        f"run --hw {TWO} --model gpt-oss-20b --format MXFP4_MOE --runtime llama_cpp_cuda --generate 2 --prompt".split()
    )
    words = [*words[:1], "--perfetto", str(tmp_path / "out.json"), *words[1:]]
    assert main([*words, "600"]) == 2
    assert "several passes of a prompt on its cards at once: leave it out" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
    assert main([*words, "100"]) == 0


def test_cards_of_one_box_have_no_peer_access_and_a_fabric_says_so():
    assert not hardware_profiles.load(TWO).fabric.peer
    assert not hardware_profiles.load("2xrtx_5090:pcie5_x8").fabric.peer
    assert hardware_profiles.load("2xh100:nvlink4").fabric.peer
