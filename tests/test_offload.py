"""The offload runtime: it counts what the simulator counts, and computes what the model with everything resident computes.

Nothing here asserts a wall time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simmoe
from simmoe import policies
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.decisions import Guesses
from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.format import trace as traces
from tests.conftest import make_trace

pytest.importorskip("torch", reason="the runtime needs PyTorch: pip install 'simmoe[moe]'")
pytest.importorskip("tokenizers", reason="the bundled text needs the package 'tokenizers': pip install 'simmoe[moe]'")

import torch

from simmoe.sweeps.validation import fidelity
from simmoe.sweeps.validation import offload_study as study
from simmoe.sweeps.validation.fidelity import Constants
from simmoe.workloads.offload.copier import Copier, Throttle
from simmoe.workloads.offload.eviction import events_of
from simmoe.workloads.offload.layout import PAGE, Layout, aligned, random_image
from simmoe.workloads.offload.play import play_text, play_trace
from simmoe.workloads.offload.record import Log, Played
from simmoe.workloads.offload.runtime import Options, Runtime
from simmoe.workloads.offload.store import FileStore, MemoryStore
from simmoe.workloads.offload.weather import Watch, Weather
from simmoe.workloads.oracle_moe import routers, training
from simmoe.workloads.oracle_moe.backbone import GPT
from simmoe.workloads.oracle_moe.recipe import PRESETS
from simmoe.workloads.oracle_moe.text.windows import held_out_pure

PREFILL = 12
SLOTS = (
    1,
    3,
    7,
    12,
)  # of 16 experts; a prefill pass asks for most of the 8 of a layer, so 1 and 3 are less than an event
LAYOUT = Layout(8, 16)


def untrained(router: str = "switch", **changes: Any) -> GPT:
    """A model with two MoE layers whose experts and gates differ as if they had been trained."""
    recipe = replace(PRESETS["tiny"], n_experts=8, top_k=2, **changes)
    file = routers.find(router)
    model = training.build(recipe, file, file.SETTINGS).eval()
    drawn = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for block in model.blocks:
            for parameter in block.ffn.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=drawn) * 0.05)
            block.router.gate.weight.mul_(20)
    return model


@pytest.fixture(scope="module")
def model() -> GPT:
    return untrained()


@pytest.fixture(scope="module")
def tokens() -> Any:
    return held_out_pure(2, 32).tokens


@pytest.fixture(scope="module")
def resident(model: GPT, tokens: Any) -> Played:
    """Everything resident: what every other run is compared with."""
    return play_text(model, tokens, PREFILL, Options())


def same_logits(a: Played, b: Played) -> bool:
    return len(a.logits) == len(b.logits) and all(torch.equal(x, y) for x, y in zip(a.logits, b.logits))


def assert_counts_of_the_simulator(played: Played, policy: str, budget: int, seed: int = 0) -> None:
    said = simmoe.replay(played.trace, [played.expert_bytes] * played.trace.n_layers, budget, policy, seed=seed)
    assert (played.hits, played.misses, played.evictions, played.bytes) == (
        said.hits, said.misses, said.evictions, said.bytes,
    )  # fmt: skip
    assert np.array_equal(played.hit, said.hit)


# --- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["lru", "fifo", "lfu", "lfu_resident", "belady", "random"])
@pytest.mark.parametrize(("files", "overlap"), [(False, True), (True, False)])
def test_text_counts_as_the_simulator_and_computes_as_if_resident(
    model: GPT, tokens: Any, resident: Played, policy: str, files: bool, overlap: bool, tmp_path: Path
) -> None:
    for slots in SLOTS:
        budget = slots * resident.expert_bytes + 7  # what fills no slot stays unused
        options = Options(budget, policy, overlap, future=events_of(resident.trace), seed=3)
        played = play_text(model, tokens, PREFILL, replace(options, folder=tmp_path if files else None))
        assert_counts_of_the_simulator(played, policy, budget, seed=3)
        assert same_logits(played, resident)
        assert np.array_equal(played.trace.expert_ids, resident.trace.expert_ids)
        assert played.peak_resident_bytes <= budget
        assert played.misses > 0 and (played.hits > 0) == bool(played.hit.any())


@pytest.mark.slow
def test_everything_resident_loads_nothing_and_agrees_with_the_model(model: GPT, tokens: Any, resident: Played) -> None:
    assert (resident.misses, resident.bytes, resident.evictions) == (0, 0, 0) and resident.hit.all()
    with torch.no_grad():
        for row, sequence in zip(torch.from_numpy(tokens), np.split(np.arange(len(resident.logits)), len(tokens))):
            logits = torch.cat([resident.logits[i] for i in sequence])
            torch.testing.assert_close(logits, model(row[None]).logits[0], atol=1e-5, rtol=1e-5)
    assert all(type(block.ffn).__name__ == "Experts" for block in model.blocks), "the model was not put back"


def test_the_recorded_trace_obeys_the_format(resident: Played, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "recorded.npz"
    traces.save(resident.trace, path)
    from simmoe.cli.main import main

    assert main(["trace", "check", str(path)]) == 0
    assert resident.trace.phase.tolist() == [0, *[1] * (32 - PREFILL)] * 2
    assert resident.trace.sequence.tolist() == [0] * 32 + [1] * 32


def test_tokens_without_an_expert_and_shared_experts_play(tokens: Any) -> None:
    model = untrained("null-experts", shared_expert=True)
    full = play_text(model, tokens, PREFILL, Options())
    assert full.trace.meta["null_experts"] and (full.trace.expert_ids < 0).any()
    budget = 4 * full.expert_bytes
    played = play_text(model, tokens, PREFILL, Options(budget))
    assert_counts_of_the_simulator(played, "lru", budget)
    assert same_logits(played, full)


@pytest.mark.slow
def test_wider_experts_cost_more_and_mean_the_same(model: GPT, tokens: Any, resident: Played) -> None:
    wide = play_text(model, tokens[:1], PREFILL, Options(), widen=3)
    assert wide.expert_bytes > 2.5 * resident.expert_bytes
    torch.testing.assert_close(torch.cat(wide.logits), torch.cat(resident.logits[: len(wide.logits)]))


def test_wrong_inputs_are_one_clear_line(model: GPT, tokens: Any, resident: Played) -> None:
    with pytest.raises(UserError, match=r"the budget of 5 B holds no expert of [\d,]+ B; raise it"):
        play_text(model, tokens, PREFILL, Options(5))
    with pytest.raises(UserError, match="the offload runtime has no policy 'arc'; choose one of lru, fifo"):
        play_text(model, tokens, PREFILL, Options(policy="arc"))
    with pytest.raises(UserError, match=r"belady must know the run: give `future=events_of\(trace\)`"):
        play_text(model, tokens, PREFILL, Options(policy="belady"))
    with pytest.raises(UserError, match="a prefill of 33 tokens does not fit into sequences of 32"):
        play_text(model, tokens, 33, Options())
    with pytest.raises(UserError, match="the model has no MoE layer to offload"):
        play_text(GPT(PRESETS["tiny"]).eval(), tokens, PREFILL, Options())


# --- a given routing ------------------------------------------------------------------------------------------------


def drawn_trace(n_experts: int = 6, layers: int = 2, k: int = 2, seed: int = 1, passes: int = 14) -> Trace:
    """Passes of one to four tokens with random routing."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, passes).tolist()
    return make_trace(
        [[[rng.permutation(n_experts)[:k].tolist() for _ in range(layers)] for _ in range(n)] for n in sizes], n_experts
    )


