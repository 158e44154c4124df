"""The conformance kit on every file of the folders, and on files that break what it checks."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simmoe import policies
from simmoe.cli.main import main
from simmoe.kit import CHECKS, check_kit, eviction, kinds_of, miss, prefetch, timed
from simmoe.kit.referee import broken
from simmoe.kit.scenarios import NO_STARTS, SCENARIOS, Scenario, scenarios
from simmoe.play.result import Run
from simmoe.show import progress
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.decisions import Decisions
from simmoe.simulator.nouns.run import WAS_LATE, WITHDRAWN
from simmoe.simulator.time import compile as compiled
from tests.conftest import COMPILED, one_layer
from tests.test_house import ROOT

FILES = [(kind, name) for kind in CHECKS for name in policies.names(kind)]  # every file: no list to edit
COUNTED = [("prefetch", f"{name}:first=20%") for name in ("affinity", "expertflow", "moe_infinity")] + [
    ("prefetch", "recorded=3")
]
DECIDED = ["room and pins kept, hits are what was resident", "played again: the same decisions"]
TIMED = [
    "every request and every prefetch counted once",
    "played again and by the engine simpy: the same decisions and times",
]


@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(*one, marks=pytest.mark.slow) if one[0] != "eviction" else one for one in FILES + COUNTED],
)
def test_every_bundled_file_conforms(kind: str, name: str) -> None:
    lines = CHECKS[kind][2](name, False)
    assert lines[-1] == "not played by the compiled engine" and all(
        f"{SCENARIOS} scenarios" in line for line in lines[:-2]
    )
    for line, said in zip(lines[-3:], DECIDED if kind == "eviction" else TIMED):
        assert line.endswith(said)


@COMPILED
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), FILES)
def test_every_bundled_file_conforms_compiled(kind: str, name: str) -> None:
    assert CHECKS[kind][2](name, True)[-1].startswith("compiled: the same decisions")


def test_the_kind_of_a_file_is_told_by_its_functions(tmp_path: Path) -> None:
    assert kinds_of("lru") == ["eviction"] and kinds_of("moe_infinity") == ["eviction", "prefetch"]
    for kind, text in (
        ("prefetch", "def wanted(trace, ask): ..."),
        ("miss", "def serve(n, resident, event, m): ..."),
        ("eviction", BORROWED),
    ):
        (tmp_path / "mine.py").write_text(text)
        assert kinds_of(str(tmp_path / "mine.py")) == [kind]
    for text, says in (
        ("def unit_of(a): ...", "mine.py defines none of victim\\(\\) "),
        ("def victim(", "mine.py cannot be read: SyntaxError"),
    ):
        (tmp_path / "mine.py").write_text(text)
        with pytest.raises(UserError, match=says):
            kinds_of(str(tmp_path / "mine.py"))
    with pytest.raises(
        UserError, match="no policy that the kit plays, and no file, is named 'lruu'; did you mean 'lru'"
    ):
        check_kit("lruu")


BORROWED = "from simmoe.policies.eviction.lru import victim"


def test_the_scenarios_reach_what_they_must() -> None:
    cases = list(scenarios())
    kinds = {(case.scope, len(case.guesses.obj) > 0, case.guesses.buffered) for case in cases}
    assert len(kinds) == 6
    assert any(len(set(case.expert_bytes.tolist())) > 1 for case in cases) and any(
        len(case.cold_at) > 1 for case in cases
    )
    assert any(case.budget_bytes == case.expert_bytes.max() for case in cases)
    made = [eviction._played(policies.load("eviction", "lru"), case, np.zeros(0, np.int64), Player()) for case in cases]
    assert sum(len(one.evicted) for one in made) > 3000 and sum((one.evicted_for < 0).sum() for one in made) > 300
    own = [case.requests.widest * case.expert_bytes.min() > case.budget_bytes for case in cases]
    assert any(own)  # events that do not fit


LRU = (policies.FOLDER / "eviction" / "lru.py").read_text("utf-8") + "\n\nCALLS = [0]\n"


SOMETIMES = """def victim(s, free, event, x):
    CALLS[0] += 1
    if CALLS[0] % 3 == 0:
        for o in range(len(free)):
            if free[o]:
                return o
