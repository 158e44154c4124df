"""The conformance kit on every file of the folder, and on files that break what it checks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simmoe import policies
from simmoe.cli.main import main
from simmoe.policies import kit
from simmoe.policies.kit import check_kit
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.decisions import Decisions
from tests.conftest import COMPILED, one_layer
from tests.test_house import ROOT

NAMES = policies.names("eviction")  # every file: no list to edit


@pytest.mark.parametrize("name", NAMES)
def test_every_bundled_policy_conforms(name: str) -> None:
    assert check_kit(name, both=False) == [
        f"{kit.SCENARIOS} scenarios: room and pins kept, hits are what was resident", "played again: the same decisions",
        "not played by the compiled engine",
    ]  # fmt: skip


@COMPILED
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_bundled_policy_conforms_compiled(name: str) -> None:
    assert check_kit(name)[2] == "compiled: the same decisions"


def test_the_scenarios_reach_what_they_must() -> None:
    cases = list(kit.scenarios())
    kinds = {(case.scope, len(case.guesses.obj) > 0, case.guesses.buffered) for case in cases}
    assert len(kinds) == 6
    assert any(len(set(case.expert_bytes.tolist())) > 1 for case in cases) and any(
        len(case.cold_at) > 1 for case in cases
    )
    assert any(case.budget_bytes == case.expert_bytes.max() for case in cases)
    made = [kit._played(policies.load("eviction", "lru"), case, np.zeros(0, np.int64), kit.Player()) for case in cases]
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
    assert check_kit(written(tmp_path, "CALLS = [0]", ""), both=False)[1] == "played again: the same decisions"


def test_state_outside_of_init_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, "def victim(s, free, event, x):\n", SOMETIMES)  # fmt: skip
    with pytest.raises(
        UserError, match=r"^policy mine.py decides otherwise when it is played again: .*; scenario \d+ \(experts of "
    ):
        check_kit(path, both=False)


def test_a_pinned_victim_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, "    return oldest_free(s[1], len(s[1]) - 1, free)\n", "    return s[1][len(s[1]) - 1]\n")
    with pytest.raises(
        UserError, match=r"^policy mine.py: victim\(\) returned \d+ in event \d+, an expert that the event pins"
    ):
        check_kit(path, both=False)


def decided(case: kit.Scenario) -> Decisions:
    return kit._played(policies.load("eviction", "lru"), case, np.zeros(0, np.int64), kit.Player())


def test_the_referee_sees_what_the_machine_would_not_say() -> None:
    """Decisions that are changed by hand: the referee must not trust the machine's own checks."""
    case = next(
        one
        for one in kit.scenarios()
        if one.scope == "global" and not len(one.guesses.obj) and len(decided(one).evicted) > 9
    )
    made = decided(case)
    assert not list(kit.broken(case, made))
    for field in ("hit", "evicted", "used"):
        changed = getattr(made, field).copy()
        middle = len(changed) // 2
        changed[middle] = not changed[middle] if field == "hit" else changed[middle] - 1
        assert list(kit.broken(case, replace(made, **{field: changed}))), field
    assert list(kit.broken(case._replace(budget_bytes=int(made.used.max()) - 1), made))


def test_the_referee_sees_a_pinned_victim() -> None:
    """Two of one event, where a third could leave."""
    requests = requests_of(one_layer([[0], [1, 2], [0, 1]], 3))
    case = kit.Scenario(0, requests, np.array([1]), 2, "global", requests.no_guesses, kit.NO_STARTS)
    made = decided(case)
    assert made.evicted.tolist() == [0, 2] and not list(kit.broken(case, made))
    wrong = replace(made, evicted=np.array([0, 1]))
    assert next(kit.broken(case, wrong)) == "expert 1 leaves in event 2, which pins it, while another could"


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
    assert len(check_kit("second_use.py", both=False)) == 3
