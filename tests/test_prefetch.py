"""Prefetchers: what each guesses, against the rule written down once more as plain loops, and what a run says of them."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from simmoe import policies
from simmoe.cli.main import main
from simmoe.policies import arguments
from simmoe.policies.prefetch import Ask
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from tests.scenarios import build_trace, tiny_trace

Guess = tuple[int, int]


def guesses(trace: Trace, name: str, text: Trace | None = None, seed: int = 0) -> list[Guess]:
    module = policies.load("prefetch", name)
    event, obj = module.wanted(trace, Ask(arguments.given("prefetch", name, module), seed, text))
    assert (np.diff(event) >= 0).all() and len({*zip(event.tolist(), obj.tolist())}) == len(event)
    return list(zip(event.tolist(), obj.tolist()))


def drawn(seed: int, layers: int = 3, n: int = 5, k: int = 2, passes: int = 9) -> Trace:
    """Prompts and decode passes of up to three sequences that come and go; some token slots are unused."""
    draw = np.random.default_rng(seed)
    rows, sizes, sequences, phases = [], [], [], []
    for number in range(passes):
        mine = sorted(draw.choice(3, draw.integers(1, 4), replace=False).tolist())
        mine = mine * 2 if number % 4 == 0 else mine
        for sequence in sorted(mine):
            row = [draw.permutation(n)[:k].tolist() for _ in range(layers)]
            row[draw.integers(layers)][k - 1] = -1
            rows.append(row)
            sequences.append(sequence)
        sizes.append(len(mine))
        phases.append(PREFILL if number % 4 == 0 else DECODE)
    return build_trace(rows, sizes, phases, sequences, n, range(layers))


def each(trace: Trace) -> list[list[tuple[int, list[list[int]]]]]:
    """[passes] of (sequence, [layers] of experts) of each token."""
    found = []
    for begin, end in pairwise(trace.pass_ptr.tolist()):
        rows = range(begin, end)
        found.append(
            [
                (int(trace.sequence[t]), [[e for e in ids if e >= 0] for ids in trace.expert_ids[t].tolist()])
                for t in rows
            ]
        )
    return found


def asked(trace: Trace) -> list[set[int]]:
    """[events] objects that each requests."""
    n = trace.n_experts
    return [
        {layer * n + e for _, row in tokens for e in row[layer]}
        for tokens in each(trace)
        for layer in range(trace.n_layers)
    ]


def top(score: dict[int, int], many: int) -> list[int]:
    return sorted((e for e in score if score[e] > 0), key=lambda e: (-score[e], e))[:many]


def unique(found: list[Guess]) -> list[Guess]:
    return sorted(dict.fromkeys(one for one in found if one[0] >= 0), key=lambda one: one[0])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("lead", [1, 2, 3])
def test_last_token_guesses_what_the_last_row_of_the_sequence_used_in_the_layer(seed, lead):
    trace, last, want = drawn(seed), dict[int, list[list[int]]](), list[Guess]()
    for number, tokens in enumerate(each(trace)):
        for sequence in sorted({sequence for sequence, _ in tokens} & last.keys()):
            want += [(number * 3 + layer - lead, layer * 5 + e) for layer in range(3) for e in last[sequence][layer]]
        last.update(tokens)
    assert guesses(trace, f"last_token={lead}") == unique(want)
    assert want


def test_last_token_looks_no_further_than_a_token_is_long():
    with pytest.raises(
        UserError, match="last_token=4 looks further ahead than a token has MoE layers; give 3 or fewer"
    ):
        guesses(drawn(0), "last_token=4")


@pytest.mark.parametrize("lead", [1, 2])
def test_pregated_guesses_exactly_what_later_layers_of_the_pass_request(lead):
    trace = drawn(1)
    want = asked(trace)
    found = guesses(trace, f"pregated={lead}")
    for event in range(len(want)):
        mine = {o for e, o in found if e == event}
        assert mine == (want[event + lead] if event % 3 + lead < 3 else set())
    assert guesses(trace, "pregated=3") == []


@pytest.mark.parametrize("lead", [1, 2, 7])
def test_perfect_guesses_exactly_what_later_events_request(lead):
    trace = drawn(2)
    want = asked(trace)
    found = guesses(trace, f"perfect={lead}")
    for event in range(len(want)):
        assert {o for e, o in found if e == event} == (want[event + lead] if event + lead < len(want) else set())


def with_guesses(trace: Trace, leads: list[int], seed: int = 0) -> Trace:
    from dataclasses import replace

    ids = np.random.default_rng(seed).integers(-1, trace.n_experts, (len(leads), trace.n_tokens, trace.n_layers, 2))
    return replace(trace, predict_lead=np.array(leads, np.int16), predicted_ids=ids.astype(np.int16))


@pytest.mark.parametrize("lead", [1, 2])
def test_recorded_guesses_of_a_lead_are_decided_that_many_layers_earlier(lead):
    trace = with_guesses(drawn(3), [2, 1])
    ids, want = trace.predicted_ids[[2, 1].index(lead)], []
    for number, (begin, end) in enumerate(pairwise(trace.pass_ptr.tolist())):
        for t in range(begin, end):
            for layer in range(lead, 3):
                want += [(number * 3 + layer - lead, layer * 5 + e) for e in ids[t, layer].tolist() if e >= 0]
    assert guesses(trace, f"recorded={lead}") == unique(want)
    if lead == 1:
        assert guesses(trace, "next_layer") == unique(want)


def test_recorded_without_guesses_of_that_lead_says_which_there_are():
    with pytest.raises(
        UserError, match=r"recorded=2 needs guesses of lead 2 \(predicted_ids\), which the trace does not hold"
    ):
        guesses(drawn(3), "recorded=2")
    with pytest.raises(UserError, match="and the trace holds those of lead 1, 3 only"):
        guesses(with_guesses(drawn(3), [1, 3]), "recorded=2")


@pytest.mark.parametrize("accuracy", ["0%", "100%", "80%"])
def test_a_dial_is_right_with_its_share_of_chances_and_else_names_what_the_event_does_not_request(accuracy):
    trace = tiny_trace([[[a % 40, (a * 7 + 1) % 40, 41]] for a in range(700)], n_experts=64, n_layers=2)
    want, found = asked(trace), guesses(trace, f"dial={accuracy},lead=2", seed=3)
    assert found == guesses(trace, f"dial={accuracy},lead=2", seed=3)
    right = sum(o in want[event + 2] for event, o in found)
    assert all(o // 64 == event % 2 for event, o in found)  # of the layer that it is for
    total = sum(map(len, want[2:]))
    if accuracy == "100%":
        assert (right, len(found)) == (total, total)
    elif accuracy == "0%":
        assert right == 0 and len(found) > 0.9 * total  # two wrong guesses of an event may be one
    else:
        assert abs(right - 0.8 * total) < 4 * (0.16 * total) ** 0.5
        assert found != guesses(trace, f"dial={accuracy},lead=2", seed=4)


def test_what_a_dial_names_wrongly_is_drawn_evenly_from_the_experts_that_are_not_requested():
    trace = tiny_trace([[[1, 4]]] * 6000, n_experts=6)
    found = Counter(o for _, o in guesses(trace, "dial=0%"))
    assert set(found) == {0, 2, 3, 5} and max(found.values()) < 1.1 * min(found.values())


def test_a_dial_whose_event_requests_all_experts_guesses_no_wrong_one():
    assert guesses(tiny_trace([[[0, 1]]] * 4, n_experts=2), "dial=0%") == []


def shares(counts: dict, use: Counter, at: int, n: int) -> dict[int, int]:
    score = dict.fromkeys(range(n), 0)
    for i, tokens in use.items():
        total = sum(counts.get((at, i, j), 0) for j in range(n))
        for j in range(n):
            score[j] += counts.get((at, i, j), 0) * 2**20 // max(total, 1) * tokens
    return score


def learn_layers(counts: dict, tokens) -> None:
    for _, row in tokens:
        for layer in range(len(row) - 1):
            for i in row[layer]:
                for j in row[layer + 1]:
                    counts[layer, i, j] = counts.get((layer, i, j), 0) + 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("with_text", [False, True])
@pytest.mark.parametrize("experts", [0, 1])
def test_affinity_guesses_what_follows_the_experts_of_this_layer_most_often(seed, with_text, experts):
    trace, text, counts, want = drawn(seed), drawn(seed + 50) if with_text else None, {}, []
    for tokens in each(text) if text else []:
        learn_layers(counts, tokens)
    for number, tokens in enumerate(each(trace)):
        for layer in range(2):
            use = Counter(e for _, row in tokens for e in row[layer])
            want += [
                (number * 3 + layer, (layer + 1) * 5 + e)
                for e in top(shares(counts, use, layer, 5), experts or len(use))
            ]
        if not text:
            learn_layers(counts, tokens)
    assert guesses(trace, f"affinity={experts}", text) == unique(want)
    assert want


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("with_text", [False, True])
@pytest.mark.parametrize("lead", [1, 2, 3])
def test_expertflow_guesses_the_path_from_the_token_before_and_corrects_it(seed, with_text, lead):
    trace, text, want = drawn(seed), drawn(seed + 50) if with_text else None, []
    temporal, layers = {}, {}

    def learn(tokens, last) -> None:
        learn_layers(layers, tokens)
        for sequence, row in tokens:
            for layer in range(3):
                for i in last.get(sequence, [[]] * 3)[layer]:
                    for j in row[layer]:
                        temporal[layer, i, j] = temporal.get((layer, i, j), 0) + 1
            last[sequence] = row

    last = {}
    for tokens in each(text) if text else []:
        learn(tokens, last)
    last = {}
    for number, tokens in enumerate(each(trace)):
        before = [
            Counter(e for s in {s for s, _ in tokens} & last.keys() for e in last[s][layer]) for layer in range(3)
        ]
        path = [shares(temporal, before[layer], layer, 5) for layer in range(3)]
        for layer in range(3):
            event = max(number * 3 + layer - lead, number * 3 - 1)
            want += [(event, layer * 5 + e) for e in top(path[layer], len(before[layer]))]
        for layer in range(2):
            use = Counter(e for _, row in tokens for e in row[layer])
            more = shares(layers, use, layer, 5)
            score = {e: path[layer + 1][e] + more[e] for e in range(5)}
            want += [(number * 3 + layer, (layer + 1) * 5 + e) for e in top(score, len(use))]
        if text:
            last.update(tokens)
        else:
            learn(tokens, last)
    assert guesses(trace, f"expertflow={lead}", text) == unique(want)
    assert want


def test_moe_infinity_follows_the_stored_matrix_that_is_nearest_to_the_running_one():
    """Two stored sequences, alike in layer 0; the played one shows in layer 1 which of them it follows."""
    text = build_trace(
        [[[0], [1], [2]], [[0], [1], [3]], [[0], [1], [3]], [[0], [4], [4]]],
        [1] * 4,
        [DECODE] * 4,
        [0, 0, 0, 1],
        5,
        range(3),
    )
    played = build_trace([[[0], [4], [0]], [[0], [1], [0]]], [1] * 2, [DECODE] * 2, [7, 8], 5, range(3))
    found = guesses(played, "moe_infinity=1", text)
    # pass 0: after layer 0 both are equally near, the first counts: expert 1 of layer 1; after layer 1 the second is: 4 of layer 2
    # pass 1 is another sequence: after layer 1 the first is nearest, whose layer 2 used expert 3 twice
    assert found == [(0, 5 + 1), (1, 10 + 4), (3, 5 + 1), (4, 10 + 3)]
    both = guesses(played, "moe_infinity=1,lead=2", text)
    assert both == [(0, 5 + 1), (0, 10 + 3), (1, 10 + 4), (3, 5 + 1), (3, 10 + 3), (4, 10 + 3)]


def test_moe_infinity_remembers_what_the_sequence_used_before():
    """Layer 0 of the second token is alike in both matrices; what the first token used in layer 1 decides."""
    text = build_trace([[[0], [1]], [[0], [2]]], [1] * 2, [DECODE] * 2, [0, 1], 5, range(2))
    played = build_trace([[[0], [2]], [[0], [2]]], [1] * 2, [DECODE] * 2, [7, 7], 5, range(2))
    assert guesses(played, "moe_infinity", text) == [(0, 5 + 1), (2, 5 + 2)]


def test_moe_infinity_without_a_text_stores_the_sequences_that_have_ended():
    rows = [[[0], [1]], [[0], [1]], [[0], [3]], [[0], [2]], [[0], [2]]]
    played = build_trace(rows, [1] * 5, [DECODE] * 5, [0, 0, 1, 2, 2], 5, range(2))
    # sequence 1 meets the matrix of 0; sequence 2 those of 0 and 1, equally near at first; then only layer 0 is alike in both
    assert guesses(played, "moe_infinity") == [(4, 5 + 1), (6, 5 + 1), (8, 5 + 1)]
    assert guesses(played, "moe_infinity=0,matrices=1") == [(4, 5 + 1), (6, 5 + 3), (8, 5 + 3)]


@pytest.mark.parametrize("name", policies.names("prefetch"))
def test_what_a_prefetcher_says_of_a_token_does_not_depend_on_later_ones(name):
    """All but those that read ahead, which say so."""
    if {"future", "ahead"} & set(getattr(policies.load("prefetch", name), "NEEDS", ())):
        pytest.skip("reads ahead")
    one = with_guesses(drawn(6, passes=12), [1])
    rows = int(one.pass_ptr[6])
    ids = one.expert_ids.copy()
    ids[rows:] = (ids[rows:] + 1) % 5
    from dataclasses import replace

    other = replace(one, expert_ids=ids)
    ends = 6 * one.n_layers
    assert [g for g in guesses(one, name) if g[0] < ends] == [g for g in guesses(other, name) if g[0] < ends]


ON_A100 = ["run", "--hw", "a100", "--trace", "switch", "--budget", "50%", "--tokens", "64"]


def played(capsys, *words: str) -> dict:
    """The JSON of a run that the command plays."""
    assert main([*ON_A100, "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words: str) -> str:
    assert main([*ON_A100, *words]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("perfect", "perfect reads the future of the trace: a bound"),
        ("dial=50%,lead=2", "dial reads the future of the trace: a bound"),
        ("pregated", "pregated knows the next events of the text"),
        (
            "affinity:switch",
            "affinity learns from the very text that it is scored on: a bound. affinity:first=20% learns",
        ),
        ("affinity:first=20%", None),
        ("last_token", None),
        ("expertflow", None),
        ("moe_infinity=2", None),
    ],
)
def test_what_a_prefetcher_cannot_know_stands_in_the_notes(capsys, name, says):
    notes = played(capsys, "--prefetch", name).get("notes", [])
    found = [line for line in notes if "text" in line or "future" in line]
    assert len(found) == bool(says)
    assert all(line.startswith(says) for line in found)


def test_a_prefetcher_that_counts_no_text_refuses_one(capsys):
    assert "--prefetch last_token counts no text; leave out what stands behind the colon" in refused(
        capsys, "--prefetch", "last_token:oracle"
    )


def test_a_prefetcher_that_reads_other_passes_is_refused_where_passes_form_while_time_runs(capsys):
    clock = ("--schedule", "continuous", "--max-batch", "2")
    for name in ("last_token", "perfect", "dial", "expertflow", "moe_infinity:oracle"):
        assert f"--prefetch {name} reads other passes than the one that it is asked of" in refused(
            capsys, "--prefetch", name, *clock
        )
    assert "or tell it a text, affinity:TRACE" in refused(capsys, "--prefetch", "affinity", *clock)
    for name in ("affinity:oracle", "pregated"):
        assert played(capsys, "--prefetch", name, *clock)["prefill"]["prefetches"] > 0


def test_needs_that_no_prefetcher_has_are_one_line(tmp_path, capsys):
    (tmp_path / "mine.py").write_text('NEEDS = ("next_use",)\n\ndef wanted(trace, ask):\n    pass\n')
    assert (
        "policy mine.py has NEEDS = ('next_use',); it must be a tuple that names none or some of 'future'"
        in refused(capsys, "--prefetch", str(tmp_path / "mine.py"))
    )


SPACE = """
schema: 1
name: small
hw: [a100]
trace: [switch]
budget: [50%]
tokens: 256
objectives: {tok_s: maximize, memory_bytes: minimize}
prefetch: [PREFETCH]
"""


def test_a_sweep_refuses_a_prefetcher_that_reads_the_future_alone_and_shows_it_beside_another(tmp_path, capsys):
    space = tmp_path / "space.yaml"
    command = ["sweep", str(space), "--study", str(tmp_path / "study"), "--trials", "2", "--json"]
    space.write_text(SPACE.replace("PREFETCH", "perfect"))
    assert main(command) == 2
    assert (
        "prefetch perfect of the space reads the future of the trace, which no machine can" in capsys.readouterr().err
    )
    space.write_text(SPACE.replace("PREFETCH", "perfect, last_token"))
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert [bound["point"]["prefetch"] for bound in found["bounds"]] == ["perfect"]
