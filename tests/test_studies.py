"""Studies that are kept: read while they are written, in journals and in databases."""

from __future__ import annotations

import pytest

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
