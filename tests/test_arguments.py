"""What a policy is told behind its name: NAME=VALUE,key=VALUE:TEXT."""

from __future__ import annotations

from pathlib import Path

import pytest

import simmoe
from simmoe.policies import arguments
from simmoe.simulator.errors import UserError
from simmoe.simulator.naming import named
from simmoe.workloads.format import trace as traces
from tests.scenarios import tiny_trace

SIZE = 1000

COUNTS = '''
"""Evicts the object whose number is nearest to what it is told: shows that numbers and counts arrive."""

NEEDS = ("argument", "popularity")
ARGUMENTS = {"object": (0, 0, 100), "share": (0.5, 0.0, 1.0)}


def victim(s, free, event, x):
    best = -1
    for o in range(len(free)):
        if free[o] and (best < 0 or abs(o - x.argument[0]) < abs(best - x.argument[0])):
            best = o
    return best
'''

LEAST_USED = '''
"""Evicts what the text behind the colon chose least."""

NEEDS = ("popularity",)


def victim(s, free, event, x):
    best = -1
    for o in range(len(free)):
        if free[o] and (best < 0 or x.popularity[o] < x.popularity[best]):
            best = o
    return best
'''


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "near.py"
    path.write_text(COUNTS)
    return path


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("lru", ("lru", "", "")),
        ("lookahead=8", ("lookahead", "8", "")),
        ("popular=50%:first=20%", ("popular", "50%", "first=20%")),
        ("static_pin:../a=b.npz", ("static_pin", "", "../a=b.npz")),
        ("dial=80%,lead=2:switch", ("dial", "80%,lead=2", "switch")),
    ],
)
def test_a_name_falls_into_its_parts(said: str, parts: tuple[str, str, str]) -> None:
    assert named(said) == parts
    assert "".join((named(said).name, named(said).tail)) == said


@pytest.mark.parametrize("said", ["lru=", "lru:", "random=3:", "popular=50%:", "near.py=:first=20%"])
def test_a_sign_with_nothing_behind_it_is_refused(said: str) -> None:
    with pytest.raises(UserError, match=r"nothing stands behind '[=:]'"):
        named(said)


def test_a_file_that_exists_is_a_name_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=1.py").write_text("")
    assert named("a=1.py").name == "a=1.py"


def evicted_with(policy: str, rows: list[list[int]], room: int) -> simmoe.Replay:
    trace = tiny_trace([[row] for row in rows], 6)
    return simmoe.replay(trace, [SIZE], room * SIZE, eviction=policy)


def test_numbers_reach_the_kernel(policy: Path) -> None:
    rows = [[0], [1], [2], [3], [1], [2], [0]]  # room for three; number 3 needs a victim
    assert evicted_with(f"{policy}=0", rows, 3).hit[4:, 0, 0].tolist() == [True, True, False]
    assert evicted_with(f"{policy}=1", rows, 3).hit[4:, 0, 0].tolist() == [False, True, False]
    assert evicted_with(f"{policy}=object=2", rows, 3).hit[4:, 0, 0].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("=101", "object '101' is not a whole number from 0 to 100; write object=0"),
        ("=1.5", "is not a whole number"),
        ("=x=1", "has no 'x'; choose one of object, share"),
        ("=share=120%", "share '120%' is not a share from 0 to 1, such as 50%; write share=50%"),
        ("=1,object=2", "gives object twice"),
        ("=1,", "gives object twice"),
    ],
)
def test_other_numbers_are_refused(policy: Path, said: str, why: str) -> None:
    with pytest.raises(UserError, match=why.replace("(", r"\(")):
        evicted_with(f"{policy}{said}", [[0]], 1)


def test_a_policy_without_numbers_takes_none() -> None:
    with pytest.raises(UserError, match=r"--eviction lru=5: lru.py takes no number; leave =5 out"):
        evicted_with("lru=5", [[0]], 1)
    with pytest.raises(UserError, match=r"--eviction lru:switch: lru.py counts no use of experts; leave :switch out"):
        evicted_with("lru:switch", [[0]], 1)


@pytest.mark.parametrize(
    "declared", ["[1]", '{"a": 1}', '{"a": (5, 1, 3)}', '{"a": (.5, 0, 1)}', '{"a": (2.0, 0.0, 3.0)}']
)
def test_arguments_that_are_declared_otherwise_are_refused(tmp_path: Path, declared: str) -> None:
    path = tmp_path / "odd.py"
    path.write_text(COUNTS.replace('{"object": (0, 0, 100), "share": (0.5, 0.0, 1.0)}', declared))
    with pytest.raises(UserError, match=r"odd.py has ARGUMENTS = .*; it must map names to"):
        evicted_with(str(path), [[0]], 1)


def test_shares_are_millionths() -> None:
    assert arguments.as_whole({"a": 0.25, "b": 7}).tolist() == [250_000, 7]


def test_the_text_behind_the_colon_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "least.py"
    path.write_text(LEAST_USED)
    other = tiny_trace([[[0]], [[0]], [[1]]], 6)
    traces.save(other, tmp_path / "other.npz")
    rows = [[0], [1], [2], [3], [0], [1], [2]]  # number 3 needs a victim among 0, 1, 2
    assert evicted_with(str(path), rows, 3).hit[4:, 0, 0].tolist() == [False, True, True]  # then 3, which is used once
    counted = evicted_with(f"{path}:{tmp_path / 'other.npz'}", rows, 3)
    assert counted.hit[4:, 0, 0].tolist() == [True, True, False]


def test_first_rows_are_counted_and_not_played(tmp_path: Path) -> None:
    path = tmp_path / "least.py"
    path.write_text(LEAST_USED)
    run = simmoe.run("a100", "switch", tokens=200, budget="25%", eviction=f"{path}:first=20%")
    whole = simmoe.run("a100", "switch", tokens=200, budget="25%", eviction=str(path))
    assert run.digest != whole.digest
    said = run.to_json()["scenario"]["plan"]["eviction"]
    assert said.startswith("least sha256:") and said.endswith(":first=20%")
    assert not any("very text" in note for note in run.notes) and any("very text" in note for note in whole.notes)
    with pytest.raises(UserError, match="count different first rows"):
        simmoe.run("a100", "switch", eviction=f"{path}:first=20%", placement="popular=50%:first=10%")
