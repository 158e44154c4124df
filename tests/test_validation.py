"""simmoe validate: nothing fitted is predicted, every kind finds constants that are known, bars that were reached stay reached."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml

from simmoe import hardware_profiles
from simmoe.cli import main as cli
from simmoe.play.workload import Workload
from simmoe.simulator.errors import UserError
from simmoe.sweeps.validation import bars, case, fitting, report, runner
from simmoe.sweeps.validation.case import Case, Row
from simmoe.sweeps.validation.kinds import ablations, cards, phone, ratios, resident
from simmoe.sweeps.validation.playing import start_of
from simmoe.sweeps.validation.runner import Outcome
from simmoe.sweeps.validation.synthetic import routing
from simmoe.workloads import models
from tests import real_traces
from tests.test_house import ROOT

MISSED = {
    "v3_mixtral_rtx_3090_512",
    "v4_mixtral_a100",
    "v4_mixtral_rtx_3060",
    "v4_mixtral_t4",
    "v5_oracle_a100",
    "v5_oracle_xavier_nx",
    "v5_swapmoe_a100",
    "v8_cards_prompt",
}
RECORDED = {
    "h200_offload_mixtral",
    "v1_phone_counts",
    "v1_phone_time",
    "v2_qwen3_counts",
}  # traces that are no part of the project
TEXTS = {"title": "t", "source": "s", "setup": "s", "fitted": "f", "unit": "ms"}


def invented(kind: str, rows: list[dict[str, Any]], **more: Any) -> Case:
    return case.read({**TEXTS, "kind": kind, "bar": {"worst": 0.1}, "rows": rows, **more}, "invented")


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, Outcome]]:
    """Every bundled case, played once; recorded traces from where the other tests find them."""
    before = os.environ.get("SIMMOE_TRACES")
    if real_traces.folder().is_dir():
        os.environ["SIMMOE_TRACES"] = str(real_traces.folder())
    try:
        yield {name: runner.play(case.load(name)) for name in case.names()}
    finally:
        os.environ.pop("SIMMOE_TRACES", None) if before is None else os.environ.update(SIMMOE_TRACES=before)


# --- the bundled cases ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_bars_that_are_reached_stay_reached(outcomes):
    missed = {name for name, one in outcomes.items() if one.reached is False}
    assert missed <= MISSED
    assert all(outcomes[name].case.misses for name in missed)


@pytest.mark.slow
def test_no_fitted_row_is_judged_and_constants_have_rows(outcomes):
    for one in outcomes.values():
        assert not {line.row.id for line in one.lines if line.fitted} & {line.row.id for line in one.judged}
        assert len(one.constants) <= sum(line.fitted for line in one.lines)


@pytest.mark.slow
def test_the_page_is_what_the_command_writes(outcomes):
    """Word for word; without the recorded traces, all sections but those that need them."""
    page = (ROOT / "docs" / "validation.md").read_text("utf-8")
    absent = {name for name in RECORDED if outcomes[name].why_not}
    if not absent:
        assert page == report.markdown(list(outcomes.values())), "run simmoe validate --write docs/validation.md"
    for name in outcomes.keys() - absent:
        assert report.section(outcomes[name]) in page, f"{name}: run simmoe validate --write docs/validation.md"


@pytest.mark.slow
def test_matrix_products_are_judged_at_the_same_token_counts_on_both_gpus(outcomes):
    """Chosen by a rule: no count is left out where a step of the kernel is missed."""
    for judged in (True, False):
        a100, h100 = (
            [line.row.facts["m"] for line in outcomes[f"kernel_gemm_{gpu}"].lines if line.judged is judged]
            for gpu in ("a100", "h100")
        )
        assert a100 == h100 and len(a100) == (40 if judged else 5)
    assert {16, 128, 512, 2048} | set(range(152, 1000, 56)) <= {
        line.row.facts["m"] for line in outcomes["kernel_gemm_h100"].judged
    }


@pytest.mark.slow
def test_the_two_runs_that_a_gpu_was_fitted_on_predict_the_others(outcomes):
    """Independent fits over all runs of each log: 123.3 + 5.11 ms and 185.7 + 7.28 ms per miss."""
    for name, rest, per_miss in (("v3_mixtral_rtx_4090", 123.3, 5.11), ("v3_mixtral_rtx_3090", 185.7, 7.28)):
        found = dict(outcomes[name].constants)
        assert found["everything else, ms"] == pytest.approx(rest, rel=0.02)
        assert 68.6 / found["link, GB/s"] == pytest.approx(per_miss, rel=0.02)


@pytest.mark.slow
def test_output_has_no_path_and_is_the_same_twice(outcomes, capsys):
    for _ in range(2):
        assert cli.main(["validate", "--json", "v3_mixtral_rtx_4090", "kernel_gemv_a40"]) == 0
    first = capsys.readouterr().out
    assert first[: len(first) // 2] == first[len(first) // 2 :]
    data = json.loads(first[: len(first) // 2])
    assert [one["case"] for one in data["cases"]] == ["v3_mixtral_rtx_4090", "kernel_gemv_a40"]
    assert data["overall"]["runs"]["rows"] == 6 and str(ROOT) not in first


@pytest.mark.slow
def test_a_missed_bar_is_no_error_and_a_bad_name_is(capsys, tmp_path):
    assert cli.main(["validate", "v5_oracle_xavier_nx"]) == 0
    assert "v5_oracle_xavier_nx: why: " in capsys.readouterr().out
    assert cli.main(["validate", "v9"]) == 2
    assert "unknown case 'v9'" in capsys.readouterr().err
    assert cli.main(["validate", "kernel_gemv_a40", "--write", str(tmp_path / "page.md")]) == 0
    assert "## kernel_gemv_a40" in (tmp_path / "page.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]


def test_without_the_traces_the_cases_say_so(monkeypatch):
    monkeypatch.delenv("SIMMOE_TRACES", raising=False)
    for name in RECORDED:
        assert runner.play(case.load(name)).why_not.startswith("trace not at hand: ")


# --- nothing fitted is predicted ------------------------------------------------------------------------------------

POINTS = [{"id": f"{n}", "measured": 5 + n / 100, "bytes": n * 10**6} for n in (1, 2, 3, 4)]  # 5 us + bytes / 100 GB/s


@pytest.mark.parametrize(
    "change, message",
    [
        ({"fit": ["1", "2"], "predict": ["2", "3"]}, "row '2' is both fitted and predicted"),
        ({"fit": ["1", "9"]}, "there is no row '9' to fit or predict; rows: 1, 2, 3, 4"),
        ({"fit": ["1"]}, "fits 2 constants on 1 rows; fit fewer"),
        ({"fit": ["1", "2", "3", "4"]}, "predicts nothing: every row is fitted or in doubt"),
        ({"fit": {"each": 2}}, "write a list of row ids, {every: 2} or {first: 64}"),
        ({"rows": [POINTS[0], POINTS[0]]}, "row id '1' appears more than once"),
        ({"kind": "tea_leaves"}, "unknown kind 'tea_leaves'; known: ablations, "),
        ({"fit": ["1", "2"], "bar": {"best": 1}}, "unknown bar 'best'; known: worst, mean, "),
        ({"fit": ["1", "2"], "bar": {"rising": [["1", "2"]]}}, "compares '1' with '2', both fitted; that predicts nothing"),
        ({"fit": ["1", "2"], "bar": {"rising": [["1", "8"]]}}, "the bar names row '8', which does not exist"),
        ({"fit": ["1", "3"], "rows": [*POINTS[:3], {"id": "x", "measured": 1}]}, "x: bytes is None; this kind needs a number"),
    ],
)  # fmt: skip
def test_a_case_that_proves_nothing_is_refused(change, message):
    with pytest.raises(UserError) as caught:
        runner.play(invented(**{"kind": "kernel_gemv", "rows": POINTS, **change}))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: [", "mine.yaml: line 1: not valid YAML: "),
        ("[1]", "case mine is [1]; it must be a mapping with the keys title, kind, "),
        ("titel: x", "case mine: unknown key 'titel'; known: title, kind, "),
        (yaml.safe_dump(TEXTS), "case mine: 'kind' is missing, empty or of the wrong type; it must be a text"),
        (yaml.safe_dump({**TEXTS, "kind": "x", "bar": 3}), "case mine: 'bar' is missing, empty or of the wrong type; it must be a mapping"),
        (yaml.safe_dump({**TEXTS, "kind": "x", "bar": {}, "rows": [{"id": 1}]}), "row 1: measured is None; it must be a number above 0"),
        (yaml.safe_dump({**TEXTS, "kind": "x", "bar": {}, "rows": [3]}), "row 1 is 3; it must be a mapping with id and measured"),
        (yaml.safe_dump({**TEXTS, "kind": "x", "bar": {}, "group": "y"}), "group is 'y'; it must be one of runs, kernels, counts"),
    ],
)  # fmt: skip
def test_a_broken_file_is_one_line(text, message, tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(text)
    assert cli.main(["validate", str(tmp_path / "mine.yaml")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_fit_sees_the_fitted_rows_only(monkeypatch):
    from simmoe.sweeps.validation.kinds import kernel_gemv

    seen = []
    monkeypatch.setattr(
        kernel_gemv, "fit", lambda one, rows: seen.extend(rows) or {"launch, us": 5.0, "bandwidth, GB/s": 100.0}
    )
    runner.play(invented("kernel_gemv", POINTS, fit={"every": 2}))
    assert [row.id for row in seen] == ["1", "3"]


# --- bars -----------------------------------------------------------------------------------------------------------


def lines(*values: tuple[float, float], fitted: int = 0) -> list[bars.Line]:
    return [bars.Line(Row(str(i), measured), predicted, i < fitted) for i, (measured, predicted) in enumerate(values)]


@pytest.mark.parametrize(
    "bar, reached",
    [
        ({"worst": 0.2}, True), ({"worst": 0.19}, False), ({"mean": 0.15}, True), ({"mean": 0.14}, False),
        ({"median": 0.15}, True), ({"of_mean": 0.06}, True), ({"of_mean": 0.04}, False), ({"exact": True}, False),
        ({"rising": [["0", "1", "2"]]}, True), ({"rising": [["2", "1"]]}, False),
        ({"ratios": {"within": 0.34, "pairs": [["2", "1"]]}}, True), ({"ratios": {"within": 0.32, "pairs": [["2", "1"]]}}, False),
    ],
)  # fmt: skip
def test_bars(bar, reached):
    """Rows 100 -> 90 and 100 -> 120 are judged, a wild one was fitted."""
    judged = [*lines((1, 9), (100, 90), (100, 120), fitted=1)]
    (verdict,) = bars.judge("x", bar, judged)
    assert verdict.reached is reached, verdict


def test_a_row_in_doubt_is_not_judged():
    doubtful = bars.Line(Row("d", 1, {"doubt": "a slip"}), 9, False)
    assert bars.errors([doubtful, *lines((100, 90))]) == [pytest.approx(0.1)]


# --- every kind, with invented measurements whose constants are known -----------------------------------------------


def constants(one: Case) -> dict[str, float]:
    played = runner.play(one)
    assert max(bars.errors(played.lines)) < 2e-3, played.lines
    return dict(played.constants)


def test_least_squares_finds_what_made_the_numbers():
    def law(x: fitting.Floats) -> fitting.Floats:
        return np.array([x[0] + n / x[1] for n in (1.0, 5.0, 20.0, 80.0)])

    assert fitting.least_squares(law, law(np.array([3.0, 0.5])).tolist(), [1.0, 5.0]) == pytest.approx(
        [3, 0.5], rel=1e-5
    )


def test_kind_kernel_gemv():
    found = constants(
        invented("kernel_gemv", [{**p, "measured": 5 + 10 * int(p["id"])} for p in POINTS], fit=["1", "4"])
    )
    assert found == {"launch, us": pytest.approx(5), "bandwidth, GB/s": pytest.approx(100)}


@pytest.mark.slow
def test_kind_kernel_grouped():
    """10 us + 4 us for each expert of 8 MB: 2000 GB/s; many tokens of 2 experts at 0.1 GFLOP and 200 TFLOP/s: p = 2 with 1 us a token."""
    rows = [{"id": f"few {n}", "measured": 10 + 4 * n, "experts": n, "tokens": 1} for n in (2, 8, 16)]
    rows += [
        {"id": f"many {n}", "measured": 10 + ((4 * n) ** 2 + t**2) ** 0.5, "experts": n, "tokens": t}
        for n, t in ((2, 16), (8, 32), (16, 64))
    ]
    setting = {"expert_bytes": 8_000_000, "top_k": 2, "flops_per_slot": 10**8, "hw": "rtx_pro_6000"}
    found = constants(invented("kernel_grouped", rows, fit=["few 2", "few 16", "many 2", "many 16"], setting=setting))
    assert found == {
        "launch, us": pytest.approx(10),
        "bandwidth, GB/s": pytest.approx(2000),
        "arithmetic, TFLOP/s": pytest.approx(200, rel=1e-3),
        "softness p": pytest.approx(2, rel=1e-2),
    }


def test_kind_kernel_gemm():
    unit = hardware_profiles.load("a100").device
    ms = [(m, 2 * m * 4096 * 4096 / 200e12, 4096 * 4096 * 2 / unit.bytes_per_s) for m in (1, 64, 128, 256, 512, 4096)]
    rows = [
        {"id": m, "measured": unit.launch_ps / 1e6 + 1e6 * (a**3 + b**3) ** (1 / 3), "m": m, "k": 4096, "n": 4096}
        for m, a, b in ms
    ]
    setting = {"hw": "a100", "dtype": "bf16", "element_bytes": 2}
    found = constants(invented("kernel_gemm", rows, fit={"every": 2}, setting=setting, unit="us"))
    assert found == {"arithmetic, TFLOP/s": pytest.approx(200, rel=1e-3), "softness p": pytest.approx(3, rel=1e-2)}


def test_kind_time_given_misses():
    """20 ms + 10 ms for each load of 100 MB; 2 prompts of 12 passes, 4 layers, top-2, prefill touches 5: (10*8 + 2*20)/12 = 10 asked."""
    rows = [{"id": h, "measured": 20 + 10 * 10 * (1 - h), "hit_rate": h, "passes": 12} for h in (0.1, 0.5, 0.9)]
    setting = {"expert_bytes": 10**8, "prompts": 2, "layers": 4, "top_k": 2, "prefill_experts": 5}
    found = constants(invented("time_given_misses", rows, fit=["0.1", "0.5"], setting=setting))
    assert found == {"everything else, ms": pytest.approx(20), "link, GB/s": pytest.approx(10)}


def test_kind_cpu_share():
    rows = [{"id": s, "measured": 1e3 / (10 + 30 * (1 - s)), "share": s} for s in (0, 0.5, 0.9)]
    rows += [{"id": n, "measured": 1e3 / (10 + 30 * min(n, 10) / 10), "layers": n} for n in (3, 99)]
    found = constants(invented("cpu_share", rows, fit=["0", "0.5"], setting={"layers": 10}))
    assert found == {
        "everything on the GPU, ms": pytest.approx(10),
        "all experts on the CPU, ms more": pytest.approx(30),
    }


def test_kind_resident():
    setting = {"hw": "strix_halo", "tokens": 4}
    rows = [
        {"id": m, "measured": 1, "model": m, "format": "q4_k", "resident_mib": 6000}
        for m in ("olmoe-1b-7b", "deepseek-v2-lite")
    ]
    blank = invented("resident", rows, fit=["olmoe-1b-7b"], setting=setting)
    made = resident.predict(blank, {resident.EFFICIENCY: 0.6}, blank.rows)
    told = replace(blank, rows=tuple(replace(row, measured=value) for row, value in zip(blank.rows, made)))
    assert constants(told) == {resident.EFFICIENCY: pytest.approx(0.6, rel=1e-3)}
    scaled = resident.scaled(models.load("olmoe-1b-7b"), 0.5)
    assert scaled.all_expert_bytes * 2 == models.load("olmoe-1b-7b").all_expert_bytes


def test_kind_cards():
    told = {"model": "olmoe-1b-7b", "format": "Q4_0", "runtime": "llama_cpp_cuda"}
    boxes = [f"{gpus}+ddr5_6000_2ch" for gpus in ("rtx_3090", "rtx_3090+rtx_3090", "rtx_3090+rtx_3060")]
    lengths = [{"prompt": 1, "generate": 2}] * 3 + [{"prompt": 64, "generate": 0}]
    rows = [
        {"id": str(i), "measured": 1, "hw": hw, **told, "options": how}
        for i, (hw, how) in enumerate(zip([*boxes, boxes[1]], lengths))
    ]
    blank = invented("cards", rows)
    made, free = cards.predict(blank, {}, blank.rows), cards.beside(blank, blank.rows)
    assert cards.fit(blank, blank.rows) == {}
    assert made[2] < made[1] < made[0] and free[1] == pytest.approx(made[0]) and made[3] < free[3]


@pytest.mark.slow
def test_kind_ablations():
    bundled = case.load("v4_mixtral_t4")
    blank = replace(bundled, setting={**bundled.setting, "tokens": 12}, bar={"worst": 0.01})
    made = ablations.predict(blank, {ablations.ARITHMETIC: 80.0, ablations.LINK: 12.0}, blank.rows)
    assert made[0] > made[1] > made[2] > made[3]  # full, lru, on demand, naive
    found = constants(replace(blank, rows=tuple(replace(row, measured=v) for row, v in zip(blank.rows, made))))
    assert found == {ablations.ARITHMETIC: pytest.approx(80, rel=1e-3), ablations.LINK: pytest.approx(12, rel=1e-3)}
    naive_s, copied_s = 1 / made[3], 256 * 68.6e6 / 12e9
    assert naive_s > copied_s


@pytest.mark.slow
def test_kind_ratios(monkeypatch):
    bundled = case.load("v5_oracle_a100")
    monkeypatch.setattr(ratios, "_workload", lambda hw, trace, format: Workload(hw, trace, format=format, tokens=300))
    rows = tuple(
        row for row in bundled.rows if row.id in ("Switch FIFO 1 GB", "Switch LRU 4 GB", "everything resident")
    )
    made = ratios.predict(bundled, {ratios.LINK: 20.0}, rows)
    assert made[0] > made[1] > made[2] == 1
    told = replace(bundled, rows=tuple(replace(row, measured=v) for row, v in zip(rows, made)), bar={"worst": 0.01})
    assert constants(told) == {ratios.LINK: pytest.approx(20, rel=1e-3)}
    model = models.load("oracle-moe-9x24", "fp32")
    assert ratios._budget(model, "1 GB") == 9 * 33_574_912  # below the dense weights: one slot per layer
    assert ratios._budget(model, "2 GB") == 2 * 10**9 - model.dense_bytes


def test_a_case_whose_trace_is_not_bundled_says_so():
    row = {"id": "a", "measured": 1, "trace": "no-such-trace", "eviction": "lru", "memory": "50%"}
    assert runner.play(invented("ratios", [row])).why_not == "trace not bundled: no-such-trace"


@pytest.fixture
def tiny_recording(tmp_path, monkeypatch):
    """A recorded trace of 2 prompt rows and 32 decoded tokens, 2 layers, top-2 of 4 experts, every one logged as a miss."""
    rng = np.random.default_rng(0)
    ids = np.array([[rng.permutation(4)[:2] for _ in range(2)] for _ in range(34)], np.int16)
    np.savez(tmp_path / "t.npz", expert_ids=ids, n_experts=4, seq_start=np.zeros(1, int), phase=np.array([0, 0] + [1] * 32),
             expert_bytes_per_layer=np.array([10**6, 2 * 10**6]), residency=np.zeros(ids.shape, np.int8), meta=json.dumps({}))  # fmt: skip
    monkeypatch.setenv("SIMMOE_TRACES", str(tmp_path))
    return tmp_path


def test_kind_counts(tiny_recording):
    """Room for one expert of the second layer: a layer finds nothing of its own, and every flag is a miss."""
    rows = [
        {"id": "f", "measured": 34 * 2 * 2, "count": "flags"},
        {"id": "b", "measured": 32 * 6e6 / 2**20, "count": "decode_mib"},
    ]
    rows += [{"id": "m", "measured": 1.3, "count": "misses_per_token", "room": 2, "policy": "lru", "contract": "event"}]
    setting = {"trace": "t.npz", "column": 0, "budget_bytes": 2 * 10**6, "policy": "lru"}
    played = runner.play(invented("counts", rows, setting=setting, bar={"exact": True}))
    assert [line.predicted for line in played.lines][:2] == [136, pytest.approx(32 * 6e6 / 2**20)]
    assert 0 < played.lines[2].predicted <= 2


def test_kind_phone(tiny_recording):
    """Fitted on what the same law made with 10 and 1 GB/s; tokens that were not fitted follow."""
    setting = {
        "hw": "phone_ufs4",
        "start": "cold",
        "trace": "t.npz",
        "metrics": "m.csv",
        "budget_bytes": 5 * 10**6,
        "policy": "lru",
        "file_bytes": 40 * 10**6,
    }
    blank = invented("phone", [], setting=setting, fit={"first": 24})
    tokens = [Row(f"token {n}", 1, {"step": n}) for n in range(1, 33)]
    made = phone.predict(blank, {phone.CPU: 10.0, phone.FLASH: 1.0}, tokens)
    table = "step,wall_ms\n" + "".join(f"{n},{value!r}\n" for n, value in enumerate(made, 1))
    (tiny_recording / "m.csv").write_text(table + "# a summary line\n")
    assert constants(blank) == {phone.CPU: pytest.approx(10, rel=1e-3), phone.FLASH: pytest.approx(1, rel=1e-3)}


def test_kind_study(tmp_path):
    text = yaml.safe_dump(
        {
            **TEXTS,
            "kind": "study",
            "bar": {
                "mean": 0.1,
                "beaten": {"by": 2, "models": ["constant"]},
                "clear_pairs": {"gap": 0.05, "share": 0.85},
            },
            "setting": {"files": "this_machine*.json", "beside": "constant"},
        }
    )
    (tmp_path / "mine.yaml").write_text(text)
    assert runner.play(case.load(tmp_path / "mine.yaml")).why_not == "not measured yet"
    row = {
        "policy": "lru",
        "budget": 0.5,
        "measured_s": 2.0,
        "predicted_s": 2.1,
        "error": 0.05,
        "steal": 0.01,
        "errors": {"constant": 0.5},
        "pooled_s": 2.05,
    }
    slow = {
        **row,
        "policy": "lfu_resident",
        "measured_s": 4.0,
        "predicted_s": 3.8,
        "errors": {"constant": -0.25},
        "pooled_s": 3.7,
    }
    (tmp_path / "this_machine_a.json").write_text(json.dumps({"rows": [row, slow]}))
    played = runner.play(case.load(tmp_path / "mine.yaml"))
    assert [round(line.error, 9) for line in played.lines] == [0.05, -0.05] and played.reached
    assert played.lines[0].beside == 3 and played.lines[0].row.facts["note"] == "steal 1.0%"
    assert [line.row.id for line in played.lines] == ["lru 50.0%", "lfu_resident 50.0%"]
    assert [verdict.result for verdict in played.verdicts] == ["constant 37.5%", "1 of 1", "5.0%"]
    weak = {**slow, "pooled_s": 1.9, "errors": {"constant": 0.01}}  # the wrong way round, and no better than a constant
    (tmp_path / "this_machine_a.json").write_text(json.dumps({"rows": [row, weak]}))
    assert [v.reached for v in runner.play(case.load(tmp_path / "mine.yaml")).verdicts] == [True, False, True]
    (tmp_path / "this_machine_b.json").write_text('{"rows": 3}')
    with pytest.raises(UserError, match=r"this_machine_b\.json must hold a list of rows"):
        runner.play(case.load(tmp_path / "mine.yaml"))


def test_drawn_routing_repeats_as_often_as_it_says():
    trace = routing(models.load("mixtral-8x7b"), 400, reuse=0.345, recall=0.8)
    ids, guesses = trace.expert_ids, trace.predicted_ids[0]
    assert (ids[:, :, 0] != ids[:, :, 1]).all() and set(np.unique(ids)) == set(range(8))
    again = (ids[1:, :, :, None] == ids[:-1, :, None, :]).any(-1).mean()
    recall = (guesses[:, 1:, :, None] == ids[:, 1:, None, :]).any(-1).mean()
    assert again == pytest.approx(0.345, abs=0.01) and recall == pytest.approx(0.8, abs=0.01)
    assert (guesses[:, 0] == -1).all()


@pytest.mark.parametrize("setting", [{}, {"start": "hot"}])
def test_a_case_that_does_not_say_how_its_source_started_is_refused_in_one_line(setting):
    one = invented("ratios", [{"id": "a", "measured": 1}], setting=setting)
    with pytest.raises(UserError, match=r"^case invented: setting.start is .*; it must say how the source started"):
        start_of(one)