@pytest.mark.parametrize("policy", ["lru", "lfu", "lfu_resident", "fifo", "belady", "random", "static"])
def test_a_given_routing_with_prefetches_counts_as_the_simulator(policy: str) -> None:
    trace = drawn_trace()
    requests = requests_of(trace)
    rng = np.random.default_rng(2)
    wishes = [rng.permutation(requests.n_objects)[: rng.integers(0, 4)].tolist() for _ in range(requests.n_events)]
    guesses = Guesses(np.cumsum([0, *map(len, wishes)]), np.array([o for wish in wishes for o in wish]))
    module = fidelity.static(trace) if policy == "static" else policies.load("eviction", policy)
    image = random_image(LAYOUT, requests.n_objects, 0)
    for slots in (1, 2, 4, 9):
        budget = slots * LAYOUT.nbytes
        options = Options(budget, policy, future=events_of(trace), guesses=wishes, seed=4)
        played = play_trace(trace, LAYOUT, image, options)
        said = decide(requests, np.full(2, LAYOUT.nbytes), module, budget, guesses=guesses, seed=4)
        assert played.hits == said.hit.sum() and played.evictions == len(said.evicted)
        loaded = np.concatenate((requests.obj[~said.hit], guesses.obj[said.issued]))
        assert sorted(obj for _, obj in played.loads) == sorted(loaded.tolist())
        assert played.peak_resident_bytes <= budget
        assert np.array_equal(played.trace.expert_ids, trace.expert_ids)


