"""simmoe plan over several cards: splits of the layers beside all that one card lets one set, and the name that Python has for it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.play.cards_fit import split_that_fits
from simmoe.play.plan_cards import LlamaCards
from simmoe.play.plan_llama import LlamaCpp
from simmoe.play.plan_search import Search
from simmoe.play.scenario import Scenario
from simmoe.policies.flags import read
from simmoe.simulator.errors import DoesNotFit, UserError

HOST = "ddr5_6000_2ch"
LARGE = {"model": "gpt-oss-120b", "format": "MXFP4_MOE"}
SMALL = {"model": "gpt-oss-20b", "format": "MXFP4_MOE"}


def search(gpu: str, goal: str = "both", context: int = 8192, **model: str) -> Search:
    return Search(Scenario(f"{gpu}+{HOST}", runtime="llama_cpp_cuda", **model), goal, context)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gpu", "model", "goal"),
    [("rtx_3090+rtx_3090", LARGE, "both"), ("rtx_5090+rtx_5090", LARGE, "prompt"), ("rtx_3060+rtx_5090", SMALL, "decode"),
     ("rtx_3060+rtx_3060+rtx_3060", LARGE, "decode")],
)  # fmt: skip
def test_a_command_line_says_what_was_played(gpu, model, goal):
    """Its flags, read back, play as fast as the line says, and take as much memory."""
    found = simmoe.plan(hw=f"{gpu}+{HOST}", goal=goal, **model)
    for choice in found.choices:
        said = read("llama.cpp", choice.command.partition(" ")[2])
        assert said.gpu_layers == 999 and (said.cpu_moe_blocks or 0) == choice.setup.away
        flags = choice.command.partition("YOUR.gguf ")[2]
        run = simmoe.run(
            f"{gpu}+{HOST}",
            **model,
            runtime="llama_cpp_cuda",
            prompt=4096,
            generate=16,
            flags=flags,
            eviction="everything",
        )
        assert run.tok_s == pytest.approx(choice.decode.value, rel=1e-3)
        assert run.prompt_tok_s == pytest.approx(choice.prompt.value, rel=5e-3)
        held = dict(run.memory_bytes)
        assert held.pop("buffers") == choice.device["compute"] and held["total"] == choice.device["total"]
        each = [run.workload.hw.alone(n) for n in range(len(run.workload.hw.devices))]
        room = sum(one.device_memory.capacity_bytes - one.reserved_bytes for one in each)
        assert choice.device_left_bytes == room - held["total"] >= 0


@pytest.mark.slow
def test_no_split_holds_a_block_more():
    found = search("rtx_3090+rtx_3060", goal="decode", **LARGE)
    best = found.best()[0]
    layers = len(found.shapes[None].layers) + 1
    for first in range(layers + 1):
        setup = best._replace(away=best.away - 1, split=f"{first}/{layers - first}")
        assert found.space.free(setup) < 0
        with pytest.raises(UserError, match="short are"):
            simmoe.run(
                f"rtx_3090+rtx_3060+{HOST}", **LARGE, runtime="llama_cpp_cuda", prompt=8, generate=1, context=8192,
                microbatch=best.microbatch, placement=f"n_cpu_moe={setup.away}", tensor_split=setup.split,
            )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("gpu", ["rtx_4070+rtx_3060", "rtx_3060+rtx_4070"])
def test_no_split_decodes_faster(gpu):
    """Of two unequal cards the faster one takes as much as it holds, whichever is named first."""
    found = search(gpu, goal="decode", **SMALL)
    best, layers = found.best()[0], len(found.shapes[None].layers) + 1
    assert best.away == 0
    speeds = []
    for first in range(layers + 1):
        setup = best._replace(split=f"{first}/{layers - first}")
        if found.space.free(setup) >= 0:
            speeds.append(found.played(setup, True).tok_s)
    assert len(speeds) > 2 and found.played(best, True).tok_s == pytest.approx(max(speeds), rel=1e-9)
    assert found.played(best, True).tok_s > 1.05 * min(speeds)


def test_splits_are_those_that_fit_each_once():
    found = search("rtx_5090+rtx_3090", **SMALL)
    for setup in found.candidates():
        assert found.space.memory(setup).whole
    splits = {one.split for one in found.candidates() if one.microbatch == 512}
    assert splits == {None, "25/0", "0/25"}
    equal = search("rtx_3090+rtx_3090", **LARGE)
    assert all(
        one.split for one in equal.candidates() if one.away
    )  # the equal split wastes a card beside blocks on the CPU
    assert isinstance(equal.space, LlamaCards) and type(equal.space.on(equal.hw.alone(0))) is LlamaCpp


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("gpu", "model", "blocks"),
    [("rtx_3060+rtx_3090", SMALL, 0), ("rtx_3060+rtx_3060+rtx_3060", LARGE, 24), ("rtx_5090+rtx_3060+rtx_3090", LARGE, 12),
     ("rtx_3060+rtx_3060", LARGE, 0)],
)  # fmt: skip
def test_a_card_takes_as_many_layers_as_it_holds_tried_one_by_one(gpu, model, blocks, last):
    workload = Scenario(
        f"{gpu}+{HOST}", runtime="llama_cpp_cuda", placement=f"n_cpu_moe={blocks}", prompt=1, generate=1, **model
    ).workload()  # fmt: skip
    left = workload.memory.with_blocks(blocks).left

    def short(counts: list[int], card: int) -> bool:
        memory = workload.split("/".join(map(str, counts))).memory
        one = replace(memory, left=left).each[card]
        return one.left_bytes > one.room_bytes

    cards, all_layers = len(workload.hw.devices), len(workload.model.layers) + 1
    order = list(range(cards))[:: -1 if last else 1]
    counts, rest = [0] * cards, all_layers
    for card in order[:-1]:
        of = {
            n: [n if i == card else rest - n if i == order[-1] else m for i, m in enumerate(counts)]
            for n in range(rest + 1)
        }
        counts[card] = next((n for n in range(rest, -1, -1) if not short(of[n], card)), 0)
        rest -= counts[card]
    counts[order[-1]] = rest
    found = split_that_fits(workload, left, last)
    assert found == (None if short(counts, order[-1]) else "/".join(map(str, counts)))
    assert (found is None) == (gpu == "rtx_3060+rtx_3060")


@pytest.mark.slow
def test_passes_of_a_prompt_overlap_where_nothing_is_the_cpus():
    """So the prompt is played whole: its middle alone would be one card after the other."""
    found = search("rtx_5090+rtx_5090", goal="prompt", **LARGE)
    choice = found.best()[0]
    run = found.played(choice, False)
    assert run.workload.trace.n_tokens == 4096 and run.clocks.overlapped_ps.sum() > 0


@pytest.mark.slow
def test_python_has_the_same_name(capsys):
    assert (
        main(["plan", "gpt-oss-120b", "--format", "MXFP4_MOE", "--gpu", "rtx_3060+rtx_3060", "--host", HOST, "--json"])
        == 0
    )
    printed = json.loads(capsys.readouterr().out)
    found = simmoe.plan("gpt-oss-120b", gpu="rtx_3060+rtx_3060", host=HOST, format="MXFP4_MOE")
    assert json.loads(json.dumps(found.to_json())) == printed
    assert [one["command"] for one in found.records()] == [one["command"] for one in printed["best"]]
    assert printed["best"][0]["tensor_split"] is None or " -ts " in printed["best"][0]["command"]
    assert repr(found).startswith(
        "Simulated: gpt-oss-120b at MXFP4_MOE on rtx_3060+rtx_3060"
    ) and "llama-server" in repr(found)
    more = next(one for one in printed["gains"] if one["what"].startswith("one more GeForce RTX 3060"))
    assert more["hardware"] == f"rtx_3060+rtx_3060+rtx_3060+{HOST}" and more["decode"] > 1.1


@pytest.mark.slow
def test_what_cannot_be_planned_is_one_line():
    for options, why in (
        ({"runtime": "vllm"}, "--runtime vllm is simulated on one device"),
        ({"goal": "fast"}, "--goal fast: known: decode, prompt, both"),
        ({"batch": 2}, "unknown option 'batch'; known: hw, gpu"),
        ({"context": 9}, "give 256 or more positions"),
    ):
        with pytest.raises(UserError, match=why) as told:
            simmoe.plan("gpt-oss-20b", f"rtx_3060+rtx_3060+{HOST}", **options)
        assert "\n" not in str(told.value)
    with pytest.raises(
        DoesNotFit, match=r"does not fit on rtx_3060\+rtx_3060\+ddr5_6000_2ch .*: the experts of the CPU need"
    ):
        simmoe.plan("qwen3-235b-a22b", f"rtx_3060+rtx_3060+{HOST}", format="Q8_0")
