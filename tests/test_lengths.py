"""Prompts and answers of lengths that are asked for: from a trace, whose rows are taken, or drawn without one."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.play.guess import guess
from simmoe.play.lengths import Lengths, recorded, requests_of
from simmoe.play.scenario import Scenario
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import DECODE, PREFILL
from simmoe.workloads.format import trace as traces

MODEL = {"model": "qwen3-30b-a3b", "format": "q4_k"}
WHOLE = {"hw": "rtx_3060", **MODEL, "placement": "n_cpu_moe=30"}  # all fits: 18 layers on the GPU, 30 on the CPU


def played(capsys, *words: str) -> dict:
    assert main(["run", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# --- from a trace -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def oracle():
    return traces.load("oracle")


def expected(trace, prompt: int, generate: int, sequences: int) -> list[int]:
    """Rows of the trace that the requests are made of, by a program that walks."""
    order, starts = [], []
    for sequence in dict.fromkeys(trace.sequence.tolist()):
        starts.append(len(order))
        order += [row for row in range(trace.n_tokens) if trace.sequence[row] == sequence]
    found = []
    for request in range(sequences):
        at = starts[request % len(starts)]
        for _ in range(prompt + generate):
            found.append(order[at % len(order)])
            at += 1
    return found


@pytest.mark.parametrize(("prompt", "generate", "sequences"), [(5, 3, 2), (0, 9, 3), (7, 0, 1), (40, 400, 60)])
def test_requests_are_the_rows_of_the_trace(oracle, prompt, generate, sequences):
    made, _ = requests_of(oracle, prompt, generate, sequences)
    assert np.array_equal(made.expert_ids, oracle.expert_ids[expected(oracle, prompt, generate, sequences)])
    each = [PREFILL] * bool(prompt) + [DECODE] * generate
    assert made.phase.tolist() == each * sequences
    sizes = [prompt] * bool(prompt) + [1] * generate
    assert np.diff(made.pass_ptr).tolist() == sizes * sequences
    assert made.position.tolist() == list(range(prompt + generate)) * sequences
    assert made.sequence.tolist() == [i for i in range(sequences) for _ in range(prompt + generate)]
    traces.check(made)


def test_what_was_reused_is_said(oracle):
    held = int((oracle.sequence == oracle.sequence[0]).sum())
    prompts = int((np.repeat(oracle.phase, np.diff(oracle.pass_ptr))[:held] == PREFILL).sum())
    _, none = requests_of(oracle, prompts, held - prompts, 1)
    assert none == ()
    _, (line,) = requests_of(oracle, prompts + 4, held - prompts - 4, 1)
    assert f"4 of {prompts + 4} prompt tokens were recorded in decoding" in line and "again" not in line
    _, (line,) = requests_of(oracle, prompts - 4, held - prompts + 4, 1)
    assert f"4 of {held - prompts + 4} generated tokens were recorded in prompts" in line
    _, (line,) = requests_of(oracle, prompts, held - prompts + 1, 1)
    assert "1 of 1 requests go on with the next of the 49 sequences" in line
    _, (line,) = requests_of(oracle, 0, oracle.n_tokens + 5, 1)
    assert f"5 of the {oracle.n_tokens + 5:,} tokens that are asked for are played again" in line


def test_the_lengths_of_the_trace_itself_give_its_first_sequences(oracle):
    held = int((oracle.sequence == oracle.sequence[0]).sum())
    prompt = int(oracle.pass_ptr[np.flatnonzero(oracle.phase == DECODE)[0]])
    base = {"budget": "25%", "start": "cold"}
    asked = simmoe.run("a100", "oracle", prompt=prompt, generate=held - prompt, **base)
    plain = simmoe.run("a100", "oracle", tokens=held, **base)
    assert np.array_equal(asked.workload.trace.expert_ids, plain.workload.trace.expert_ids)
    assert (asked.tok_s, asked.ttft_s["first"], asked.hits) == (plain.tok_s, plain.ttft_s["first"], plain.hits)


def test_verify_passes_stay_together(oracle):
    kept = replace(oracle, emitted=np.ones(oracle.n_tokens, np.int8), meta={**oracle.meta, "digest": None})
    for lengths, said in ((Lengths(4, 5, None, None), "--prompt 4"), (Lengths(None, 5, None, None), "--generate 5")):
        with pytest.raises(UserError, match=rf"^{said} makes other passes .* \(emitted\).* leave {said[:-2]} out$"):
            recorded(kept, lengths)


# --- depth and positions -------------------------------------------------------------------------------------------------


def test_a_depth_is_attended_and_reserved():
    base = {"budget": "25%", "tokens": 300}
    flat, deep = (simmoe.run("a100", "switch", depth=depth, **base) for depth in (None, 8192))
    assert np.array_equal(deep.workload.trace.position, flat.workload.trace.position + 8192)
    each = flat.workload.model.kv_bytes_per_position
    assert deep.memory_bytes["kv"] - flat.memory_bytes["kv"] == 8192 * each
    assert (deep.hits, deep.bytes) == (flat.hits, flat.bytes) and deep.tok_s < flat.tok_s


@pytest.mark.slow
def test_k_is_1024_positions(capsys):
    base = ["--hw", "a100", "--trace", "switch", "--tokens", "64", "--budget", "25%"]
    assert played(capsys, *base, "--context", "32k") == played(capsys, *base, "--context", "32768")
    assert played(capsys, *base, "--depth", "2K") == played(capsys, *base, "--depth", "2048")
    assert main(["run", *base, "--context", "1.5k"]) == 2
    assert "--context '1.5k' is no number of positions" in capsys.readouterr().err


# --- without a trace ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_without_a_trace_routing_is_drawn_and_labelled(capsys):
    result = played(capsys, "--hw", "rtx_3060", "--model", "qwen3-30b-a3b", "--format", "q4_k", "--budget", "25%")
    assert result["prefill"]["requests"] > 0 and result["scenario"]["trace"]["tokens"] == 512 + 128
    assert any(note.startswith("Routing is synthetic, drawn from") for note in result["notes"])
    routing = result["routing"]
    assert routing["routing"] == result["scenario"]["routing"] and not routing["exact"]
    low, high = routing["tok_s"]
    assert low <= result["tok_s"] <= high and low < high and result["band"] is not None


@pytest.mark.slow
def test_no_budget_is_one_run_of_what_the_device_holds(capsys):
    words = [word for name, value in WHOLE.items() for word in (f"--{name}", value)]
    result = played(capsys, *words)
    assert result["start"] == "warm" and result["cold_misses"] == 0 and result["routing"]["exact"]
    assert result["prompt_tok_s"] == pytest.approx(512 / result["ttft_s"]["first"])


@pytest.mark.slow
@pytest.mark.parametrize("routing", ["uniform", "like:mixtral"])
def test_decoding_of_whole_layers_does_not_depend_on_routing(routing):
    one, other = simmoe.run(**WHOLE), simmoe.run(**WHOLE, routing=routing, seed=5)
    decode = one.decode_passes
    assert np.array_equal(one.pass_ps[decode], other.pass_ps[decode])
    assert not np.array_equal(one.workload.trace.expert_ids, other.workload.trace.expert_ids)
    found = guess(Scenario(**WHOLE), one)
    assert found.exact and found.tok_s[0] == found.tok_s[1] == one.tok_s


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"batch": 2},
        {"placement": "random=50%"},
        {"placement": None, "budget": "25%"},
    ],
    ids=str,
)
def test_what_depends_on_routing_is_not_called_exact(change):
    scenario = Scenario(**{**WHOLE, **change})
    found = guess(scenario, simmoe.run(scenario))
    assert not found.exact and found.tok_s[0] < found.tok_s[1]


def test_that_a_text_loads_nothing_does_not_make_it_exact():
    """Behind its warm-up this one hits always; another one would not."""
    scenario = Scenario(
        "a100", model="mixtral-8x7b", format="q4_k", budget="80%", routing="like:llama-moe-v2", warm_up=636
    )
    run = simmoe.run(scenario)
    found = guess(scenario, run)
    assert run.counts.bytes == 0 and not found.exact and 5 * found.tok_s[0] < run.tok_s


def test_a_batch_without_a_trace_is_so_many_rows():
    run = simmoe.run(**WHOLE, batch=4, prompt=32, generate=8)
    trace = run.workload.trace
    assert np.diff(trace.pass_ptr).tolist() == [32] * 4 + [4] * 8
    assert run.emitted == 32 and len(np.unique(trace.sequence)) == 4


@pytest.mark.parametrize(("said", "requests"), [({}, 1), ({"max_batch": 3}, 3), ({"max_batch": 2, "requests": 5}, 5)])
def test_without_a_trace_requests_arrive(said, requests):
    words = {"hw": "rtx_3060", "model": "olmoe-1b-7b", "prompt": 24, "generate": 6, "depth": 100}
    run = simmoe.run(**words, schedule="continuous", arrivals="every:1ms", **said)
    trace, served = run.workload.trace, run.to_json()["requests"]
    assert served["n"] == requests == len(np.unique(trace.sequence))
    assert served["tokens"] == requests * 7  # the end of the prompt gives one, and each of six decoded rows
    assert int((trace.phase == PREFILL).sum()) == requests and trace.n_tokens == requests * 30
    assert np.diff(trace.pass_ptr).max() == 24 and trace.position.min() == 100
    assert np.diff(trace.pass_ptr)[trace.phase == DECODE].max() <= said.get("max_batch", 1)
    assert any(note.startswith("Routing is synthetic") for note in run.notes)


def test_requests_of_a_trace_take_the_lengths_that_are_asked_for(oracle, capsys):
    words = ["--hw", "a100", "--trace", "oracle", "--budget", "25%", "--schedule", "continuous", "--max-batch", "4"]
    all_of = played(capsys, *words, "--prompt", "6", "--generate", "2")
    assert all_of["requests"]["n"] == len(np.unique(oracle.sequence))
    found = simmoe.run(
        "a100", "oracle", budget="25%", schedule="continuous", max_batch=4, prompt=6, generate=2, requests=3
    )
    rows = np.concatenate([found.workload.trace.expert_ids[found.workload.trace.sequence == one] for one in range(3)])
    assert np.array_equal(rows, oracle.expert_ids[expected(oracle, 6, 2, 3)])
    assert found.to_json()["scenario"]["requests"] == 3


@pytest.mark.slow
def test_without_a_trace_a_run_is_saved_compared_and_swept(tmp_path, capsys):
    file = str(tmp_path / "s.yaml")
    words = ["--hw", "rtx_3060", "--model", "olmoe-1b-7b", "--prompt", "64", "--generate", "16", "--budget", "25%"]
    first = played(capsys, *words, "--save", file)
    assert played(capsys, file) == first
    assert main(["compare", *words, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    plain = {key: value for key, value in first.items() if key not in ("routing", "band")}
    assert row["run"] == plain
    space = {
        "schema": 1, "name": "drawn", "hw": "rtx_3060", "model": "olmoe-1b-7b", "prompt": 64, "generate": 16, "budget": ["25%", "50%"],
        "routing": ["uniform", "like:mixtral"], "objectives": {"tok_s": "maximize"},
    }  # fmt: skip
    trials = simmoe.sweep(space, sampler="grid").trials
    assert len(trials) == 4 and len({trial.values[0] for trial in trials}) == 4
    command = trials[0].user_attrs["command"].split()[2:]
    assert played(capsys, *command)["tok_s"] == trials[0].values[0]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--hw a100", r"--trace and --model are missing: name a model"),
        ("--hw a100 --trace switch --routing uniform", r"--routing uniform is drawn where there is no trace"),
        ("--hw a100 --model olmoe-1b-7b --prompt 0 --generate 0", r"--prompt 0 --generate 0 plays nothing"),
        ("--hw a100 --model olmoe-1b-7b --routing likely", r"routing.*likely"),
        ("--hw a100 --trace switch --prompt -1", r"--prompt -1 is no number of tokens"),
        ("--hw a100 --trace switch --depth 2147483600", r"--depth 2147483600 ends at position 2,147,4"),
        ("--hw a100 --trace switch --prompt 8 --schedule continuous --batch 2", r"--max-batch says how many"),
        ("--hw a100 --trace switch --prompt 8 --requests 2", r"--requests 2 arrive under a clock-driven schedule"),
        (
            "--hw a100 --trace switch --schedule continuous --requests 2",
            r"the requests of this trace are its own sequences",
        ),
    ],
)
def test_what_cannot_be_asked_is_one_line(words, line, capsys):
    assert main(["run", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and re.search(line, err), err


@pytest.mark.slow
def test_a_smaller_cache_is_named_where_it_would_fit(capsys):
    words = ["--hw", "rtx_3060", "--model", "qwen3-30b-a3b", "--format", "q4_k", "--placement", "n_cpu_moe=48"]
    words += ["--context", "128k", "--prompt", "8", "--generate", "2"]
    assert main(["run", *words]) == 2
    assert "what would fit: --kv-format q8_0, or --context" in capsys.readouterr().err
    found = played(capsys, *words, "--kv-format", "q8_0")
    assert found["memory_bytes"]["kv"] == 48 * 131072 * 2 * 4 * 128 * 34 // 32