class Gated(MemoryStore):
    """Holds the first load back until `copier` has been given as many loads as `until`."""

    def __init__(self, image: Any, until: int) -> None:
        super().__init__(image)
        self.until, self.copier = until, None

    def read(self, obj: int, into: Any) -> None:
        deadline = time.monotonic() + 20
        while self.copier.submitted < self.until:
            assert time.monotonic() < deadline, "the loads that were waited for never came"
            time.sleep(0.001)
        super().read(obj, into)


def layer_outputs(options: Options, events: Sequence[Any], image: Any, store: Any = None) -> tuple[list[Any], Runtime]:
    x = torch.randn(3, LAYOUT.d_model, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), Runtime(LAYOUT, image, Log(6, {}), 1, options) as runtime:
        if store is not None:
            store.copier = runtime.copier
            runtime.copier.store = store
        found = []
        for ids in events:
            runtime.log.begin(1, np.zeros(1, np.int64), np.zeros(1, np.int64))
            found.append(runtime.layer(0, x[: len(ids)], np.array(ids)))
    return found, runtime


def test_a_load_that_is_evicted_in_flight_is_paid_and_forgotten() -> None:
    image = random_image(LAYOUT, 6, 0)
    events = [[[-1]], [[1], [2]], [[2]]]  # the prefetch of 5 has not arrived when 1 and 2 take both slots
    options = Options(2 * LAYOUT.nbytes, guesses=[[5], [], []])
    found, runtime = layer_outputs(options, events, image, Gated(image, until=3))
    want, _ = layer_outputs(Options(), events, image)
    assert all(torch.equal(a, b) for a, b in zip(found, want))
    assert runtime.log.loads == [(0, 5), (1, 1), (1, 2)] and runtime.slots.evictions == 1
    assert set(runtime.slots.slot_of) == {1, 2}


def test_a_hit_whose_prefetch_is_on_its_way_is_computed_when_it_arrives() -> None:
    image = random_image(LAYOUT, 6, 0)
    events = [[[0]], [[5], [1], [0]]]
    found, runtime = layer_outputs(Options(3 * LAYOUT.nbytes, guesses=[[5], []]), events, image, Gated(image, until=1))
    want, _ = layer_outputs(Options(), events, image)
    assert all(torch.equal(a, b) for a, b in zip(found, want))
    assert (runtime.log.hits, runtime.log.misses) == (2, 2)


# --- stores and the copy thread -------------------------------------------------------------------------------------


def test_files_hold_what_memory_holds(tmp_path: Path) -> None:
    image = random_image(LAYOUT, 6, 0)
    assert LAYOUT.nbytes % PAGE == 0 and image.ctypes.data % PAGE == 0
    store = FileStore(tmp_path, image, 3)
    into = aligned(1, LAYOUT.nbytes)
    for obj in (5, 0, 3):
        store.read(obj, into[0])
        assert np.array_equal(into[0], image[obj])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layer-000.bin", "layer-001.bin"]
    with pytest.raises(OSError, match="the file of layer 1 ends within expert 2"):
        store.nbytes *= 4
        store.read(5, aligned(1, store.nbytes)[0])
    store.close()


