"""The table of absolute speed: its rows, the shapes behind them, and the form that is fitted to them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import form_fit, form_pieces, forms
from simmoe.cli.main import main
from simmoe.sweeps.validation.absolute import engines, playing, report, shapes
from simmoe.sweeps.validation.absolute import rows as table
from simmoe.sweeps.validation.absolute.rows import Row
from simmoe.workloads import models

ROWS = table.read()
FOLDER = table.ROWS.parent
CONSTANTS = json.loads((FOLDER / "constants.json").read_text())
BUNDLED = {"qwen3-30b-a3b": 30.53, "qwen3-235b-a22b": 235.09, "deepseek-v2-lite": 15.71, "mixtral-8x7b": 46.70, "gpt-oss-20b": 20.91,
           "gpt-oss-120b": 116.83}  # fmt: skip
KERNELS = {  # of a layer with experts, of all its kinds on average; counted by hand from the engine's graph
    "mixtral-8x7b": 29, "gpt-oss-20b": 30, "qwen3-30b-a3b": 31, "minimax-m2": 31, "deepseek-v2-lite": 45, "gemma-4-26b-a4b": 45,
    "qwen3.6-35b-a3b": 53,
}  # fmt: skip


def by_id(name: str) -> Row:
    return next(row for row in ROWS if row.id == name)


# --- rows ----------------------------------------------------------------------------------------------------------------


def test_rows_are_there_once():
    assert len(ROWS) == 456
    assert len({row.id for row in ROWS}) == len(ROWS)
    same = [(row.machine, row.engine, row.build, row.model, row.quant, row.flags, row.phase, row.tokens, row.depth, row.top_k, row.measured)
            for row in ROWS]  # fmt: skip
    assert len(set(same)) == len(same)


def test_rows_say_what_the_rule_asks():
    for row in ROWS:
        assert row.phase in ("decode", "prompt") and row.tokens > 0 and row.measured > 0, row.id
        assert row.gpu or row.host, row.id
        assert not row.gpu or row.gpu in form_pieces.DEVICES, row.id
        assert not row.host or row.host in form_pieces.HOSTS, row.id
        if row.kind in ("cpu experts decode", "cpu experts prompt", "cpu only decode", "cpu only prompt"):
            assert row.host, row.id
        if row.gpu and "cpu experts" in row.kind:
            assert row.on_cpu, row.id


def test_left_out_measurements_are_counted_by_reason():
    lines = (FOLDER / "left_out.csv").read_text().splitlines()[1:]
    assert sum(int(line.rsplit('"', 1)[-1].split(",")[1]) for line in lines) == 789


def test_brain_floats_under_vulkan_are_marked():
    marked = {row.id for row in ROWS if "bfloat16" in row.flagged}
    assert marked == {row.id for row in ROWS if row.quant == "BF16" and "Vulkan" in row.engine}


# --- shapes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", sorted({row.model for row in ROWS}))
def test_shapes_have_the_published_number_of_parameters(model: str):
    row = next(row for row in ROWS if row.model == model)
    said = shapes.known().get(model, {})
    published = said.get("billions") or BUNDLED[model]
    assert shapes.of(row).total_params / 1e9 == pytest.approx(published, rel=said.get("within", 0.01))


@pytest.mark.slow
def test_shapes_have_the_bytes_of_their_files():
    """Two files are larger than their mix by a rule of their own; all others meet their size within 1.5 %."""
    off = {}
    for row in ROWS:
        if row.file_bytes:
            shape = shapes.of(row)
            off[row.model, row.quant] = (shape.dense_bytes + shape.all_expert_bytes) / row.file_bytes - 1
    assert {key for key, value in off.items() if abs(value) > 0.015} == {
        ("qwen3.6-35b-a3b", "Q4_K_M"),
        ("gemma-4-26b-a4b", "IQ4_XS"),
    }
    assert max(map(abs, off.values())) < 0.07


def test_experts_take_the_rest_of_a_file():
    shape = shapes.shape("qwen3-30b-a3b", "ud2026", 20 * 10**9)
    base = models.load("qwen3-30b-a3b", "fp16")
    experts = sum(layer.n_experts * layer.expert.params for layer in base.layers)
    dense = (base.total_params - experts) * 8.5 / 8
    assert shape.dense_bytes == pytest.approx(dense, rel=1e-6)
    assert shape.all_expert_bytes == pytest.approx(20e9 - dense, rel=1e-6)


# --- pieces --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", KERNELS)
def test_kernels_of_a_layer(model: str):
    shape = shapes.of(next(row for row in ROWS if row.model == model))
    each = [form_pieces.kernels(layer, form_pieces.KERNELS) for layer in shape.layers if layer.n_experts]
    assert np.mean(each) == pytest.approx(KERNELS[model], abs=1)


def test_a_dense_layer_launches_24_kernels_and_25_unfused():
    layer = shapes.of(by_id("m2.114")).layers[0]
    assert form_pieces.kernels(layer, form_pieces.KERNELS) == 24
    assert form_pieces.kernels(layer, engines.older_kernels(form_pieces.KERNELS, 1)) == 25


def test_decode_by_hand():
    """Qwen3-30B-A3B Q8_0 on a DGX Spark: 48 layers of 31 kernels and 5 at the end; dense part, 8 of 128 experts and the head."""
    row = by_id("spark.0")
    one = forms.of(row)
    assert one.kernels == 48 * 31 + 5
    assert one.device_bytes / 1e9 == pytest.approx(3.22, abs=0.03)  # GB a step, published beside the figure
    cache = 48 * 2 * 4 * 128 * 2 * (512 + 16)
    assert one.kv_bytes == cache
    seconds = (
        1493 * 1.76e-6 * 2 / 2.418 + one.device_bytes / 0.83 / 273e9 + cache / 0.83 / 273e9
    )  # kernels take in far more
    assert 1 / forms.bound(np.array([1.76, 0.83, 1e3]), row) == pytest.approx(seconds, rel=1e-9)


def test_half_of_the_experts_on_the_cpu_by_hand():
    row = by_id("h200.11")  # 24 of 48 layers
    all_there, half = forms.of(by_id("h200.5")), forms.of(row)
    picked = sum(8 * layer.expert.bytes for layer in shapes.of(row).layers[:24])
    assert half.cpu_layers == 24
    assert half.device_bytes + half.cpu_bytes == pytest.approx(all_there.device_bytes)
    assert half.cpu_bytes == picked


def test_rows_of_an_expert_in_a_prompt():
    assert forms.of(by_id("h200.4")).expert_rows == pytest.approx(512 * 8 / 128)


# --- fits ----------------------------------------------------------------------------------------------------------------


def test_a_fit_finds_the_constants_that_made_the_rows():
    chosen = forms.picked(ROWS, "cuda decode")[::2]
    made = [replace(row, measured=forms.bound(np.array([2.5, 0.7, 9.0]), row)) for row in chosen]
    assert form_fit.fit(forms.WITH_CAP, made) == pytest.approx([2.5, 0.7, 9.0], rel=0.05)


def test_the_machine_that_is_predicted_is_not_fitted(monkeypatch: pytest.MonkeyPatch):
    seen: list[set[str]] = []
    monkeypatch.setattr(form_fit, "fit", lambda form, rows: seen.append({row.machine for row in rows}) or np.ones(2))
    chosen = forms.picked(ROWS, "amd rocm decode")
    form_fit.without(forms.NO_CAP, chosen)
    assert seen == [{"strix_halo"}, {"r9700"}]


def test_constants_are_those_of_the_rows():
    """The committed ones; a change of rows or of the form needs `python -m benchmarks.forms --write` again."""
    mine = forms.picked(ROWS, "mlx decode")
    assert forms.named(forms.MLX_DECODE, form_fit.fit(forms.MLX_DECODE, mine)) == CONSTANTS["mlx.decode"]["all"]


BARS = {  # mean and median over machines, percent, on rows of Mixture-of-Experts models; None: missed, see docs/validation.md
    "llama_cpp_cuda.decode": (13, 10), "mlx.decode": (18, 15), "llama_cpp_cuda.prompt": (22, None), "llama_cpp_vulkan.prompt": (28, 20),
    "llama_cpp_vulkan.decode": (16, None),
}  # fmt: skip


@pytest.mark.parametrize("name", BARS)
def test_what_carries_from_machine_to_machine(name: str):
    fitted = next(one for one in forms.FITTED if one[0] == name)
    _, form, _, key = fitted
    chosen = forms.moe(forms.rows_of(fitted, ROWS))
    kept = {one: np.array([said[name] for name in form.start]) for one, said in CONSTANTS[name]["without"].items()}
    errors = form_fit.by_machine(chosen, lambda row: form_fit.error(form.predict(kept[key(row)], row), row), key)
    each = [100 * np.mean(one) for one in errors.values()]
    mean, median = BARS[name]
    assert np.mean(each) <= mean
    assert median is None or np.median(each) <= median


def test_experts_on_the_cpu_with_the_hosts_rate_known():
    chosen = forms.moe(forms.picked(ROWS, "cpu experts decode"))
    found = forms.calibrated(chosen, 100.0)
    errors = form_fit.by_machine(
        [row for row in chosen if row.id in found], lambda row: form_fit.error(found[row.id], row)
    )
    each = [100 * np.mean(one) for one in errors.values()]
    assert len(each) == 5
    assert np.mean(each) <= 13 and np.median(each) <= 10


def test_prompts_over_a_link_whose_rate_was_measured():
    chosen = [row for row in forms.picked(ROWS, "offload prompt") if row.machine == "h200"]
    found = forms.carried(chosen)
    errors = [form_fit.error(found[row.id], row) for row in chosen]
    assert len(errors) == 9 and np.mean(errors) <= 0.08


def test_every_row_has_constants_that_were_fitted_without_its_device():
    decode, prompt = CONSTANTS["llama_cpp_cuda.decode"]["without"], CONSTANTS["llama_cpp_cuda.prompt"]["without"]
    assert {row.gpu for row in forms.picked(ROWS, "cuda decode")} == set(decode)
    assert {row.gpu for row in forms.picked(ROWS, "cuda prompt")} == set(prompt)
    assert decode["h200"] != CONSTANTS["llama_cpp_cuda.decode"]["all"]


def test_the_rule_names_every_mark():
    rule = " ".join((FOLDER / "rule.md").read_text().split())
    for said in ("brain floats under Vulkan", "latent attention at a depth", "2 to 3 bits", "contradict its own speed"):
        assert said in rule
    assert Path(FOLDER / "rule.md").is_file()


# --- played by simmoe -----------------------------------------------------------------------------------------------------

REPLAYED = ("spark.0", "h200.5", "m3.0", "m2.289", "h200.10", "m2.467")  # of every kind of machine, quick to play


@pytest.mark.slow
@pytest.mark.parametrize("name", REPLAYED)
def test_a_row_is_played_as_it_was_committed(name: str):
    committed = {one.row.id: one for one in report.played()[0]}[name]
    again = playing.play(by_id(name))
    for figure in ("predicted", "low", "high", "ideal"):
        assert getattr(again, figure) == pytest.approx(getattr(committed, figure), rel=1e-5)


def test_the_committed_outcomes_are_those_of_the_rows():
    outcomes, known = report.played()
    assert [one.row.id for one in outcomes] == [row.id for row in ROWS]
    assert {one.row.kind for one in known} == {"cpu experts decode"}
    not_played = {one.row.id for one in outcomes if one.why_not}
    dense = {row.id for row in ROWS if shapes.is_dense(row.model)}
    assert dense <= not_played and len(not_played - dense) <= 70


@pytest.mark.parametrize("name", ["spark.0", "m3.3", "h200.21"])
def test_simmoe_plays_the_form(name: str):
    """The same constants give the same speed, summed over layers by hand or played event by event."""
    row = by_id(name)
    played = {one.row.id: one for one in report.played()[0]}[name].predicted
    kept = CONSTANTS["llama_cpp_cuda.decode"]["without"][row.gpu]
    form = forms.bound(np.array([kept[one] for one in forms.WITH_CAP.start]), row)
    assert played == pytest.approx(form, rel=0.03)


def test_the_runtime_of_a_row_was_fitted_without_its_machine():
    row = by_id("h200.5")
    runtime = engines.of(row, shapes.of(row))
    kept = CONSTANTS["llama_cpp_cuda.decode"]["without"]["h200"]
    assert runtime.of("decode.kernel") == pytest.approx(kept["kernel"] * 1e-6)
    assert runtime.of("decode.per_clock") == kept["per_clock"]
    assert kept != CONSTANTS["llama_cpp_cuda.decode"]["all"]


def test_an_older_build_launches_more_kernels():
    new, old = by_id("spark.0"), by_id("m3.3")
    assert engines.of(new, shapes.of(new)).kernels["experts"] == 13
    assert engines.of(old, shapes.of(old)).kernels["experts"] == 17 + 4


def test_errors_are_averaged_by_machine_first():
    def one(machine: str, error: float) -> playing.Outcome:
        row = replace(by_id("spark.0"), machine=machine, measured=100.0)
        return playing.Outcome(row, 100 * (1 + error), 90, 110, 200)

    line = report.Line("x", (one("a", 0.1), one("a", -0.3), one("b", 0.0)), (None, None))
    assert line.errors() == pytest.approx([0.2, 0.0])
    assert report.cells(line)[3:5] == ["10.0%", "10.0%"]
    assert line.errors(ideal=True) == pytest.approx([1.0, 1.0])


def test_pairs_in_order():
    row = by_id("spark.0")
    made = [
        playing.Outcome(replace(row, id=str(i), measured=m), p, 0, 0, 0)
        for i, (m, p) in enumerate([(100, 90), (120, 95), (50, 92), (101, 1)])
    ]
    assert report.order(made) == (5, 3)  # 100 and 101 are no pair; the last is predicted slowest, and 50 faster than 90


def test_series_of_runs_with_ever_more_layers_on_the_cpu_say_their_order():
    row = replace(by_id("h200.11"), flagged="")
    made = [
        playing.Outcome(replace(row, on_cpu=n, measured=m), p, 0, 0, 0)
        for n, m, p in ((8, 140, 150), (16, 90, 95), (24, 60, 100))
    ]
    assert report.sweeps(made) == [
        "h200, llama.cpp CUDA, qwen3-30b-a3b with the experts of N = 8, 16, 24 layers on the CPU: 2 of 3 pairs in order."
    ]
    assert not report.sweeps(made[:2])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("h200.27", 0.35), ("h200.25", 3.0)])
def test_whole_layers_or_the_cache_on_the_cpu_are_played(name: str, most: float):
    """-ngl 24 within the bar of such rows; with the cache in host memory (-nkvo) attention is that of one row, and reported."""
    row = by_id(name)
    again = playing.play(row)
    assert not again.why_not and abs(again.error) < most
    committed = {one.row.id: one for one in report.played()[0]}[name]
    assert again.predicted == pytest.approx(committed.predicted, rel=1e-5)
    assert "part of each expert" in playing.why_not(by_id("h200.26"))


def test_a_marked_row_is_not_judged():
    row = replace(by_id("spark.0"), flagged="why")
    assert not playing.Outcome(row, 1.0).judged and not report.lines([playing.Outcome(row, 1.0)])


def test_outcomes_outlive_json():
    outcomes = [
        playing.Outcome(by_id("spark.0"), 60.0, 50.0, 70.0, 80.0),
        playing.Outcome(by_id("m2.114"), why_not="dense"),
    ]
    assert report.from_json(json.loads(json.dumps(report.to_json(outcomes, outcomes[:1])))) == (outcomes, outcomes[:1])


def test_the_command_refuses_what_it_does_not_do(capsys: pytest.CaptureFixture[str]):
    assert main(["validate", "absolute", "v1_phone_time"]) == 2
    assert "stands alone" in capsys.readouterr().err
