"""Verify passes: a trace may say which of its rows were kept, and rates count those. By hand, by plain loops, by what must not change."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simmoe.cli.main import main
from simmoe.play.confidence import band
from simmoe.play.passes import scheduled
from simmoe.play.plan import Plan
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.tokens import kept_by_pass, ps_per_token
from simmoe.play.workload import Workload
from simmoe.policies.schedule.batches import regrouped as batched
from simmoe.policies.schedule.chunks import regrouped as prefill_chunks
from simmoe.show.files import write_per_token
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads.format.describe import describe
from simmoe.workloads.format.trace import check, digest, first_tokens, load, save
from tests.scenarios import build_trace, examples, shape_for

Passes = list[tuple[int, list[tuple[int, int]]]]  # phase, and (sequence, emitted) of each row

A, B = 0, 1
BY_HAND: Passes = [
    (PREFILL, [(A, 1), (A, 1)]),
    (PREFILL, [(B, 1)]),
    (DECODE, [(A, 1), (A, 1), (A, 0), (B, 1), (B, 0), (B, 0)]),
    (DECODE, [(A, 1), (A, 0), (B, 0), (B, 0)]),
    (DECODE, [(A, 0), (A, 0), (B, 1), (B, 1)]),
    (DECODE, [(A, 1), (B, 0)]),
]
PS = np.array([7000, 8000, 600, 900, 500, 100])


def verified(passes: Passes, layers: int = 2, n_experts: int = 5) -> Trace:
    """After rejected rows a sequence goes back to the first of them; a row uses one expert in each layer."""
    sequences = [sequence for _, rows in passes for sequence, _ in rows]
    emitted = [kept for _, rows in passes for _, kept in rows]
    experts = [[[(row * (layer + 2)) % n_experts] for layer in range(layers)] for row in range(len(sequences))]
    sizes, phases = [len(rows) for _, rows in passes], [phase for phase, _ in passes]
    bare = build_trace(experts, sizes, phases, sequences, n_experts, range(layers))
    reached: dict[int, int] = {}
    positions = []
    for _, rows in passes:
        ahead = dict(reached)
        for sequence, kept in rows:
            positions.append(at := ahead.get(sequence, 0))
            ahead[sequence] = at + 1
            reached[sequence] = at + 1 if kept else reached.get(sequence, 0)
    return replace(bare, position=np.array(positions, np.int32), emitted=np.array(emitted, np.int8))


@st.composite
def drafted(draw: st.DrawFn) -> Trace:
    """Decode passes of up to three sequences: of each some rows, the first so many of them kept, perhaps none."""
    passes: Passes = [(PREFILL, [(A, 1)])]
    for _ in range(draw(st.integers(1, 8))):
        if draw(st.integers(0, 4)) == 0:
            passes.append((PREFILL, [(draw(st.integers(0, 2)), 1)] * draw(st.integers(1, 3))))
            continue
        rows: list[tuple[int, int]] = []
        for sequence in draw(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True)):
            size = draw(st.integers(1, 4))
            kept = draw(st.integers(0, size))
            rows += [(sequence, int(i < kept)) for i in range(size)]
        passes.append((DECODE, rows))
    return verified(passes)


def flat(trace: Trace) -> Trace:
    """Every row at position 0, so that the trace may say anything about its rows, or nothing, and attention costs the same."""
    return replace(trace, position=np.zeros_like(trace.position))


def without(trace: Trace) -> Trace:
    return replace(trace, emitted=None)


def ones(trace: Trace) -> Trace:
    return replace(trace, emitted=np.ones(trace.n_tokens, np.int8))


def run(trace: Trace, hw: str = "a10", budget: float = 0.4, **options: Any) -> Run:
    model = shape_for(trace)
    workload = Workload(hw, trace, model, **options)
    return play(workload, Plan(int(model.all_expert_bytes * budget)), workload.engine("plain"))


def rows_of(trace: Trace) -> list[tuple[int, int, int]]:
    """(pass, sequence, emitted) of each decode row, in plain Python."""
    assert trace.emitted is not None
    found, ends = [], trace.pass_ptr.tolist()
    for number, phase in enumerate(trace.phase.tolist()):
        if phase == DECODE:
            rows = range(ends[number], ends[number + 1])
            found += [(number, int(trace.sequence[row]), int(trace.emitted[row])) for row in rows]
    return found


def plain_times(trace: Trace, pass_ps: list[int]) -> list[float]:
    """What `ps_per_token` says, with dicts."""
    shares: dict[tuple[int, int], int] = {}
    for number, sequence, emitted in rows_of(trace):
        shares[number, sequence] = shares.get((number, sequence), 0) + emitted
    waited: dict[int, int] = {}
    found = []
    for (number, sequence), emitted in shares.items():
        waited[sequence] = waited.get(sequence, 0) + pass_ps[number]
        if emitted:
            found.append(waited.pop(sequence) / emitted)
    return sorted(found)


def test_times_and_rows_by_hand():
    trace = check(verified(BY_HAND))
    assert trace.position.tolist() == [0, 1, 0, 2, 3, 4, 1, 2, 3, 4, 5, 2, 3, 5, 6, 2, 3, 5, 4]
    assert kept_by_pass(trace).tolist() == [2, 1, 3, 1, 2, 1]
    # A: 600 / 2, then 900 / 1, then (500 + 100) / 1. B: 600 / 1, then (900 + 500) / 2; the last pass gives B nothing more.
    assert sorted(ps_per_token(trace, PS).tolist()) == [300, 600, 600, 700, 900]
    assert ps_per_token(without(trace), PS).tolist() == [600, 900, 500, 100]


def test_time_after_the_last_token_of_a_sequence_is_not_that_of_another():
    trace = verified([(DECODE, [(A, 1)]), (DECODE, [(A, 0)]), (DECODE, [(B, 0)]), (DECODE, [(B, 1), (B, 1)])])
    assert ps_per_token(trace, np.array([10, 200, 3000, 40000])).tolist() == [10, 43000 / 2]


def test_a_run_counts_what_was_kept():
    trace = flat(verified(BY_HAND))
    played, every = run(trace), run(without(trace))
    spent = sum(played.pass_ps[2:].tolist())
    assert played.emitted == 7 and played.decode.tokens == 16
    assert played.tok_s == 7e12 / spent and every.tok_s == 16e12 / spent
    assert played.bytes_per_token == played.decode.bytes / 7 and every.bytes_per_token == played.decode.bytes / 16 > 0
    said, before = played.energy, every.energy
    assert said is not None and before is not None
    assert said["joules_per_token"] == pytest.approx(before["joules_per_token"] * 16 / 7)
    assert said["decode_watts"] == before["decode_watts"]
    times = plain_times(trace, played.pass_ps.tolist())
    assert [played.tpot_ms(p) for p in (20, 50, 99)] == [times[0] / 1e9, times[2] / 1e9, times[4] / 1e9]


def test_what_a_pass_costs_does_not_depend_on_what_was_kept():
    trace = flat(verified(BY_HAND))
    played, every = run(trace), run(without(trace))
    assert played.pass_ps.tolist() == every.pass_ps.tolist() and played.clocks == every.clocks
    assert played.counts == every.counts and played.decode == every.decode and played.where_ps() == every.where_ps()
    assert played.ttft_s == every.ttft_s and played.memory_bytes == every.memory_bytes


def test_all_ones_is_a_trace_that_does_not_say_but_for_the_time_of_several_rows():
    one_row = verified([(PREFILL, [(A, 1)] * 3), (PREFILL, [(B, 1)]), *[(DECODE, [(A, 1), (B, 1)])] * 4])
    said, silent = run(one_row).to_json(), run(without(one_row)).to_json()
    assert said["decode"].pop("emitted") == silent["decode"]["tokens"] == 8
    assert said.pop("verify_passes")["drafted"] == 0
    assert said["scenario"]["trace"].pop("digest") != silent["scenario"]["trace"].pop("digest")
    assert said.pop("digest") != silent.pop("digest")  # another trace, another scenario
    assert said == silent
    several = ones(flat(verified(BY_HAND)))
    said, silent = run(several), run(without(several))
    assert (said.tok_s, said.bytes_per_token, said.energy) == (silent.tok_s, silent.bytes_per_token, silent.energy)
    assert said.tpot_ms(1) < silent.tpot_ms(1)  # of a token, and of a whole pass


def test_a_trace_that_does_not_say_has_no_count_of_it():
    trace = without(flat(verified(BY_HAND)))
    assert '"emitted"' not in json.dumps(run(trace).to_json()) and "emitted" not in json.dumps(describe(trace))


def test_rows_that_count_as_tokens_though_a_pass_may_have_verified_them_are_said():
    """A file of five rows a pass reads 75 % faster than one of one row, and looks as if that were true."""
    guesses, alone = flat(verified(BY_HAND)), [(DECODE, [(A, 1), (B, 1)])] * 4
    (said,) = (one for one in run(without(guesses)).notes if "rows of one sequence" in one)
    assert said.startswith("Decode passes hold up to 3 rows of one sequence, and each row counts as a token")
    prompts = verified([(PREFILL, [(A, 1)] * 3), *alone])  # a row for each of two sequences: both are tokens
    assert not any("rows of one sequence" in one for trace in (guesses, without(prompts)) for one in run(trace).notes)


def test_nothing_kept_is_no_speed_and_no_figure_per_token():
    trace = verified([(PREFILL, [(A, 1)]), (DECODE, [(A, 0), (A, 0)])])
    played = run(check(trace))
    assert (played.tok_s, played.bytes_per_token, played.energy, played.tpot_ms(50)) == (0.0, None, None, None)
    assert run(verified([(PREFILL, [(A, 1)])])).tpot_ms(50) is None


@given(drafted(), st.lists(st.integers(1, 10**6), min_size=9, max_size=9))
@settings(max_examples=examples(300))
def test_times_are_those_of_a_plain_loop(trace: Trace, pass_ps: list[int]):
    times = ps_per_token(check(trace), np.array(pass_ps[: trace.n_passes]))
    assert sorted(times.tolist()) == pytest.approx(plain_times(trace, pass_ps))
    assert kept_by_pass(trace).sum() == trace.emitted.sum()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 10**6)), min_size=1, max_size=9))
@settings(max_examples=examples(100))
def test_the_tokens_of_a_sequence_share_all_of_its_time_up_to_the_last_one(steps: list[tuple[int, int]]):
    trace = verified([(DECODE, [(A, int(row < kept)) for row in range(5)]) for kept, _ in steps])
    tokens = [kept for kept, _ in steps if kept]
    last = max((number for number, (kept, _) in enumerate(steps) if kept), default=-1)
    times = ps_per_token(trace, np.array([ps for _, ps in steps]))
    assert (times * tokens).sum() == pytest.approx(sum(ps for _, ps in steps[: last + 1]))


@pytest.mark.slow
@given(drafted(), st.data())
@settings(max_examples=examples(50))
def test_rejecting_more_rows_never_raises_a_speed(trace: Trace, data: st.DataObject):
    lost = data.draw(st.lists(st.booleans(), min_size=trace.n_tokens, max_size=trace.n_tokens))
    decode = np.repeat(trace.phase, np.diff(trace.pass_ptr)) == DECODE
    fewer = np.where(decode & np.array(lost), 0, trace.emitted).astype(np.int8)
    more, less = run(flat(trace)), run(flat(replace(trace, emitted=fewer)))
    assert less.pass_ps.tolist() == more.pass_ps.tolist()
    assert (less.tok_s is more.tok_s is None) or less.tok_s <= more.tok_s
    if more.tok_s:
        assert less.tok_s / more.tok_s == pytest.approx(less.emitted / more.emitted)


def least_positions(trace: Trace) -> list[int]:
    """The least position that each row may have, in plain Python."""
    least: dict[int, int] = {}
    rejected_before: dict[int, bool] = {}
    found = []
    for sequence, position, emitted in zip(trace.sequence.tolist(), trace.position.tolist(), trace.emitted.tolist()):
        found.append(least.get(sequence, 0))
        if emitted or not rejected_before.get(sequence, False):
            least[sequence] = position
        rejected_before[sequence] = not emitted
    return found


@given(drafted(), st.data())
@settings(max_examples=examples(300))
def test_positions_fall_back_to_the_first_rejected_row_and_not_further(trace: Trace, data: st.DataObject):
    row = data.draw(st.integers(0, trace.n_tokens - 1))
    position = trace.position.copy()
    position[row] = data.draw(st.integers(max(0, position[row] - 3), position[row] + 3))
    moved = replace(trace, position=position)
    bad = [i for i, (at, least) in enumerate(zip(position.tolist(), least_positions(moved))) if at < least]
    if not bad:
        check(moved)
        return
    with pytest.raises(UserError) as caught:
        check(moved)
    row = int(re.search(r"of token (\d+) falls", str(caught.value)).group(1))
    assert row in bad and f"below {least_positions(moved)[row]}, the least here" in str(caught.value)


@pytest.mark.parametrize(
    ("positions", "emitted", "least"),
    [
        ([5, 6, 7, 8, 6], [1, 0, 0, 0, 1], None),  # back to the first rejected one
        ([5, 6, 7, 8, 5], [1, 0, 0, 0, 1], 6),  # of the kept one
        ([5, 6, 7, 8, 6], [1, 1, 0, 0, 1], 7),
        ([5, 6, 7, 6, 7, 6], [1, 0, 0, 0, 0, 0], None),  # two passes, or two branches, that reject all
        ([5, 6, 7, 6], [1, 0, 1, 1], 7),  # once a row is kept, it is over
        ([5, 4], [0, 1], 5),
    ],
)
def test_positions_by_hand(positions: list[int], emitted: list[int], least: int | None):
    trace = verified([(DECODE, [(B, 0)]), (DECODE, [(A, kept) for kept in emitted]), (DECODE, [(B, 0)])])
    trace = replace(trace, position=np.array([0, *positions, 1], np.int32))
    if least is None:
        check(trace)
    else:
        with pytest.raises(
            UserError, match=f"of token {len(emitted)} falls within sequence 0 below {least}, the least here"
        ):
            check(trace)


def test_without_emitted_positions_do_not_fall():
    trace = verified(BY_HAND)
    with pytest.raises(UserError, match=r"position 5 of token 17 falls within sequence 0$"):
        check(without(trace))


def test_it_is_kept_in_files_and_in_the_digest(tmp_path):
    trace = verified(BY_HAND)
    saved = save(trace, tmp_path / "verified.npz")
    again = load(tmp_path / "verified.npz")
    assert again.emitted.dtype == np.int8 and again.emitted.tolist() == trace.emitted.tolist()
    flipped = trace.emitted.copy()
    flipped[-1] = 1
    others = {digest(without(trace)), digest(ones(trace)), digest(replace(trace, emitted=flipped))}
    assert len(others | {saved.meta["digest"]}) == 4
    page = (Path(__file__).parent.parent / "docs" / "trace_format.md").read_text()
    scope: dict[str, Any] = {}
    exec(re.search(r"```python\n(import hashlib.*?)```", page, re.DOTALL).group(1), scope)
    assert scope["trace_digest"](tmp_path / "verified.npz") == saved.meta["digest"]


BAD = {
    "dtype": (np.ones(19, np.int64), r"emitted has dtype int64; format v1 wants int8: use .astype\(numpy.int8\)"),
    "shape": (np.ones(18, np.int8), r"emitted has shape \(18,\); it must be \(19,\), one value for each token"),
    "value": (np.array([1] * 18 + [2], np.int8), r"emitted of token 18 is 2; 1 = its token was kept, 0 = it was rejected"),
    "negative": (np.array([1] * 5 + [-1] * 14, np.int8), r"emitted of token 5 is -1"),
    "prefill": (np.array([1, 0] + [1] * 17, np.int8), r"emitted of token 1 is 0, but its pass is prefill; .*: write 1"),
    "too far": (np.ones(19, np.int8), r"position 5 of token 17 falls within sequence 0 below 6, the least here"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, tmp_path, capsys):
    emitted, line = BAD[name]
    save(without(flat(verified(BY_HAND))), tmp_path / "trace.npz")
    with np.load(tmp_path / "trace.npz") as file:
        content = {**file, "position": verified(BY_HAND).position, "emitted": emitted}
    meta = {key: value for key, value in json.loads(str(content["meta"])).items() if key != "digest"}
    np.savez(tmp_path / "bad.npz", **{**content, "meta": np.array(json.dumps(meta))})
    assert main(["trace", "check", str(tmp_path / "bad.npz")]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and re.search(line, out.err), out.err


def test_other_passes_are_refused(tmp_path, capsys):
    trace = verified(BY_HAND)
    with pytest.raises(UserError, match=r"^--batch 1 makes other passes than recorded, .* leave --batch out$"):
        batched(trace, 1)
    batched(without(trace), 1)
    assert scheduled(trace, "recorded", None, None) is trace
    save(replace(trace, meta={**trace.meta, "model": "qwen3-30b-a3b"}), tmp_path / "t.npz")
    assert main(["run", "--hw", "a100", "--trace", str(tmp_path / "t.npz"), "--budget", "1%", "--batch", "2"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@given(drafted(), st.integers(1, 3))
@settings(max_examples=examples(60))
def test_chunks_of_prompts_leave_verify_passes_as_they_are(trace, tokens):
    """Which guesses are right depends on the pass that they were made for, and chunks change no decode pass."""
    made = check(prefill_chunks(trace, tokens))
    assert _decoded(made) == _decoded(trace) and int(made.kept.sum()) == int(trace.kept.sum())
    assert np.diff(made.pass_ptr)[made.phase == PREFILL].max() <= tokens


def _decoded(trace: Trace) -> list[tuple[list[int], list[int], list[int], list[int]]]:
    """Sequence, position, mark and experts of the rows of each decode pass."""
    assert trace.emitted is not None
    fields = trace.sequence, trace.position, trace.emitted, trace.expert_ids
    return [
        tuple(field[begin:end].tolist() for field in fields)  # type: ignore[misc]
        for begin, end, phase in zip(trace.pass_ptr, trace.pass_ptr[1:], trace.phase)
        if phase == DECODE
    ]


def test_an_engine_that_reads_prompts_in_chunks_plays_verify_passes(tmp_path, capsys):
    trace = verified(BY_HAND, layers=48, n_experts=128)
    ids = np.stack([(trace.expert_ids[..., 0] + slot) % 128 for slot in range(8)], axis=-1).astype(np.int16)
    meta = {**trace.meta, "model": "qwen3-30b-a3b", "top_k": 8}
    save(replace(trace, expert_ids=ids, gate_weights=None, meta=meta), tmp_path / "t.npz")
    words = ["run", "--hw", "h200", "--trace", str(tmp_path / "t.npz"), "--runtime", "llama_cpp_cuda", "--json"]
    assert main(words) == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out)["decode"]["emitted"] == run(verified(BY_HAND)).emitted


def test_the_first_tokens_take_their_marks_along():
    trace = verified(BY_HAND)
    part = check(first_tokens(trace, 9))
    assert part.n_tokens == 9 and part.emitted.tolist() == trace.emitted[:9].tolist()
    assert run(trace, tokens=9).emitted == 3


def test_trace_info_and_the_table_of_passes_show_them(tmp_path, capsys):
    trace = verified(BY_HAND)
    assert describe(trace)["emitted of decode tokens"] == 7 and describe(trace)["decode tokens"] == 16
    save(trace, tmp_path / "t.npz")
    assert main(["trace", "info", str(tmp_path / "t.npz")]) == 0
    assert re.search(r"emitted of decode tokens +7\n", capsys.readouterr().out)
    played = run(trace)
    assert played.to_json()["decode"]["emitted"] == 7
    write_per_token(played, tmp_path / "passes.csv")
    table = list(csv.DictReader((tmp_path / "passes.csv").open()))
    assert [int(row["emitted"]) for row in table] == [2, 1, 3, 1, 2, 1]
    assert [int(row["tokens"]) for row in table] == [2, 1, 6, 4, 4, 2]


def test_the_band_is_about_emitted_tokens():
    rows = [(A, 1), (A, 1), (A, 0), (A, 0)]
    half = flat(verified([(PREFILL, [(A, 1)]), *[(DECODE, rows)] * 12]))
    some, every = band(run(half)), band(run(without(half)))
    for mine, whole in ((some.text, every.text), (some.hardware, every.hardware)):
        assert mine == pytest.approx([value / 2 for value in whole])
    uneven = verified([(PREFILL, [(A, 1)]), *[(DECODE, rows)] * 70, *[(DECODE, [(A, 1)] * 4)] * 70])
    low, high = band(run(uneven)).text
    assert high / low > 1.2 and asdict(band(run(half)))["text"][0] > 0
