"""`simmoe dashboard`: Optuna's dashboard on a study, on this machine only, for reading only."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from simmoe.cli.main import main
from simmoe.sweeps.search import sweep
from simmoe.workloads.format.trace import names
from tests.kept import DATABASES, SPACE, address

pytest.importorskip("optuna_dashboard")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet"),
]


@contextmanager
def served(*words: str) -> Iterator[str]:
    """The address that the command prints, while it serves."""
    command = [sys.executable, "-m", "simmoe", "dashboard", *words, "--port", "0"]
    process = subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    try:
        yield process.stdout.readline().split(" ")[0]
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "The dashboard has ended.\n", "")  # how a server ends is no failure


def asked(address: str) -> dict:
    with urlopen(address, timeout=20) as answer:
        return json.load(answer)


@pytest.mark.parametrize("kind", ["journal", *DATABASES])
def test_it_serves_the_study_with_named_objectives_and_changes_nothing(kind, tmp_path):
    at = address(kind, tmp_path)
    done = sweep(SPACE, trials=6, sampler="random", **at)
    before = {one: one.read_bytes() for one in tmp_path.iterdir() if one.suffix == ".journal"}
    with served(str(at["study"]), *(["--storage", at["storage"]] if "storage" in at else [])) as page:
        root, number = page.split("/dashboard/studies/")
        study = asked(f"{root}/api/studies/{number}")
        assert study["objective_names"] == ["tok_s", "memory_bytes"] and study["directions"] == ["maximize", "minimize"]
        assert study["name"] == done.study.study_name
        assert [trial["values"] for trial in study["trials"]] == [trial.values for trial in done.trials]
        facts = [{one["key"]: one["value"] for one in trial["user_attrs"]} for trial in study["trials"]]
        assert [one["command"] for one in facts] == [trial.user_attrs["command"] for trial in done.trials]
        assert {trial["number"] for trial in study["best_trials"]} >= {trial.number for trial in done.front}
        for method, path in (
            ("DELETE", f"/api/studies/{number}"),
            ("POST", "/api/studies"),
            ("PUT", f"/api/studies/{number}/note"),
        ):
            with pytest.raises(HTTPError, match="405"):
                urlopen(Request(root + path, data=b"{}", method=method), timeout=20)
        assert [one["study_name"] for one in asked(f"{root}/api/studies")["study_summaries"]].count(study["name"]) == 1
        host, port = root.removeprefix("http://").split(":")
        assert host == "127.0.0.1"
        with pytest.raises(ConnectionRefusedError):  # a server on all addresses of the machine would answer
            socket.create_connection(("127.0.0.2", int(port)), timeout=5)
    assert before == {one: one.read_bytes() for one in tmp_path.iterdir() if one.suffix == ".journal"}


def refused(capsys, *words: str) -> str:
    assert main(["dashboard", *words]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1
    return out.err


def test_what_cannot_be_served_is_one_line(tmp_path, capsys, monkeypatch):
    journal = tmp_path / "a.journal"
    sweep(SPACE, journal, 2)
    assert "no journal" in refused(capsys, str(tmp_path / "b.journal"))
    assert "--port 70000 is out of range" in refused(capsys, str(journal), "--port", "70000")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port} cannot be used (Address already in use)" in refused(
            capsys, str(journal), "--port", str(port)
        )
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    assert "needs optuna-dashboard, which is not installed; run: pip install 'simmoe[sweep]'" in refused(
        capsys, str(journal)
    )
