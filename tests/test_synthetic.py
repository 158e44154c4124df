"""Drawn routing: what a twin says comes back in what is drawn from it, and caches cannot tell it from a recording."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from benchmarks import twins
from simmoe.cli.main import main
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.simulator.time import compile as compiled
from simmoe.workloads.format import trace as traces
from simmoe.workloads.format.describe import reuse
from simmoe.workloads.format.plausible import doubts
from simmoe.workloads.synthetic import routing_for, routing_of, twinfile, usual
from simmoe.workloads.synthetic.drawing import draw, spread_evenly
from simmoe.workloads.synthetic.fitting import fit
from simmoe.workloads.synthetic.scaling import cast, scaled, summary
from simmoe.workloads.synthetic.twin import QUANTILES, Twin, depth_ends, uniform
from tests import real_traces
from tests.conftest import make_trace

LAYERS, EXPERTS, K = 3, 16, 2
ENDS = depth_ends(EXPERTS, K)


def planted(**changes: Any) -> Twin:
    """Known weights: a skewed layer, a sticky one, and one whose expert 3 follows expert 5 of the layer before."""
    flat = np.zeros((LAYERS, len(ENDS)))
    flat[1] = np.linspace(2, -2, len(ENDS))
    popularity = np.zeros((LAYERS, EXPERTS))
    popularity[0] = np.linspace(-1.5, 1.5, EXPERTS)
    one = np.zeros((LAYERS, 1))
    twin = Twin(
        "planted", "a test", EXPERTS, K, np.arange(LAYERS), popularity, ENDS, flat, 100.0, np.zeros(LAYERS),
        one.astype(np.int64) + 3, one.astype(np.int64) + 5, one + np.array([[0], [0], [3]]),
    )  # fmt: skip
    return replace(twin, **changes)


def hit_rates(trace: Trace, room: int) -> npt.NDArray[np.float64]:
    """[layers] of an LRU cache of `room` experts for each layer, counted expert by expert; the first 200 tokens only fill it."""
    found = np.zeros(trace.n_layers)
    for layer in range(trace.n_layers):
        resident: dict[int, None] = {}
        hits = total = 0
        for number, row in enumerate(trace.expert_ids[:, layer].tolist()):
            if number >= 200:
                hits, total = hits + sum(expert in resident for expert in row), total + len(row)
            for expert in row:
                resident.pop(expert, None)
                resident[expert] = None
            while len(resident) > room:
                resident.pop(next(iter(resident)))
        found[layer] = hits / total
    return found


def used(trace: Trace, layer: int, expert: int) -> npt.NDArray[np.bool_]:
    flags: npt.NDArray[np.bool_] = (trace.expert_ids[:, layer] == expert).any(1)
    return flags


def numbers_in(data: Any) -> int:
    """How many numbers a file of YAML holds."""
    if isinstance(data, dict | list):
        return sum(numbers_in(one) for one in (data.values() if isinstance(data, dict) else data))
    return type(data) in (int, float)


@pytest.mark.slow
@pytest.mark.parametrize("room", [2, 5, 12])
def test_uniform_routing_hits_by_chance(room: int):
    """A token's experts do not depend on what is resident: each is with probability room / experts."""
    trace = draw(uniform(LAYERS, EXPERTS, K), [0], [4000], 1)
    assert hit_rates(trace, room) == pytest.approx(room / EXPERTS, abs=0.02)
    hit = simmoe.replay(trace, np.ones(LAYERS, np.int64), room * LAYERS, "lru", "layer").hit
    assert hit[200:].mean() == pytest.approx(room / EXPERTS, abs=0.01)


@pytest.mark.slow
def test_popularity_stickiness_and_affinity_are_drawn_as_they_are_planted():
    trace = draw(planted(), [0], [6000], 2)
    rate = np.array([[used(trace, layer, expert).mean() for expert in range(EXPERTS)] for layer in range(LAYERS)])
    # Weights e^-1.5 and e^1.5: for small chances rates are as weights; above, those of the exponential clocks that a draw is.
    clock = -np.log1p(-rate[0])
    assert np.polyfit(np.linspace(-1.5, 1.5, EXPERTS), np.log(clock), 1)[0] == pytest.approx(1, abs=0.1)
    assert rate[1] == pytest.approx(K / EXPERTS, abs=0.04)
    assert hit_rates(trace, K)[1] > 0.4 > 2 * hit_rates(trace, K)[2]
    partner, target = used(trace, 1, 5), used(trace, 2, 3)
    assert target[partner].mean() > 0.6 and target[~partner].mean() == pytest.approx(K / EXPERTS, abs=0.02)
    assert used(trace, 1, 3)[used(trace, 0, 5)].mean() == pytest.approx(rate[1, 3], abs=0.05)


