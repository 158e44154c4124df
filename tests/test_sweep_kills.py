"""Sweeps that are killed at random moments: no trial is lost or doubled, and the front is that of a sweep that was left alone.

`python -m tests.test_sweep_kills [kills]` does it more often (default 100, over all samplers).
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from simmoe.simulator.time import compile as compiled

SAMPLERS = ("nsga2", "tpe", "random", "grid")
TRIALS = 110  # more than two generations of nsga2
SPACE = """
schema: 1
name: killed
trace: [oracle, switch]
eviction: [fifo, lru, lfu]
budget: {low: 2.5%, high: 40%, step: 2.5%}
hw: [jetson_orin, a100]
tokens: 512
objectives: {tok_s: maximize, memory_bytes: minimize}
"""


@dataclass
class Found:
    """What many kills did."""

    kills: int = 0
    sweeps: int = 0
    lost: int = 0  # trials that were in the journal and are not in the sweep that followed
    doubled: int = 0
    other_sweeps: int = 0  # that do not print what the sweep prints that was left alone


def killed_sweeps(kills: int, sampler: str, seed: int, folder: Path) -> Found:
    """Sweeps with `sampler`, each started again after every kill until it ends, until there have been so many kills."""
    (folder / "space.yaml").write_text(SPACE)
    draw, found = random.Random(f"{sampler} {seed}"), Found()
    start = time.monotonic()
    alone = json.loads(ended(folder, sampler, None))
    whole_s = time.monotonic() - start
    while found.kills < kills:
        journal, kept = folder / f"{sampler}_{found.sweeps}.journal", list[dict]()
        found.sweeps += 1
        while found.kills < kills and kill(folder, sampler, journal, draw.uniform(0, whole_s)):
            found.kills += 1
            found.lost += differing(kept, now := finished(journal))
            kept = now
        done = json.loads(ended(folder, sampler, journal))
        found.lost += differing(kept, after := finished(journal))
        found.doubled += len(after) - TRIALS
        found.other_sweeps += done != alone
    return found


def differing(before: list[dict], after: list[dict]) -> int:
    """How many trials of a journal are no longer there as they were."""
    return len(before) - sum(a == b for a, b in zip(before, after))


def finished(journal: Path) -> list[dict]:
    """The trials of a journal, in order; half a line is none."""
    content = journal.read_bytes() if journal.exists() else b""
    lines = [json.loads(line) for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
    return [line for line in lines if "point" in line.get("user_attrs", {})]


def command(folder: Path, sampler: str, journal: Path | None) -> list[str]:
    study = ["--study", str(journal)] if journal else []
    words = ["sweep", str(folder / "space.yaml"), "--trials", str(TRIALS), "--sampler", sampler, "--json", *study]
    return [sys.executable, "-m", "simmoe", *words]


def ended(folder: Path, sampler: str, journal: Path | None) -> bytes:
    """What a sweep prints that is left alone."""
    return subprocess.run(command(folder, sampler, journal), check=True, capture_output=True).stdout


def kill(folder: Path, sampler: str, journal: Path, after_s: float) -> bool:
    """Kill a sweep at that moment; False if it had ended."""
    process = subprocess.Popen(command(folder, sampler, journal), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), "the sweep failed by itself"
    return process.returncode != 0


@pytest.mark.slow
@pytest.mark.skipif(compiled.missing(), reason="plays hundreds of trials: needs numba (pip install 'simmoe[fast]')")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_kills_at_random_moments_lose_nothing(sampler: str, tmp_path: Path) -> None:
    found = killed_sweeps(2, sampler, 0, tmp_path)
    assert found.kills == 2
    assert (found.lost, found.doubled, found.other_sweeps) == (0, 0, 0), found


def main() -> None:
    kills, wrong = int(sys.argv[1]) if len(sys.argv) > 1 else 100, 0
    for number, sampler in enumerate(SAMPLERS):
        share = kills * (number + 1) // len(SAMPLERS) - kills * number // len(SAMPLERS)
        with tempfile.TemporaryDirectory() as folder:
            found = killed_sweeps(share, sampler, int(time.time()), Path(folder))
            print(sampler, found, flush=True)
        wrong += found.lost + abs(found.doubled) + found.other_sweeps
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
