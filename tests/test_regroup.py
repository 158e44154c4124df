"""Other passes than recorded: chunks of prompts and static batches, against plain lists, by hand and by what must not change."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe.cli.main import main
from simmoe.policies.schedule.batches import regrouped as batched
from simmoe.policies.schedule.chunks import regrouped as prefill_chunks
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads.format.trace import check, digest, first_tokens, load, names
from tests import scenarios
from tests.scenarios import build_trace, examples

Passes = list[tuple[int, list[int]]]  # phase and recorded rows of each pass
NAMES = np.array([7, 0, 3], np.int32)  # ids of sequences tell nothing about their order
COUNTS = st.integers(1, 9)


def tagged(trace: Trace) -> Trace:
    """Every gate weight is the row it was recorded in, guesses are anything; nothing may be written."""
    tokens, layers, _ = trace.expert_ids.shape
    guesses = np.random.default_rng(tokens).integers(-1, trace.n_experts, (2, tokens, layers, 2)).astype(np.int16)
    guesses[1, :, :1] = -1  # a lead of 1 knows nothing of the first layer
    rows = np.arange(tokens, dtype=np.float16)[:, None, None]
    whole = replace(trace, sequence=NAMES[trace.sequence], gate_weights=np.broadcast_to(rows, trace.expert_ids.shape),
                    predict_lead=np.array([0, 1], np.int16), predicted_ids=guesses)  # fmt: skip
    for array in vars(whole).values():
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    return replace(whole, meta={**whole.meta, "digest": digest(whole)})


def recorded(layout: Passes, sequences: list[int]) -> Trace:
    """One layer of 5 experts; `sequences` of the rows, in order."""
    rows = [[[row % 5]] for row in range(len(sequences))]
    return tagged(build_trace(rows, [len(own) for _, own in layout], [phase for phase, _ in layout], sequences, 5, [0]))


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    top_k = draw(st.integers(1, 2))
    return tagged(draw(scenarios.traces(range(draw(st.integers(1, 2))), 5, top_k, least_passes=4)))


@st.composite
def one_after_the_other(draw: st.DrawFn) -> Trace:
    """Sequences of one or two turns; chunks of any size, answers token by token."""
    layout, sequences, row = [], [], 0
    for sequence in range(draw(st.integers(1, 3))):
        for _ in range(draw(st.integers(1, 2))):
            chunks = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
            steps = draw(st.integers(1, 4))
            for phase, size in [(PREFILL, size) for size in chunks] + [(DECODE, 1)] * steps:
                layout.append((phase, list(range(row, row := row + size))))
                sequences += [sequence] * size
    return recorded(layout, sequences)


def passes(trace: Trace) -> Passes:
    """The recorded rows of every pass, as the tags name them."""
    assert trace.gate_weights is not None
    rows = trace.gate_weights[:, 0, 0].astype(int).tolist()
    ends = trace.pass_ptr.tolist()
    return [(phase, rows[a:b]) for phase, a, b in zip(trace.phase.tolist(), ends, ends[1:])]


def sequences_of(trace: Trace, rows: list[int]) -> dict[int, list[int]]:
    """Rows by sequence, in order of the first row."""
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(int(trace.sequence[row]), []).append(row)
    return found


def plain_chunks(trace: Trace, tokens: int) -> Passes:
    """What `prefill_chunks` says, with lists: a prompt is open until its sequence decodes."""
    units: Passes = []
    prompts: dict[int, list[int]] = {}
    for phase, rows in passes(trace):
        for sequence, own in sequences_of(trace, rows).items():
            if phase == DECODE:
                prompts.pop(sequence, None)
            elif sequence in prompts:
                prompts[sequence] += own
            else:
                prompts[sequence] = own
                units.append((PREFILL, own))
        if phase == DECODE:
            units.append((DECODE, rows))
    cut = []
    for phase, rows in units:
        size = tokens if phase == PREFILL else len(rows)
        cut += [(phase, rows[start : start + size]) for start in range(0, len(rows), size)]
    return cut


def plain_batches(trace: Trace, sequences: int) -> Passes:
    """What `batched` says, with lists: turns[sequence][turn][phase] holds the rows of each chunk or step."""
    turns: dict[int, list[tuple[list[list[int]], list[list[int]]]]] = {}
    for phase, rows in passes(trace):
        for sequence, own in sequences_of(trace, rows).items():
            mine = turns.setdefault(sequence, [([], [])])
            if phase == PREFILL and mine[-1][DECODE]:
                mine.append(([], []))
            mine[-1][phase].append(own)
    found: Passes = []
    for start in range(0, len(turns), sequences):
        batch = list(turns.values())[start : start + sequences]
        for turn in range(max(map(len, batch))):
            here = [mine[turn] for mine in batch if turn < len(mine)]
            found += [(PREFILL, rows) for prompt, _ in here for rows in prompt]
            for step in range(max(len(answer) for _, answer in here)):
                found.append((DECODE, [row for _, answer in here for row in answer[step : step + 1] for row in row]))
    return found


def both(trace: Trace, count: int) -> list[Trace]:
    return [prefill_chunks(trace, count), batched(trace, min(count, len(np.unique(trace.sequence))))]


# --- by hand -----------------------------------------------------------------------------------------------------------


def test_prompts_are_joined_and_cut_again():
    layout = [(PREFILL, [0, 1, 2]), (PREFILL, [3, 4]), (DECODE, [5]), (DECODE, [6])]
    trace = recorded(layout, [0] * 7)
    assert passes(prefill_chunks(trace, 4)) == [(PREFILL, [0, 1, 2, 3]), (PREFILL, [4]), *layout[2:]]
    assert (
        passes(prefill_chunks(trace, 5))
        == passes(prefill_chunks(trace, 99))
        == [(PREFILL, [0, 1, 2, 3, 4]), *layout[2:]]
    )


def test_prompts_that_were_read_together_are_taken_apart():
    layout = [(PREFILL, [0, 1, 2]), (PREFILL, [3, 4]), (DECODE, [5, 6])]
    trace = recorded(layout, [1, 0, 1, 0, 1, 1, 0])
    assert passes(prefill_chunks(trace, 2)) == [(PREFILL, [0, 2]), (PREFILL, [4]), (PREFILL, [1, 3]), (DECODE, [5, 6])]


def test_a_decode_pass_ends_the_prompts_of_its_own_sequences_alone():
    layout = [(PREFILL, [0]), (PREFILL, [1]), (DECODE, [2]), (PREFILL, [3]), (PREFILL, [4]), (DECODE, [5])]
    trace = recorded(layout, [0, 1, 0, 1, 0, 1])
    assert passes(prefill_chunks(trace, 8)) == [
        (PREFILL, [0]), (PREFILL, [1, 3]), (DECODE, [2]), (PREFILL, [4]), (DECODE, [5]),
    ]  # fmt: skip


SERIAL = [(PREFILL, [0, 1]), (DECODE, [2]), (DECODE, [3]), (DECODE, [4]),  # sequence 0
          (PREFILL, [5]), (PREFILL, [6]), (DECODE, [7]),  # sequence 1
          (PREFILL, [8]), (DECODE, [9]), (DECODE, [10])]  # fmt: skip
OWNERS = [0] * 5 + [1] * 3 + [2] * 3


def test_static_batches():
    trace = recorded(SERIAL, OWNERS)
    two = [
        (PREFILL, [0, 1]),
        (PREFILL, [5]),
        (PREFILL, [6]),
        (DECODE, [2, 7]),
        (DECODE, [3]),
        (DECODE, [4]),
        *SERIAL[7:],
    ]
    three = [
        (PREFILL, [0, 1]),
        (PREFILL, [5]),
        (PREFILL, [6]),
        (PREFILL, [8]),
        (DECODE, [2, 7, 9]),
        (DECODE, [3, 10]),
        (DECODE, [4]),
    ]
    assert passes(batched(trace, 2)) == two
    assert passes(batched(trace, 3)) == three
    played = batched(trace, 3)
    assert played.position.tolist() == [
        0,
        1,
        0,
        1,
        0,
        2,
        2,
        1,
        3,
        2,
        4,
    ]  # as recorded, so each row attends to as many positions
    assert played.sequence.tolist() == NAMES[[0, 0, 1, 1, 2, 0, 1, 2, 0, 2, 0]].tolist()
    assert played.expert_ids[:, 0, 0].tolist() == [row % 5 for _, rows in three for row in rows]


def test_recorded_batches_are_taken_apart():
    trace = batched(recorded(SERIAL, OWNERS), 3)
    assert passes(batched(trace, 1)) == SERIAL


def test_several_rows_of_a_sequence_in_one_decode_pass_stay_together():
    layout = [(PREFILL, [0]), (DECODE, [1, 2]), (PREFILL, [3]), (DECODE, [4])]  # as when drafted tokens are verified
    assert passes(batched(recorded(layout, [0, 0, 0, 1, 1]), 2)) == [
        (PREFILL, [0]),
        (PREFILL, [3]),
        (DECODE, [1, 2, 4]),
    ]


def test_a_batch_takes_its_turns_together():
    layout = [(PREFILL, [0]), (DECODE, [1]), (PREFILL, [2]), (DECODE, [3]), (PREFILL, [4]), (DECODE, [5])]
    trace = recorded(layout, [0, 0, 0, 0, 1, 1])
    assert passes(batched(trace, 2)) == [
        (PREFILL, [0]),
        (PREFILL, [4]),
        (DECODE, [1, 5]),
        (PREFILL, [2]),
        (DECODE, [3]),
    ]


# --- whatever the trace -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=examples(200), deadline=None)
@given(trace=st.one_of(traces(), one_after_the_other()), tokens=COUNTS)
def test_chunks_equal_the_plain_lists(trace, tokens):
    assert passes(prefill_chunks(trace, tokens)) == plain_chunks(trace, tokens)


@settings(max_examples=examples(200), deadline=None)
@given(trace=st.one_of(traces(), one_after_the_other()), data=st.data())
def test_batches_equal_the_plain_lists(trace, data):
    sequences = data.draw(st.integers(1, len(np.unique(trace.sequence))))
    assert passes(batched(trace, sequences)) == plain_batches(trace, sequences)


@settings(max_examples=examples(150), deadline=None)
@given(trace=traces(), count=COUNTS)
def test_every_row_occurs_once_with_all_that_belongs_to_it(trace, count):
    before = digest(trace)
    for played in both(trace, count):
        check(played)
        rows = [row for _, own in passes(played) for row in own]
        assert sorted(rows) == list(range(trace.n_tokens))
        for name in ("expert_ids", "gate_weights", "sequence", "position"):
            assert np.array_equal(getattr(played, name), getattr(trace, name)[rows])
            assert getattr(played, name).dtype == getattr(trace, name).dtype
        assert np.array_equal(played.predicted_ids, trace.predicted_ids[:, rows])
        assert np.array_equal(played.predict_lead, trace.predict_lead)
        assert np.array_equal(
            np.repeat(played.phase, np.diff(played.pass_ptr)), np.repeat(trace.phase, np.diff(trace.pass_ptr))[rows]
        )
        assert dict(played.meta) == {key: value for key, value in trace.meta.items() if key != "digest"}
        assert (played.pass_ptr.dtype, played.phase.dtype) == (np.int64, np.int8)
    assert digest(trace) == before == trace.meta["digest"]


@pytest.mark.slow
@settings(max_examples=examples(150), deadline=None)
@given(trace=traces(), count=COUNTS)
def test_the_rows_of_a_sequence_keep_their_order(trace, count):
    for played in both(trace, count):
        for sequence in np.unique(trace.sequence):
            assert np.array_equal(
                played.gate_weights[played.sequence == sequence], trace.gate_weights[trace.sequence == sequence]
            )


@pytest.mark.slow
@settings(max_examples=examples(150), deadline=None)
@given(trace=traces(), tokens=COUNTS, others=COUNTS)
def test_a_chunk_is_of_one_sequence_and_full_unless_it_is_the_last_of_its_prompt(trace, tokens, others):
    played = prefill_chunks(trace, tokens)
    prefill = [rows for phase, rows in passes(played) if phase == PREFILL]
    assert all(len(rows) <= tokens and len(sequences_of(trace, rows)) == 1 for rows in prefill)
    assert [one for one in passes(played) if one[0] == DECODE] == [one for one in passes(trace) if one[0] == DECODE]
    assert digest(prefill_chunks(played, tokens)) == digest(played)
    assert digest(prefill_chunks(prefill_chunks(trace, others), tokens)) == digest(
        played
    )  # what was joined before is forgotten
    prompts = [rows for phase, rows in plain_chunks(trace, trace.n_tokens) if phase == PREFILL]
    assert len(prefill) == sum(-(-len(rows) // tokens) for rows in prompts)


@pytest.mark.slow
@settings(max_examples=examples(150), deadline=None)
@given(trace=traces(), data=st.data())
def test_a_decode_pass_of_a_batch_asks_for_the_union_of_its_tokens(trace, data):
    sequences = data.draw(st.integers(1, len(np.unique(trace.sequence))))
    played = batched(trace, sequences)
    asked = requests_of(played)
    for event in range(asked.n_events):
        own = passes(played)[asked.event_pass[event]][1]
        column = int(asked.event_layer[event])
        used = {column * trace.n_experts + e for e in trace.expert_ids[own, column].ravel().tolist() if e >= 0}
        got = asked.obj[asked.ptr[event] : asked.ptr[event + 1]].tolist()
        assert len(got) == len(used) and set(got) == used
    assert Counter(asked.use_obj.tolist()) == Counter(requests_of(trace).use_obj.tolist())


@settings(max_examples=examples(150), deadline=None)
@given(trace=one_after_the_other(), data=st.data())
def test_what_ran_one_after_the_other_is_a_batch_of_one(trace, data):
    assert digest(batched(trace, 1)) == digest(
        replace(trace, meta={k: v for k, v in trace.meta.items() if k != "digest"})
    )
    sequences = data.draw(st.integers(1, len(np.unique(trace.sequence))))
    assert digest(batched(batched(trace, sequences), 1)) == digest(batched(trace, 1))


def test_a_trace_without_gates_and_guesses_has_none_afterwards():
    bare = replace(recorded(SERIAL, OWNERS), gate_weights=None, predict_lead=None, predicted_ids=None)
    for played in both(replace(bare, meta={"n_experts": 5}), 3):
        assert check(played).gate_weights is played.predict_lead is played.predicted_ids is None


@pytest.mark.parametrize(("play", "line"), [
    (lambda t: prefill_chunks(t, 0), r"^--prefill-chunk 0 is no number of tokens; give 1 or more$"),
    (lambda t: prefill_chunks(t, 2.5), r"^--prefill-chunk 2\.5 is no number of tokens; give 1 or more$"),
    (lambda t: batched(t, 0), r"^--batch 0 is no number of sequences; give 1 or more$"),
    (lambda t: batched(t, -2), r"^--batch -2 is no number of sequences; give 1 or more$"),
    (lambda t: batched(t, 8), r"^--batch 8 cannot be filled: the trace holds 3 sequences; give 3 or less$"),
    (lambda t: batched(replace(t, sequence=np.zeros_like(t.sequence)), 2),
     r"^--batch 2 cannot be filled: the trace holds 1 sequence; give 1$"),
])  # fmt: skip
def test_bad_values_get_one_line(play, line):
    with pytest.raises(UserError, match=line):
        play(recorded(SERIAL, OWNERS))


def bundled(**options):
    return simmoe.run("a100", "switch", budget="25%", **options)


@pytest.mark.slow
@pytest.mark.skipif("switch" not in names(), reason="the bundled traces are not made yet")
def test_a_run_in_other_passes_is_the_run_of_the_regrouped_trace():
    run, whole = bundled(prefill_chunk=16, batch=7, tokens=2000), load("switch")
    same = simmoe.run("a100", first_tokens(batched(prefill_chunks(whole, 16), 7), 2000), budget="25%")
    assert run.pass_ps.tolist() == same.pass_ps.tolist() and run.counts == same.counts and run.tok_s == same.tok_s
    facts = run.to_json()["scenario"]["trace"]
    assert (facts["prefill_chunk"], facts["batch"], facts["of_tokens"]) == (16, 7, whole.n_tokens)
    assert facts["digest"] == whole.meta["digest"]  # of what was recorded
    assert run.memory_bytes["kv"] == 7 * bundled(tokens=300).memory_bytes["kv"]


@pytest.mark.slow
@pytest.mark.skipif("switch" not in names(), reason="the bundled traces are not made yet")
def test_batches_of_one_are_what_was_recorded_but_for_the_digest():
    plain, one = bundled(tokens=1500), bundled(tokens=1500, batch=1)
    assert plain.pass_ps.tolist() == one.pass_ps.tolist() and plain.counts == one.counts
    assert plain.digest != one.digest


@pytest.mark.slow
@pytest.mark.skipif("switch" not in names(), reason="the bundled traces are not made yet")
def test_the_command_line_says_which_passes_and_refuses_what_cannot_be(capsys):
    assert (
        main(
            [
                "run",
                "--hw",
                "a100",
                "--trace",
                "switch",
                "--budget",
                "25%",
                "--batch",
                "49",
                "--prefill-chunk",
                "32",
                "--tokens",
                "4000",
            ]
        )
        == 0
    )
    assert "prompts in chunks of 32, batches of 49" in " ".join(capsys.readouterr().out.split())
    for options, line in (
        ("--batch 50", "the trace holds 49 sequences; give 49 or less"),
        ("--prefill-chunk 0", "give 1 or more"),
    ):
        assert main(f"run --hw a100 --trace switch --budget 25% {options}".split()) == 2
        assert line in capsys.readouterr().err
