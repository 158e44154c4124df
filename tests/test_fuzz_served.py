"""Options of requests, drafts and several devices at random: both executors say the same, and nothing that contradicts itself."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from simmoe.cli.main import main
from tests.fuzz import good_shape, good_trace
from tests.fuzz_served import FILES, contradiction, served

INPUTS = {"good.npz": good_trace(), "shape.yaml": good_shape(), **FILES}
ALL_AT_ONCE = [
    "--trace=good.npz",
    "--budget=50%",
    "--schedule=vllm",
    "--kv-blocks=2",
    "--prompt=5",
    "--generate=4",
    "--requests=3",
]
KINDS = ("devices", "requests", "verify_passes")  # blocks of the JSON


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder, with the files that the options name."""
    monkeypatch.chdir(tmp_path)
    for name, content in INPUTS.items():
        Path(name).write_bytes(content)


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_executors_agree_on_options_that_are_drawn_at_random(capsys):
    draw, played = random.Random(20261129), Counter[str]()
    while min(played[kind] for kind in KINDS) < 4:
        words = [word for word in served(draw) if word not in ("--json", "--engine=plain")]
        code, out = main([*words, "--json", "--engine=plain"]), capsys.readouterr()
        if code == 2:
            assert out.err.count("\n") == 1 and out.err.startswith("simmoe: "), (words, out.err)
            continue
        assert code == 0 and contradiction(out.out) == "", words
        said = json.loads(out.out)
        kind = next((kind for kind in KINDS if isinstance(said.get(kind), dict | list)), "others")
        if played[kind] >= 6:
            continue
        assert main([*words, "--json", "--engine=simpy"]) == 0, (words, capsys.readouterr().err)
        assert out.out == capsys.readouterr().out.replace('"engine": "simpy"', '"engine": "plain"'), words
        played[kind] += 1


WRONG: dict[str, dict[str, Any]] = {
    ".tok_s is nan": {"tok_s": float("nan")},
    ".bytes is -1": {"bytes": -1},
    "3 requests were asked for, 1 ended": {"requests": {"n": 1, "refused": 1}},
    "ttft_ms falls": {"requests": {"ttft_ms": {"p50": 3.0, "p90": 2.0, "p95": 4.0, "p99": 5.0}}},
    "more goodput than throughput": {"requests": {"goodput": {"requests_per_s": 9e9, "met": 3}}},
    "requests are not what became of them": {"decode": {"hits": 10**6}},
    "a total is not the sum": {"memory_bytes": {"kv": 1}},
}


@pytest.mark.usefixtures("folder")
def test_a_contradiction_is_told(capsys):
    assert main(["run", "--hw=a100", "--model=shape.yaml", *ALL_AT_ONCE, "--json", "--engine=plain"]) == 0
    good = capsys.readouterr().out
    assert contradiction(good) == ""
    for line, change in WRONG.items():
        said = json.loads(good)
        for name, value in change.items():
            said[name] = {**said[name], **value} if isinstance(value, dict) else value
        assert line in contradiction(json.dumps(said))