"""


def written(tmp_path: Path, change: str, instead: str) -> Path:
    assert change in LRU
    path = tmp_path / "mine.py"
    path.write_text(LRU.replace(change, instead))
    return path


def test_a_file_of_the_users_conforms(tmp_path: Path) -> None:
    assert check_kit(written(tmp_path, "CALLS = [0]", ""), both=False)[2] == "played again: the same decisions"


def test_state_outside_of_init_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, "def victim(s, free, event, x):\n", SOMETIMES)  # fmt: skip
    with pytest.raises(
        UserError, match=r"^policy mine.py decides otherwise when it is played again: .*; scenario \d+ \(experts of "
    ):
        check_kit(path, both=False)


def test_a_pinned_victim_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, "    return oldest_free(s[1], len(s[1]) - 1, free)\n", "    return s[1][len(s[1]) - 1]\n")
    with pytest.raises(
        UserError,
        match=r"^policy mine.py: victim\(\) returned \d+ in event \d+, an expert that the event pins.*; scenario \d+ \(",
    ):
        check_kit(path, both=False)


def decided(case: Scenario) -> Decisions:
    return eviction._played(policies.load("eviction", "lru"), case, np.zeros(0, np.int64), Player())


def test_the_referee_sees_what_the_machine_would_not_say() -> None:
    """Decisions that are changed by hand: the referee must not trust the machine's own checks."""
    case = next(
        one
        for one in scenarios()
        if one.scope == "global" and not len(one.guesses.obj) and len(decided(one).evicted) > 9
    )
    made = decided(case)
    assert not list(broken(case, made))
    for field in ("hit", "evicted", "used"):
        changed = getattr(made, field).copy()
        middle = len(changed) // 2
        changed[middle] = not changed[middle] if field == "hit" else changed[middle] - 1
        assert list(broken(case, replace(made, **{field: changed}))), field
    assert list(broken(case._replace(budget_bytes=int(made.used.max()) - 1), made))


def test_the_referee_sees_a_pinned_victim() -> None:
    """Two of one event, where a third could leave."""
    requests = requests_of(one_layer([[0], [1, 2], [0, 1]], 3))
    case = Scenario(0, requests, np.array([1]), 2, "global", requests.no_guesses, NO_STARTS)
    made = decided(case)
    assert made.evicted.tolist() == [0, 2] and not list(broken(case, made))
    wrong = replace(made, evicted=np.array([0, 1]))
    assert next(broken(case, wrong)) == "expert 1 leaves in event 2, which pins it, while another could"