@pytest.mark.slow
def test_topics_last_and_end():
    """A long topic shows in windows of 25 tokens, and is forgotten after a few times its length and at a new sequence."""
    trace = draw(planted(topic_spread=np.full(LAYERS, 1.5), topic_tokens=200.0), [0] * 20, [800] * 20, 3)
    windows = np.array(
        [[used(trace, 2, expert)[at : at + 25].sum() for expert in range(EXPERTS)] for at in range(0, 16000, 25)]
    )
    beyond = windows - windows.mean(0)

    def alike(lag: int, inside: bool = True) -> float:
        pairs = [(i, i + lag) for i in range(len(windows) - lag) if (i // 32 == (i + lag) // 32) == inside]
        return float(np.mean([beyond[i] @ beyond[j] for i, j in pairs]) / np.mean((beyond**2).sum(1)))

    assert alike(1) > 0.5
    assert alike(8) == pytest.approx(alike(1) * np.exp(-7 * 25 / 200), abs=0.12)
    assert abs(alike(1, inside=False)) < 0.2


def test_the_topics_of_one_text_cover_their_distribution_evenly():
    """By length: what an expert has over the whole text scatters half as much as over topics that are drawn one by one, and a flat twin
    uses all experts alike. Each topic by itself is a normal number, and the topics of a short text hardly know of one another."""
    twin = planted(topic_tokens=200.0)

    def texts(tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        several = [spread_evenly(tokens, twin, np.random.default_rng(seed)) for seed in range(200)]
        return np.stack(several).reshape(200, len(tokens), LAYERS * EXPERTS)

    tokens = np.random.default_rng(0).geometric(1 / 200, 24)
    share, long = tokens / tokens.sum(), texts(tokens)
    assert np.tensordot(share, long, (0, 1)).std() < 0.6 * np.sqrt((share**2).sum())
    for number in (0, 7, 23):
        assert long[:, number].mean() == pytest.approx(0, abs=0.04) and long[:, number].std() == pytest.approx(
            1, abs=0.04
        )
        assert (np.abs(long[:, number]) > 1.96).mean() == pytest.approx(0.05, abs=0.01)
    one, other = texts(np.array([200, 200])).swapaxes(0, 1)
    assert (one * other).mean() == pytest.approx(-1 / 15, abs=0.04)
    assert one.std() == pytest.approx(1, abs=0.04)
    assert (long[..., 0] * long[..., 1]).mean() == pytest.approx(0, abs=0.06)  # experts do not share their orders
    flat = planted(popularity=np.zeros((LAYERS, EXPERTS)), topic_spread=np.full(LAYERS, 1.5), topic_tokens=50.0)
    trace = draw(flat, [0], [3200], 1)
    rates = np.array([used(trace, 0, expert).mean() for expert in range(EXPERTS)])
    assert rates.std() < 0.016  # .025 of topics that are drawn one by one


@pytest.mark.slow
def test_fitted_statistics_come_back():
    """Fitted on what is drawn from known weights, a twin draws the same hit rates, popularity and affinity, and finds the pair."""
    known = planted(topic_spread=np.array([0, 0, 1.0]))
    recorded = draw(known, [0] * 4, [3000] * 4, 4)
    twin = fit(recorded)
    again = draw(twin, [0] * 4, [3000] * 4, 5)
    for room in (2, 4, 8, 12):
        assert hit_rates(again, room) == pytest.approx(hit_rates(recorded, room), abs=0.025)
    assert np.corrcoef(twin.popularity[0], known.popularity[0])[0, 1] > 0.97
    assert twin.topic_spread == pytest.approx([0, 0, 1], abs=0.3)
    assert twin.partners[2][twin.targets[2] == 3].tolist() == [5]
    target, partner = used(again, 2, 3), used(again, 1, 5)
    assert target[partner].mean() == pytest.approx(used(recorded, 2, 3)[used(recorded, 1, 5)].mean(), abs=0.05)


def test_what_has_no_twin_is_refused():
    with pytest.raises(UserError, match=r"^the trace has 400 tokens; a twin of 3 layers × top-2 of 16 needs \d"):
        fit(draw(planted(), [0], [400], 0))
    with pytest.raises(UserError, match=r"^a trace with unused slots \(-1\) has no twin"):
        fit(make_trace([[[[0, 1]]], [[[2, -1]]]], 4))


def test_the_same_seed_gives_the_same_trace():
    model = simmoe.load_model("mixtral-8x7b")
    one, two, other = (routing_for(model, "like:mixtral", 40, 20, 2, seed) for seed in (7, 7, 8))
    assert traces.digest(one) == traces.digest(two)
    assert (one.expert_ids != other.expert_ids).any()
    assert (draw(planted(), [9], [9], 1).expert_ids != draw(planted(), [9], [9], 2).expert_ids).any()


def test_a_sequence_is_one_prompt_pass_and_a_pass_for_each_answered_token():
    model = simmoe.load_model("mixtral-8x7b")
    trace = routing_for(model, "uniform", 30, 3, 2)
    assert np.diff(trace.pass_ptr).tolist() == [30, 1, 1, 1] * 2
    assert trace.phase.tolist() == [PREFILL, DECODE, DECODE, DECODE] * 2
    assert trace.position.tolist() == [*range(33)] * 2 and trace.sequence.tolist() == [0] * 33 + [1] * 33
    assert trace.layer_index.tolist() == list(model.moe_layers)
    assert trace.meta["synthetic"] is True and trace.meta["router"] == "synthetic, uniform"


@pytest.mark.slow
@settings(max_examples=30)
@given(
    st.sampled_from(twinfile.class_names()),
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(0, 9),
)
def test_any_class_draws_any_geometry(name: str, layers: int, experts: int, k: int, seed: int):
    """Valid traces: top_k different experts in each layer."""
    k = min(k, experts)
    twin = cast(scaled(twinfile.load_class(name), np.arange(layers), experts, k), seed)
    trace = draw(twin, [3, 0], [0, 4], seed)
    traces.check(trace)
    assert all(len(set(row)) == len(row) for row in twin.targets.tolist())
    assert all(len(set(row)) == k for row in trace.expert_ids.reshape(-1, k).tolist())


def test_a_class_scaled_to_its_own_geometry_says_the_same():
    known = planted(topic_spread=np.ones(LAYERS), popularity=planted().popularity[:, ::-1])
    again = cast(scaled(summary(known), known.layer_index, EXPERTS, K), 1)
    assert again.stickiness == pytest.approx(known.stickiness)
    assert np.sort(again.popularity) == pytest.approx(np.sort(known.popularity), abs=0.01)
    assert again.lift == pytest.approx(known.lift)
    order = np.argsort(again.popularity[0])  # expert 5 of the skewed layer is the sixth from above
    assert again.partners[1].tolist() == [order[10]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, model, published",
    [
        ("mixtral", "mixtral-8x7b", {2: 0.364, 4: 0.614, 6: 0.825}),
        ("olmoe", "olmoe-1b-7b", {8: 0.429, 16: 0.612, 24: 0.735}),
    ],
)
def test_a_class_of_figures_draws_them(name: str, model: str, published: dict[int, float]):
    """LRU hit rates of arXiv 2505.16056."""
    trace = routing_for(simmoe.load_model(model), f"like:{name}", 0, 1500)
    for room, rate in published.items():
        assert hit_rates(trace, room).mean() == pytest.approx(rate, abs=0.025)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, model, least, most",
    [("gpt-oss-20b", "gpt-oss-20b", 0.42, 0.46), ("deepseek-v2-lite", "deepseek-v2-lite", 0.25, 0.29)],
)
def test_a_class_of_a_trace_keeps_experts_as_the_model_does(name: str, model: str, least: float, most: float):
    """Share of a token's experts that the next one uses again, as recordings of the model have it."""
    found = reuse(routing_for(simmoe.load_model(model), f"like:{name}", 0, 1500))
    assert found is not None and least - 0.02 <= found <= most + 0.02


@pytest.mark.slow
def test_fault_20_routing_without_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "drawn.npz"
    words = ["--model", "qwen3-30b-a3b", "--prompt", "20", "--generate", "10", "--seed", "3", "--out", str(out)]
    assert main(["trace", "synth", "--routing", "like:qwen3-30b", *words]) == 0
    assert (
        "30 tokens × 48 layers × top-8 of 128, synthetic, like:qwen3-30b: drawn, no recording"
        in capsys.readouterr().out
    )
    assert main(["trace", "check", str(out)]) == 0
    assert main(["run", "--hw", "a100", "--trace", str(out), "--budget", "50%"]) == 0
    assert "synthetic, like:qwen3-30b" in capsys.readouterr().out


@pytest.mark.parametrize(
    "like, name, title, class_of_it",
    [
        ("qwen3-30b-a3b", "qwen3-30b-a3b", "", "like:qwen3-30b"),
        ("qwen3-30b-a3b", "unsloth_qwen3-30b-a3b.q4_k_m", "", "like:qwen3-30b"),
        ("qwen3-30b-a3b", "qwen3-coder-flash", "", "like:qwen3-30b"),  # its family, as large
        ("qwen3-30b-a3b", "m", "Qwen3 30B A3B", "like:qwen3-30b"),
        ("qwen3-30b-a3b", "m", "qwen3_moe model, imported from config.json", "like:qwen3-30b"),
        ("deepseek-v2-lite", "deepseek-coder-v2-lite", "", "like:deepseek-v2-lite"),
        ("gpt-oss-20b", "gpt-oss-safeguard-20b", "", "like:gpt-oss-20b"),
        ("mixtral-8x7b", "nous-hermes-2-mixtral-8x7b-dpo", "", "like:mixtral"),
        ("gpt-oss-120b", "gpt-oss-120b", "", "typical"),  # its family, and larger
        ("qwen3-235b-a22b", "qwen3-235b-a22b", "", "typical"),
        ("qwen3-30b-a3b", "m", "", "typical"),  # as large, of an unknown family
        ("mixtral-8x7b", "phi-mini-moe", "", "typical"),  # of the family of phi-3.5-moe, whose layers nobody knows
    ],
)
def test_a_model_without_a_named_routing_has_the_class_of_the_same_model(
    like: str, name: str, title: str, class_of_it: str
):
    assert usual(replace(simmoe.load_model(like), name=name, title=title)) == class_of_it


@pytest.mark.parametrize("layers, said", [(48, "like:qwen3-30b, the class of this model"), (4, "typical")])
def test_a_gguf_file_of_any_name_finds_its_class_by_its_title(
    layers: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """general.name and geometry; the note says which class it is."""
    writer = pytest.importorskip("tests.test_model_import", reason="gguf writes the header")
    file = writer.write_gguf(tmp_path / "m.gguf", "qwen3moe", *writer.qwen3(layers), called="Qwen3 Coder Flash")
    words = ["--gpu", "rtx_3060", "--host", "ddr4_3200_2ch", "--prompt", "4", "--generate", "2", "--json"]
    assert main(["run", "--model", str(file), *words]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert f"Routing is synthetic, drawn from {said}: no trace was given" in [note.rstrip(".") for note in notes]


@pytest.mark.slow
def test_fit_and_synth_make_a_twin(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    real, twin, out = (tmp_path / name for name in ("real.npz", "twin.yaml", "out.npz"))
    traces.save(draw(planted(), [0], [2500], 8), real)
    assert main(["trace", "fit", str(real), "--out", str(twin)]) == 0
    assert (
        main(["trace", "synth", "--routing", str(twin), "--prompt", "0", "--generate", "1500", "--out", str(out)]) == 0
    )
    drawn, recorded = traces.load(out), traces.load(real)
    assert not doubts(drawn)
    assert 0 < numbers_in(yaml.safe_load(twin.read_text())) <= recorded.expert_ids.size / 100
    assert drawn.meta["router"] == "synthetic, twin"
    assert hit_rates(drawn, 4) == pytest.approx(hit_rates(recorded, 4), abs=0.03)
    assert (drawn.expert_ids[:1500] == recorded.expert_ids[:1500]).all(2).mean() < 0.2  # no copy


MIXTRAL = ["--model", "mixtral-8x7b"]


@pytest.mark.parametrize(
    "words, said",
    [
        (["--routing", "like:mixtrall", *MIXTRAL], "unknown class like:mixtrall; did you mean 'mixtral'?"),
        (
            ["--routing", "unifrom", *MIXTRAL],
            "unknown routing 'unifrom': no such class or file; did you mean 'uniform'?",
        ),
        (
            ["--routing", "uniform"],
            "routing uniform is a class, which has no layers and experts of its own; name a model",
        ),
        (
            ["--routing", "uniform", *MIXTRAL, "--prompt", "-1"],
            "sequence 0 has -1 prompt and 128 generated tokens; give",
        ),
        (["--routing", "uniform", *MIXTRAL, "--sequences", "0"], "sequences 0, seed 0: give at least one sequence"),
        (["--routing", "uniform", *MIXTRAL, "--prompt", "9999999999"], "more than 268,435,456 ids; draw fewer"),
        (["--routing", "like:../x", *MIXTRAL], "unknown class like:../x;"),
    ],
)
def test_a_wrong_request_is_one_line(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["trace", "synth", *words, "--out", str(tmp_path / "x.npz")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_twin_file_says_what_the_twin_says(tmp_path: Path):
    file = tmp_path / "twin.yaml"
    twinfile.save(planted(), file)
    one, two = draw(planted(), [5], [5], 1), routing_of(file, 5, 5, 1, 1)
    assert (one.expert_ids == two.expert_ids).all()


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("top_k", 17, "top_k is 17, of 16 experts"),
        ("depth_ends", [2, 4], "depth_ends is [2, 4]; it must rise and end with n_experts, 16"),
        ("experts_known", False, f"layer 0 has 16 numbers of popularity; it must have {len(QUANTILES)}"),
        ("topic_tokens", 0, "topic_tokens is 0; it must be a number from 1"),
        ("layers", [], "layers is []; it must be a list with at least one entry"),
    ],
)
def test_a_wrong_twin_file_is_one_line(key: str, value: Any, said: str, tmp_path: Path):
    file = tmp_path / "twin.yaml"
    twinfile.save(planted(), file)
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), key: value}))
    with pytest.raises(UserError) as error:
        twinfile.load(file)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.traces
@pytest.mark.slow
@pytest.mark.skipif(compiled.missing(), reason="plays whole traces: needs numba (pip install 'simmoe[fast]')")
@pytest.mark.parametrize("name", twins.NAMES)
def test_a_twin_of_the_first_half_foretells_the_second(name: str):
    """Hit rates of LRU within 3 points and of Belady within 4, beyond the gap of the halves, in six layers at every tenth;
    `python -m benchmarks.twins` plays all layers."""
    trace = real_traces.load(name, slice(8, 14))
    first, second = twins.halves(trace)
    was, will = twins.curves(first), twins.curves(second)
    twin = fit(first)
    assert twin.numbers <= first.expert_ids.size / 100
    drawn = [twins.curves(twins.drawn_like(second, twin, seed)) for seed in range(4)]
    even = twins.curves(twins.drawn_like(second, uniform(trace.n_layers, trace.n_experts, trace.top_k), 0))
    for policy, bar in twins.BARS.items():
        assert max(twins.beyond(one, will, was)[policy].max() for one in drawn) <= bar
        assert twins.beyond(even, will, was)[policy].max() > 2 * bar


@pytest.mark.parametrize(
    "words",
    [
        "fit oracle-4x8 --out",
        "synth --routing uniform --model oracle-moe-4x8 --prompt 4 --generate 2 --out",
    ],
)
def test_an_output_that_is_there_is_kept(words, tmp_path, capsys):
    out = tmp_path / "kept"
    out.write_text("mine")
    assert main(["trace", *words.split(), str(out)]) == 2
    assert "exists; choose another name or overwrite it with --force" in capsys.readouterr().err
    assert out.read_text() == "mine"