class Broken(MemoryStore):
    def read(self, obj: int, into: Any) -> None:
        raise OSError(f"no expert {obj}")


def test_an_error_of_the_copy_thread_reaches_the_caller() -> None:
    image = random_image(LAYOUT, 6, 0)
    with pytest.raises(RuntimeError, match="the copy thread failed: no expert 4"):
        layer_outputs(Options(2 * LAYOUT.nbytes), [[[4]]], image, Broken(image))
    copier = Copier(Broken(image), aligned(2, LAYOUT.nbytes))
    tickets = [copier.submit(0, 0)]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no expert 0"):
            copier.wait(tickets[0], 20)
    with pytest.raises(RuntimeError, match="no expert 0"):
        copier.submit(1, 1)
    copier.close()
    assert not copier.thread.is_alive()


def test_no_wait_is_for_ever() -> None:
    image = random_image(LAYOUT, 6, 0)
    store = Gated(image, until=2)
    copier = store.copier = Copier(store, aligned(2, LAYOUT.nbytes))  # type: ignore[assignment]
    ticket = copier.submit(0, 0)
    with pytest.raises(TimeoutError, match=r"the load of expert 0 has not arrived after 0\.05 s"):
        copier.wait(ticket, 0.05)
    copier.wait(copier.submit(1, 1), 20)
    assert ticket.arrived
    copier.close()


def test_the_throttled_link_keeps_absolute_deadlines() -> None:
    now, slept = [0], []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds * 1e9))
        now[0] += slept[-1] + 40  # every sleep ends late

    link = Throttle(1_000_000_000, 100, clock=lambda: now[0], sleep=sleep)
    assert link.hold(0, 1000) == 1100 and now[0] == 1140
    assert link.hold(0, 1000) == 2200 and slept == [1100, 1060]  # lateness does not add up
    now[0] = 9000  # the copy itself took longer than the link: no sleep
    assert link.hold(2000, 1000) == 3300 and len(slept) == 2
    assert link.hold(9000, 1) == 9101  # an idle link starts when the load is issued
    assert Throttle(3).deadline(0, 1) == 333_333_334  # rounded up


# --- predicting a run -----------------------------------------------------------------------------------------------

CONSTANTS = Constants(dense=1000, decide=10, submit=5, expert=400, fresh=-20, load=2000, hand_off=80, slowdown=1)
SIZE = 4096


def predicted(overlap: bool, slots: int = 3, **changes: float) -> fidelity.Prediction:
    trace = drawn_trace()
    decisions = fidelity.replayed(trace, policies.load("eviction", "lru"), slots * SIZE, SIZE)
    return fidelity.predict(trace, decisions, replace(CONSTANTS, **changes), SIZE, overlap)


def test_without_overlap_the_prediction_is_the_sum() -> None:
    serial = predicted(False)
    assert serial.simulated == pytest.approx(serial.serial_sum, rel=1e-4)
    assert predicted(True).perfect_overlap < predicted(True).simulated < serial.simulated


def test_a_prediction_for_one_hit_and_one_load_by_hand() -> None:
    trace = make_trace([[[[0]]], [[[0, 1]]]], 2)
    decisions = fidelity.replayed(trace, policies.load("eviction", "lru"), 2 * SIZE, SIZE)
    ahead = fidelity.predict(trace, decisions, CONSTANTS, SIZE, overlap=True).simulated
    expert = 400 - 20 * 2 / 3  # two of the three requests compute on what has just been copied
    assert ahead == pytest.approx(
        2 * (1010 + 2080 + expert + 5 * 2 / 3) * 1e-9, rel=1e-4
    )  # the hit hides behind the load
    serial = fidelity.predict(trace, decisions, CONSTANTS, SIZE, overlap=False).simulated
    assert serial == pytest.approx((2 * (1010 + 2080 + expert) + expert) * 1e-9, rel=1e-4)