def test_the_page_shows_a_policy_of_at_most_forty_lines_that_conforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a user would: the text of the page in a file, by the command and through the kit."""
    page = (ROOT / "docs/extending/eviction.md").read_text("utf-8")
    text = re.search(r"```python\n# second_use.py\n(.*?)```", page, re.S)
    assert text and len(text[1].splitlines()) <= 40
    monkeypatch.chdir(tmp_path)
    Path("second_use.py").write_text(text[1])
    command = ["run", "--hw", "a100", "--trace", "switch", "--budget", "25%", "--tokens", "256", "--engine", "plain"]
    assert main([*command, "--eviction", "./second_use.py"]) == 0
    assert "second_use" in capsys.readouterr().out
    assert check_kit("second_use.py", both=False)[0] == "second_use.py is an eviction policy"


# --- prefetchers and miss rules ---------------------------------------------------------------------------------------


def test_the_scenarios_with_a_clock_reach_what_they_must() -> None:
    """Beside a prefetcher of each kind of miss rule, and beside a miss rule of each kind of prefetcher."""
    early = [timed.played(case) for case in timed.drawn("dial=60%", ("dial=60%",), prefetch.BESIDE)]
    late = [timed.played(case) for case in timed.drawn("", miss.BESIDE, ("cache_aware=90%",))]
    kinds = {(run.plan.scope, run.plan.prefetch_into, run.plan.cancel) for run in early}
    assert len(kinds) == 8 and {run.plan.timeline for run in early} == set(timed.TIMELINES)
    assert {run.workload.hw.unified for run in early} == {True, False} and any(
        run.plan.page_cache_bytes for run in late
    )
    for runs in (early, late):
        assert sum(int((run.clocks.fate == WITHDRAWN).sum()) for run in runs) > 200
        assert sum(int((run.clocks.fate == WAS_LATE).sum()) for run in runs) > 200
        assert sum(run.counts.substituted for run in runs) > 200 and any(run.decisions.wait.any() for run in runs)
        assert any(run.plan.cold_per_sequence for run in runs) and any(run.workload.batch for run in runs)
    assert sum(run.counts.dropped for run in early) > 100 and sum(run.counts.on_cpu for run in early) > 200
    into = [run for run in early if run.plan.prefetch_into == "buffers"]
    assert any((run.decisions.evicted_for < 0).any() for run in early) and all(
        (run.decisions.evicted_for >= 0).all() for run in into
    )


WANTED = "import numpy as np\nCALLS = [0]\ndef wanted(trace, ask):\n"
LEAD = "    rows = np.flatnonzero(trace.expert_ids[trace.pass_ptr[1:-1], 0, 0] >= 0)\n"
AHEAD = (
    "    return (rows + 1) * trace.n_layers - 1, trace.expert_ids[trace.pass_ptr[1:-1], 0, 0][rows].astype(np.int64)\n"
)
BEFORE = """    ids = trace.expert_ids[trace.pass_ptr[:-2], 0, 0].astype(np.int64)
    return np.arange(1, trace.n_passes) * trace.n_layers, np.maximum(ids, 0)
