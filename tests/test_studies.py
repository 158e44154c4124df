"""Studies that are kept: read while they are written, in journals and in databases."""

from __future__ import annotations

import sqlite3

import pytest

from simmoe.cli.main import main
from simmoe.simulator.errors import UserError
from simmoe.sweeps.search import opened, sweep
from simmoe.workloads.format.trace import names

pytestmark = pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet")
SPACE = {
    "schema": 1, "name": "kept", "trace": ["oracle", "switch"], "hw": ["jetson_orin", "a100"], "eviction": ["fifo", "lru"],
    "budget": {"low": "10%", "high": "40%", "step": "10%"}, "tokens": 128,
    "objectives": {"tok_s": "maximize", "memory_bytes": "minimize"},
}  # fmt: skip


@pytest.mark.slow
def test_a_journal_is_read_as_it_stands_and_left_alone(tmp_path):
    journal = tmp_path / "kept.journal"
    done = sweep(SPACE, journal, 6)
    cut = journal.read_bytes() + b'{"op_code":4,"worker_id":"half a li'
    journal.write_bytes(cut)
    found = opened(journal)
    assert (found.study_name, found.metric_names) == ("kept", ["tok_s", "memory_bytes"])
    assert [t.user_attrs for t in found.trials] == [t.user_attrs for t in done.trials] and len(found.trials) == 6
    assert {t.number for t in found.best_trials} >= {t.number for t in done.front}
    found.add_trials(done.trials)  # to the copy
    assert journal.read_bytes() == cut and [one.name for one in tmp_path.iterdir()] == ["kept.journal"]


@pytest.mark.parametrize(
    "name, line",
    {
        "no.journal": "no journal .*no.journal",
        "sqlite:///no.db": "sqlite:///no.db holds no study",
        "mysql://a@b/c": "not in mysql; write sqlite:///FILE.db or postgresql:",
        "://": "is no address of a database; write sqlite",
        "sqlite://": "sqlite:// names no file",
        "sqlite:///no/such.db": "folder no does not exist",
    }.items(),
)
def test_what_is_no_study_is_one_line(name, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=line) as refused:
        opened(name)
    assert "\n" not in str(refused.value) and not [*tmp_path.iterdir()]


OTHER_KINDS = {
    "notes.txt": (b"a shopping list\n", "notes.txt is a text file, no SQLite database; name another file, which may be new"),
    "trace.npz": (b"PK\3\4\x14\0", "trace.npz is no SQLite database; name another file, which may be new"),
    "kept.journal": (b'{"op_code":0,"worker_id":"', "kept.journal is a journal, no SQLite database; give its path without sqlite:///"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_KINDS)
@pytest.mark.parametrize("words", ["sweep experts_on_the_cpu --trials 1 --storage", "dashboard --storage", "report"])
def test_an_address_of_another_kind_of_file_says_what_it_is(words, name, tmp_path, monkeypatch, capsys) -> None:
    content, line = OTHER_KINDS[name]
    (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), f"sqlite:///{name}", *(["--out", "x.html"] if words == "report" else [])]) == 2
    assert capsys.readouterr().err == f"simmoe: {line}\n"
    assert [one.name for one in tmp_path.iterdir()] == [name] and (tmp_path / name).read_bytes() == content


def test_an_address_of_a_folder_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").mkdir()
    with pytest.raises(UserError, match=r"^kept is a folder; name a file in it: sqlite:///kept/FILE\.db$"):
        opened("sqlite:///kept")


def test_a_database_of_somebody_else_and_an_empty_file_hold_no_study(tmp_path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE notes (note)")
    (tmp_path / "empty.db").touch()
    for name in ("other.db", "empty.db"):
        with pytest.raises(UserError, match=f"{name} holds no study; `simmoe sweep SPACE --storage …` makes one"):
            opened(f"sqlite:///{tmp_path / name}")


def test_a_damaged_database_is_not_said_to_be_away(tmp_path) -> None:
    sweep(SPACE, f"sqlite:///{tmp_path}/kept.db", 1)
    (tmp_path / "kept.db").write_bytes((tmp_path / "kept.db").read_bytes()[:5000])
    with pytest.raises(UserError, match=r"malformed|disk image|not a database") as refused:
        opened(f"sqlite:///{tmp_path}/kept.db")
    assert "check that it is there" not in str(refused.value)