def test_contention_and_hand_off_cost_time() -> None:
    base = predicted(True).simulated
    assert predicted(True, slowdown=1.5, load=300).simulated > predicted(True, load=300).simulated
    assert predicted(True, hand_off=300).simulated > base
    assert predicted(True, slots=12).simulated < base


def test_constants_are_means_of_the_samples() -> None:
    image = random_image(LAYOUT, 12, 0)
    played = play_trace(drawn_trace(passes=30), LAYOUT, image, Options(4 * LAYOUT.nbytes, sample=True))
    assert_counts_of_the_simulator(played, "lru", 4 * LAYOUT.nbytes)  # samples change nothing
    samples = played.samples
    assert len(samples.dense) == len(samples.expert) == 60
    assert len(samples.copy) == len(samples.wake) == len(samples.fresh) == len(samples.beside) == 30
    found = Constants.of(played)
    assert (found.dense, found.expert, found.load) == tuple(
        np.mean(x) for x in (samples.dense, samples.expert, samples.copy)
    )
    assert found.slowdown >= 1 and found.expert + found.fresh == pytest.approx(np.mean(samples.fresh))
    assert Constants.pooled([found, found]) == found


@pytest.mark.slow
@pytest.mark.parametrize("kind", study.KINDS)
def test_a_study_has_a_row_for_every_run(kind: str, tmp_path: Path) -> None:
    trace = drawn_trace(passes=8)
    image = random_image(LAYOUT, 12, 0)
    bench = study.Bench(kind, trace, LAYOUT, image, 100_000_000, 0, tmp_path)
    said: list[str] = []
    rows = study.study(bench, ("lru", "static"), (0.25, 0.75), said.append)
    assert sorted((r["policy"], r["budget"]) for r in rows) == [(p, b) for p in ("lru", "static") for b in (0.25, 0.75)]
    assert len(said) == 4
    for row in rows:
        assert row["error"] == row["predicted_s"] / row["measured_s"] - 1 == row["errors"]["simulated"]
        assert set(row["errors"]) == set(study.MODELS) and row["pooled_s"] > 0
    found = json.loads(json.dumps(study.summary(rows)))
    assert found["runs"] == 4 and 0 <= found["pairs_in_order"] <= found["pairs"] <= 6


@pytest.mark.slow
def test_the_study_command_writes_json(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "study.json"
    small = ["--tokens", "3", "--batch", "2", "--d-model", "8", "--d-ff", "8", "--policies", "lru"]
    assert study.main(["--kind", "memcpy", "--out", str(out), *small]) == 0
    found = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == found["summary"] and len(found["rows"]) == 4
    assert study.main(["--kind", "memcpy", "--earlier", str(out), "--out", str(tmp_path / "later.json"), *small]) == 0
    later = json.loads((tmp_path / "later.json").read_text())
    assert set(later["summary"]["mean_error"]) == {*study.MODELS, "earlier_constants"}
    for row in later["rows"]:
        assert row["errors"]["earlier_constants"] == row["earlier_s"] / row["measured_s"] - 1
    capsys.readouterr()
    assert study.main(["--tokens", "100000", *small[2:]]) == 2
    assert "decode passes of 2 tokens, 100000 are wanted; lower --tokens" in capsys.readouterr().err


def test_batches_take_each_token_from_another_sequence() -> None:
    whole = traces.load("switch")
    trace = study.batched(whole, 3, 5)
    traces.check(trace)
    assert trace.n_passes == 5 and trace.n_tokens == 15
    assert trace.sequence.reshape(5, 3).tolist() == [[0, 1, 2]] * 5
    first = int(np.flatnonzero(whole.phase == 1)[0])
    row = int(whole.pass_ptr[first])
    assert np.array_equal(trace.expert_ids[0], whole.expert_ids[row])


def test_bad_weather_is_more_than_a_fifth() -> None:
    assert Weather(0.15, 0.1).bad and not Weather(0.1, 0.1).bad and not Weather(None, None).bad
    seen = Watch().weather()
    assert seen.steal is None or seen.steal >= 0