"""
WRONG_GUESSES = {
    "remembers": (
        "    CALLS[0] += 1\n    return np.zeros(1, np.int64), np.array([CALLS[0] % 3])\n",
        "answers otherwise when it is asked again: draw with ask.seed, and keep nothing outside of wanted()",
    ),
    "draws without the seed": (
        "    return np.zeros(9, np.int64), np.random.default_rng().integers(0, 3, 9)\n", "answers otherwise when it is asked again",
    ),
    "reads the future": (
        LEAD + AHEAD, "by what later events request, which NEEDS does not name",
    ),
    "reads more than what runs ahead": (
        "    return guessed(trace)\nNEEDS = ('ahead', 'passes')\ndef guessed(trace):\n" + LEAD + AHEAD, "by what later events request",
    ),
    "reads earlier passes": (
        BEFORE, 'otherwise when it is asked pass by pass, as clock-driven schedules ask; say NEEDS = ("passes",)',
    ),
    "writes": ("    trace.expert_ids[0] = 0\n    return np.zeros(0, np.int64), np.zeros(0, np.int64)\n", "writes into the trace"),
    "an unused slot": (
        "    ids = trace.expert_ids[:, 0, 0]\n    return np.zeros(len(ids), np.int64), ids.astype(np.int64)\n", "wanted() names object -1",
    ),
    "a larger model": ("    return np.zeros(1, np.int64), np.array([127])\n", r"wanted() names object 127; there are 0 to \d+"),
    "out of order": ("    return np.array([1, 0]), np.zeros(2, np.int64)\n", "must name its events in ascending order"),
    "out of order, unsigned": ("    return np.array([1, 0], np.uint8), np.zeros(2, np.uint8)\n", "must name its events in ascending order"),
    "writes into the facts": (
        "    trace.meta['n_experts'] += 1\n    return np.zeros(0, np.int64), np.zeros(0, np.int64)\n", "writes into the trace",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_GUESSES)
def test_a_wrong_prefetcher_is_one_line_that_names_the_scenario(what: str, tmp_path: Path) -> None:
    text, says = WRONG_GUESSES[what]
    (tmp_path / "mine.py").write_text(WANTED + text)
    with pytest.raises(UserError) as refused:
        check_kit(tmp_path / "mine.py", both=False)
    assert re.search(re.escape(says).replace(r"\\d\+", r"\d+"), str(refused.value))
    assert re.search(
        r"^policy mine.py.*; scenario \d+ \(experts of [\d/]+ B, room [\d,]+ B, scope \w+, timeline \w+, ",
        str(refused.value),
    )


@pytest.mark.parametrize("needs", ["('future', 'passes')", "('future',)"])
def test_what_a_prefetcher_says_that_it_reads_it_may_read(needs: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"NEEDS = {needs}\n" + WANTED + LEAD + AHEAD)
    if "passes" in needs:
        assert check_kit(tmp_path / "mine.py", both=False)[0] == "mine.py is a prefetcher"
    else:
        with pytest.raises(UserError, match="otherwise when it is asked pass by pass"):
            check_kit(tmp_path / "mine.py", both=False)


SERVE = """from simmoe.policies.answers import DROP, SUBSTITUTE
NEEDS = ('resident', 'cpu')
CALLS = [0]
def serve(n, resident, event, m):
"""
WRONG_ANSWERS = {
    "remembers": (
        "    CALLS[0] += 1\n    if CALLS[0] % 3 == 0:\n        m.unit[0] = DROP\n",
        r"policy mine.py gives other decisions when it is played again: keep nothing outside of m.scratch; scenario",
    ),
    "another layer": ("    m.unit[0] = SUBSTITUTE + (m.obj[0] + m.experts[0]) % len(resident)\n", r"which may not stand in \(m.here"),
    "not resident": ("    m.unit[0] = SUBSTITUTE + m.obj[0]\n", r"which may not stand in \(m.here"),
    "no unit": ("    m.unit[0] = 7\n", "which is no unit"),
    "too many": ("    m.unit[n] = m.cpu[0]\n", r"of which there are only \d+"),
    "writes to the slots in a helper": (
        "    taken(resident)\ndef taken(slots):\n    slots[0] = True\n",
        "policy mine.py writes to what belongs to the machine, under another name or in a helper, so that a law is broken: ",
    ),
    "one of an empty list": ("    m.unit[0] = SUBSTITUTE + m.here[m.n_here[0] - 1]\n", "may not stand in|IndexError"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_ANSWERS)
def test_a_wrong_miss_rule_is_one_line_that_names_the_scenario(what: str, tmp_path: Path) -> None:
    text, says = WRONG_ANSWERS[what]
    (tmp_path / "mine.py").write_text(SERVE + text)
    with pytest.raises(UserError, match=says) as refused:
        check_kit(tmp_path / "mine.py", both=False)
    assert re.search(r"^policy mine.py.*; scenario \d+ \(experts of .*, miss .*mine.py\)$", str(refused.value))


@pytest.mark.parametrize(
    ("kind", "text", "written"),
    [
        ("miss", "def serve(n, resident, event, m):\n    r = resident\n    r[0] = True\n", "r[0]"),
        ("miss", "def serve(n, resident, event, m):\n    asked = m.obj\n    asked[0] += 1\n", "asked[0]"),
        ("eviction", "def victim(s, free, event, x):\n    f = free\n    f[0] = True\n    return 0\n", "f[0]"),
    ],
)
def test_another_name_for_what_belongs_to_the_machine_is_not_written(kind, text, written, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=f"line 3 writes to {re.escape(written)}, which belongs to the machine"):
        policies.load(kind, tmp_path / "mine.py")
    (tmp_path / "mine.py").write_text(
        text.replace(f"    {written}", f"    here = {written}\n    here")
    )  # read, it is allowed
    policies.load(kind, tmp_path / "mine.py")


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    """A pipe would be waited for without an end."""
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "away.py").symlink_to(tmp_path / "nowhere.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "deep.py").write_text(f"x = {'-' * 100_000}1\n")
    for name, says in (
        ("pipe", "it is a pipe or a device"), ("away", "it is a symbolic link that leads to no file"), ("folder", "it is a folder; name a"),
        ("deep", "deep.py cannot be read: "), ("noway", "no such file"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=says):
            check_kit(tmp_path / f"{name}.py")


def test_the_command_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also while a function does not answer."""
    path = written(tmp_path, "CALLS = [0]", "")
    told: list[tuple[str, int, int]] = []
    check_kit(path, both=False, say=lambda *at: told.append(at))
    assert told[0] == ("loading mine.py", 0, 1)
    assert told[1:] == [
        (stage, done, SCENARIOS) for stage in ("playing", "playing again") for done in range(SCENARIOS + 1)
    ]
    monkeypatch.setattr(progress, "EVERY_S", 0.2)
    path.write_text("import time\ndef wanted(trace, ask):\n    time.sleep(.7)\n")
    assert main(["policies", "check", str(path)]) == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert "asking: 0 of 48" in lines and last.startswith("simmoe: policy mine.py: wanted() returned None")


