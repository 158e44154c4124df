"""The H200 that was measured: its offload runtime from parts timed alone, its profile, and the energy that its powers give."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

import simmoe
from simmoe import hardware_profiles
from simmoe.cli.main import main
from simmoe.policies import runtime as runtimes
from simmoe.show import grid, tables
from simmoe.simulator.errors import UserError
from simmoe.simulator.physics.energy import Power, joules
from simmoe.sweeps import metrics
from simmoe.sweeps.validation import bars, case, runner
from simmoe.sweeps.validation.case import Case, Row
from tests.test_house import ROOT

MEASURED = ROOT / "sweeps" / "validation" / "absolute"
PARTS = json.loads((MEASURED / "h200_offload_parts.json").read_text("utf-8"))
ORACLE, MIXTRAL = PARTS["models"]["oracle"], PARTS["models"]["mixtral"]
EXPERT_MB, MIXTRAL_MB = (
    16.787456,
    352.321536,
)  # 4,096-wide experts of width 1,024 in bf16 with biases; three matrices of 4096 x 14336
EXPERT_US = 9 * 0.834 * 2000 / 1980 + EXPERT_MB / (0.93 * 4.8)  # kernels at 1980 MHz, bytes at a share of 4.8 TB/s
LAYERS = 9  # with experts


@pytest.fixture(scope="module")
def oracle() -> runner.Outcome:
    return runner.play(case.load("h200_offload_oracle"))


def by_id(outcome: runner.Outcome, name: str) -> bars.Line:
    return next(line for line in outcome.lines if line.row.id == name)


# --- the offload runtime --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_offload_runs_are_within_their_bars(oracle):
    """Hits and misses of every row too: a row whose decisions are not those of the run is refused."""
    assert len(oracle.judged) == 22 and len(oracle.lines) == 24 and not oracle.constants
    assert all(verdict.reached for verdict in oracle.verdicts), oracle.verdicts
    assert oracle.mean == pytest.approx(0.052, abs=0.002)
    assert oracle.worst.row.id == "sync, oracle, 75 %" and oracle.worst.error == pytest.approx(-0.148, abs=0.002)
    assert {line.row.facts["mode"] for line in oracle.lines if not line.judged} == {"eager"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, tokens, misses, waits_us, cpu_layers",
    [
        ("graph, oracle, resident", 174, 0, 0.0, 0),
        ("graph, switch, 12.5 %", 97, 702, 0.0, 0),
        ("serial, switch, 25 %", 107, 611, 0.0, 0),
        ("sync, switch, 75 %", 159, 138, 18.4, 0),
        ("cpu, oracle, 100 %, 9 layers on the CPU", 100, 0, 0.0, 9),
        ("cpu, oracle, 50 %, 4 layers on the CPU", 131, 0, 0.0, 4),
    ],
)
def test_a_row_is_the_sum_of_what_was_timed_alone(oracle, name, tokens, misses, waits_us, cpu_layers):
    """One expert a layer, so nothing hides a load: the static parts, the head, an expert a layer, each miss its copy and hand-over."""
    us = ORACLE["static_us"] + ORACLE["end_us"] + (LAYERS - cpu_layers) * EXPERT_US + LAYERS * waits_us
    us += misses / tokens * (ORACLE["copy_then_expert_us"] - ORACLE["expert_us"])
    us += cpu_layers * (360 + EXPERT_MB / (0.64 * PARTS["machine"]["host_bytes_per_s"] / 1e12))
    line = by_id(oracle, name)
    assert (line.row.facts["tokens"], line.row.facts["misses"]) == (tokens, misses)
    assert line.predicted == pytest.approx(us / 1000, rel=1e-4)


def test_medians_of_repeats_are_judged():
    with open(MEASURED / "h200_offload_runs.csv", encoding="utf-8", newline="") as stream:
        runs = [run for run in csv.DictReader(stream) if run["model"] == "oracle" and run["resident"] == "True"]
    times = sorted(float(run["ms_per_token_mean"]) for run in runs if run["mode"] == "sync")
    one = case.load("h200_offload_oracle")
    rows = {row.id: row for row in runner.kind_of(one).rows(one)}
    assert times == [1.7724, 1.807, 2.6049] and rows["sync, oracle, resident"].measured == 1.807
    assert rows["sync, oracle, resident"].facts["note"] == "3 runs, 1.772 to 2.605"


def copied(folder: Path, **changes: str) -> Case:
    """The case of the Oracle model with one run, of which some facts are others."""
    one = case.load("h200_offload_oracle")
    with open(MEASURED / "h200_offload_runs.csv", encoding="utf-8", newline="") as stream:
        run = next(csv.DictReader(stream))
    with open(folder / "runs.csv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(run))
        writer.writeheader()
        writer.writerow({**run, **changes})
    return replace(one, setting={**one.setting, "runs": str(folder / "runs.csv")})


def test_a_run_whose_decisions_are_others_is_refused(tmp_path):
    assert runner.play(copied(tmp_path)).mean < 0.06
    with pytest.raises(UserError, match="1496 hits and 34 misses are simulated where the run counted 1496 and 35"):
        runner.play(copied(tmp_path, misses="35"))


def test_a_trace_outside_the_project_is_read_from_its_folder(tmp_path, monkeypatch):
    one = copied(tmp_path)
    away = replace(one, setting={**one.setting, "traces": {"oracle": "drawn.npz"}})
    monkeypatch.setenv("SIMMOE_TRACES", str(tmp_path))
    assert runner.play(away).why_not == "trace not at hand: drawn.npz; set SIMMOE_TRACES to the folder that holds it"
    simmoe.save_trace(simmoe.load_trace("oracle"), tmp_path / "drawn.npz")
    assert runner.play(away).lines[0].predicted == runner.play(one).lines[0].predicted


def test_no_time_of_a_run_enters_its_prediction(tmp_path):
    (first,) = runner.play(copied(tmp_path)).lines
    (other,) = runner.play(copied(tmp_path, ms_per_token_mean="3.5")).lines
    assert other.row.measured == 3.5 and other.predicted == first.predicted


def test_the_runtime_states_what_the_parts_say():
    """Two sizes of an expert give each law: on the GPU the second expert of 352 MB tells the rate, on the CPU both sizes a line."""
    runtime = runtimes.load("offload_runtime")
    second_us = MIXTRAL["two_experts_us"] - MIXTRAL["expert_us"]
    assert MIXTRAL_MB / second_us / 4.8 == pytest.approx(runtime.known("decode.memory"), abs=0.005)
    fixed = [ORACLE["expert_us"] - EXPERT_MB * second_us / MIXTRAL_MB, MIXTRAL["expert_us"] - second_us]
    kernels = runtime.kernels["experts"] * runtime.known("decode.kernel") * 2e3 / 1.98e3 * 1e6
    assert min(fixed) * 0.95 < kernels < max(fixed)
    us_per_mb = (MIXTRAL["cpu_expert_us"] - ORACLE["cpu_expert_us"]) / (MIXTRAL_MB - EXPERT_MB)
    assert 1e12 / us_per_mb / PARTS["machine"]["host_bytes_per_s"] == pytest.approx(
        runtime.known("cpu.memory"), abs=0.005
    )
    assert ORACLE["cpu_expert_us"] - EXPERT_MB * us_per_mb == pytest.approx(runtime.known("cpu.layer") * 1e6, abs=1)


def test_pairs_that_were_measured_apart_are_asked_for_their_order():
    def verdict(share: float, *pairs: tuple[float, float]) -> bars.Verdict:
        lines = [bars.Line(Row(str(i), measured), predicted, False) for i, (measured, predicted) in enumerate(pairs)]
        (found,) = bars.judge("x", {"measured_pairs": {"gap": 0.05, "share": share}}, lines)
        return found

    close = (1.0, 9.0), (1.04, 8.0), (2.0, 10.0)  # the first two are not 5 % apart: two pairs remain
    assert verdict(1.0, *close).result == "2 of 2" and verdict(1.0, *close).reached
    assert verdict(0.7, *close, (3.0, 9.5)).result == "4 of 5" and verdict(0.7, *close, (3.0, 9.5)).reached
    assert not verdict(0.95, *close, (3.0, 9.5)).reached


# --- the profile ----------------------------------------------------------------------------------------------------


def test_the_profile_has_what_was_measured():
    hw = hardware_profiles.load("h200")
    assert hw.link.bytes_per_s == 55_400_000_000 and hw.device.bytes_per_s == 4_070_000_000_000
    assert hw.device.flops_per_s["bf16"] == 785 * 10**12 and hw.device.host_wait_ps == 18_400_000
    measured = [name for name, figure in hw.figures.items() if figure.kind == "measured"]
    assert {
        "link.bandwidth",
        "link.latency",
        "link.pageable",
        "units.gpu.bandwidth",
        "power.idle",
        "power.per_byte",
    } <= {*measured}


@pytest.mark.parametrize(
    "watts, memory, link, flops",
    [(519.5, 3.203e12, 0.0, 3.203e12), (688.3, 0.2384e12, 0.0, 651.05e12), (135.5, 55.13e9, 55.13e9, 0.0)],
)
def test_powers_give_the_watts_that_were_measured(watts, memory, link, flops):
    """One second of matrix-vector products, of matrix products, of copies: bytes and FLOPs of each were counted."""
    p = hardware_profiles.load("h200").power
    assert p is not None and p.idle_uw and p.byte_aj and p.link_byte_aj and p.flop_aj
    power = Power(p.idle_uw / 1e6, p.byte_aj / 1e18, p.link_byte_aj / 1e18, p.flop_aj / 1e18)
    assert joules(1, memory, link, flops, power) == pytest.approx(watts, rel=0.01)


# --- energy in the tables -------------------------------------------------------------------------------------------


def test_energy_counts_what_is_copied():
    """The same tokens with everything resident and with loads: time at rest, and of each copied byte what the link and the memory draw."""
    all_there = simmoe.run("h200", "oracle", tokens=300, budget="100%", start="warm")
    loading = simmoe.run("h200", "oracle", tokens=300, budget="12%")
    assert loading.decode.bytes > 10**9 and all_there.decode.bytes == 0
    slow, fast = (int(run.pass_ps[run.decode_passes].sum()) for run in (loading, all_there))
    expected = 123 * (slow - fast) / 1e12 + 230e-12 * loading.decode.bytes
    assert loading.energy is not None and all_there.energy is not None
    more = (loading.energy["joules_per_token"] - all_there.energy["joules_per_token"]) * loading.emitted
    assert more == pytest.approx(expected, rel=1e-9)


def test_energy_stands_in_every_table_whose_machine_has_the_figures(capsys):
    said = simmoe.run("h200", "oracle", tokens=128, budget="50%").energy
    assert said is not None
    words, value = ["--trace", "oracle", "--tokens", "128"], f"{said['joules_per_token']:.3g}"
    for command in (
        ["run", "--hw", "h200", *words],
        ["run", "--hw", "h200", "--budget", "50%", *words],
        ["compare", "--hw", "h200", "--hw", "phone_ufs4", "--budget", "50%", *words],
    ):
        assert main(command) == 0
        out = capsys.readouterr().out
        heading = next(line for line in out.splitlines() if "J/token" in line)
        end = heading.index("J/token") + len("J/token")
        cells = [
            line[:end].split()[-1] for line in out.splitlines() if line.startswith(("50", "bound", "h200", "phone"))
        ]
        assert value in cells or "--budget" not in command, out
        assert all(cell == "–" or float(cell) > 0 for cell in cells if "phone" not in cell), cells
        assert "J/token: estimated energy" in out
    assert main(["run", "--hw", "phone_ufs4", *words]) == 0  # which states no powers
    assert "J/token" not in capsys.readouterr().out


def test_energy_leaves_a_narrow_table_first():
    columns = [column.name for column in sorted(tables.COLUMNS, key=lambda column: -column.rank)]
    assert columns[0] == "J/token"
    fitting = grid.fitted(grid.Grid(tables.COLUMNS, (tuple("1234567" for _ in tables.COLUMNS),)), 100)
    assert "J/token" in fitting[0].gone


def test_a_sweep_can_be_judged_by_energy():
    run = simmoe.run("h200", "oracle", tokens=128, budget="50%")
    assert run.energy is not None and metrics.measure("joules_per_token", run) == run.energy["joules_per_token"]
    assert metrics.measure("joules_per_token", simmoe.run("phone_ufs4", "oracle", tokens=128, budget="50%")) is None