@COMPILED
@pytest.mark.slow
def test_the_check_of_a_prefetcher_compiles_one_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """No text of a prefetcher is compiled, and each rule and each clock takes seconds."""
    seen = set()
    kernels = compiled.kernels

    def noted(eviction, absent=frozenset(), rule=None):
        seen.add((eviction.__name__, absent, rule))
        return kernels(eviction, absent, rule)

    monkeypatch.setattr(compiled, "kernels", noted)
    monkeypatch.setattr(compiled, "clock", None)
    assert check_kit("last_token")[-1] == "compiled: the same decisions" and len(seen) == 1


@COMPILED
@pytest.mark.slow
def test_a_miss_rule_whose_numbers_wrap_round_is_found(tmp_path: Path) -> None:
    """Whole numbers beyond 64 bits, which only the interpreted engines have."""
    (tmp_path / "mine.py").write_text(
        SERVE + "    big = m.obj[0] + 3\n    for _ in range(7):\n        big = big * big + 1\n"
        "    if big // 1000003 % 2 == 0:\n        m.unit[0] = DROP\n"
    )  # fmt: skip
    assert len(check_kit(tmp_path / "mine.py", both=False)) == 4
    with pytest.raises(UserError, match=r"policy mine.py gives other decisions when it is compiled; scenario"):
        check_kit(tmp_path / "mine.py")


def a_run(miss: str = "substitute", n: int = 16) -> tuple[timed.Timed, Run]:
    """The first scenario with so many prefetches that were withdrawn."""
    for case in timed.drawn("dial=60%", ("dial=60%",), (miss,)):
        run = timed.played(case)
        if (
            (run.clocks.fate == WITHDRAWN).sum() >= n
            and run.counts.hits
            and run.counts.misses
            and run.plan.prefetch_into == "cache"
        ):
            return case, run
    raise AssertionError("no such scenario")


def test_counts_that_are_changed_by_hand_are_seen() -> None:
    _, run = a_run()
    assert not list(timed.recounted(run))
    for field in ("hits", "misses", "requests", "substituted", "bytes"):
        assert list(
            timed.recounted(replace(run, counts=replace(run.counts, **{field: getattr(run.counts, field) + 1})))
        ), field
    for change in (
        np.zeros_like(run.clocks.fate),
        np.full_like(run.clocks.fate, WITHDRAWN),
        np.full_like(run.clocks.fate, WAS_LATE),
    ):
        assert list(timed.recounted(replace(run, clocks=replace(run.clocks, fate=change))))
    assert list(timed.recounted(replace(run, link_bytes=run.link_bytes + 1)))


def test_a_run_that_differs_in_one_number_is_seen() -> None:
    _, run = a_run()
    assert timed.differing(run, run) == ""
    for what, group, field in (
        ("guesses", run.guesses, "obj"), ("decisions", run.decisions, "stands_by"), ("decisions", run.decisions, "wait"),
        ("times", run.clocks, "end_ps"), ("times", run.clocks, "fate"), ("times", run.clocks, "stall_ps"),
    ):  # fmt: skip
        changed = getattr(group, field).copy()
        changed[len(changed) // 2] += 1
        other = replace(group, **{field: changed})
        decided = run.decided if what == "times" else replace(run.decided, **{what: other})
        assert (
            timed.differing(run, replace(run, decided=decided, clocks=other if what == "times" else run.clocks)) == what
        ), field


def test_the_referee_sees_wrong_answers_and_wrong_prefetches() -> None:
    case, run = a_run()
    seen, made = timed._seen(case, run), run.decisions
    assert not list(broken(seen, made)) and len(made.stands) > 9 and len(made.fresh) > 9
    experts = run.workload.trace.n_experts
    elsewhere = (
        np.where(made.stands_by >= experts, made.stands_by - experts, made.stands_by + experts)
        % run.workload.requests.n_objects
    )
    for change, says in (
        (
            {"stands_by": elsewhere if run.workload.trace.n_layers > 1 else (made.stands_by + 1) % experts},
            "stands in for",
        ),
        ({"stands": made.stands[1:], "stands_by": made.stands_by[1:]}, "is served in no way or in two"),
        ({"cpu": made.stands[:1]}, "is served in no way or in two"),
        ({"issued": ~made.issued}, "is loaded though it must not be, or not though it could be"),
        ({"fresh": made.fresh[1:], "fresh_by": made.fresh_by[1:]}, "hits on what prefetches brought"),
        ({"fresh_by": made.fresh_by[::-1]}, "hits on what prefetches brought"),
    ):
        assert any(says in wrong for wrong in broken(seen, replace(made, **change))), says


def test_the_referee_follows_buffers() -> None:
    """Expert 1 waits in a buffer, is requested and takes a slot; 2 waits in vain and is loaded when it is asked for."""
    requests = requests_of(one_layer([[0], [1], [2]], 3))
    guesses = requests.no_guesses.__class__(np.array([0, 2, 2, 2]), np.array([1, 2]), True)
    case = Scenario(0, requests, np.array([1]), 2, "global", guesses, NO_STARTS)
    made = decided(case)
    assert made.hit.tolist() == [False, True, False] and made.fresh_by.tolist() == [0] and not list(broken(case, made))
    assert any("was no hit" in wrong for wrong in broken(case, replace(made, hit=np.array([False, False, False]))))
    twice = replace(case.guesses, obj=np.array([1, 1]))
    assert any("is loaded though it must not be" in wrong for wrong in broken(case._replace(guesses=twice), made))


@pytest.mark.slow
@pytest.mark.parametrize(("page", "file"), [("prefetch", "same_again.py"), ("miss", "one_token_each.py")])
def test_the_file_of_the_page_conforms(
    page: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / f"docs/extending/{page}.md").read_text("utf-8")
    assert f"simmoe policies check ./{file}" in text
    monkeypatch.chdir(tmp_path)
    Path(file).write_text(text.partition(f"```python\n# {file}\n")[2].partition("```")[0])
    assert main(["policies", "check", f"./{file}"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{file} is a {'prefetcher' if page == 'prefetch' else 'miss rule'}" and len(lines) in (3, 4)


def test_the_check_without_a_policy_is_one_line(capsys):
    assert main(["policies", "check"]) == 2
    line = "simmoe: the following arguments are required: NAME|FILE; simmoe policies check --help lists what it takes\n"
    assert capsys.readouterr().err == line
