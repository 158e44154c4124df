"""CPU time of a sweep per trial beside the playing: early, late, and what Optuna alone takes at the same place.

`python -m benchmarks.sweeping [sampler …]` prints, for each sampler, the milliseconds above bare Optuna (the same sampler and kind of
storage) after 100 trials and late, as a ratio. It plays nothing: each scenario has a made-up value.

`python -m benchmarks.sweeping mission` plays 500 trials of the bundled space `mission` with NSGA-II and a journal, as a command of its own.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from simmoe.sweeps import search
from simmoe.sweeps.sampling import Draws, key
from simmoe.sweeps.scenarios import Outcome, Scenarios
from simmoe.sweeps.space import Point

EARLY, WINDOW = 100, 100  # trials
LATE = {"random": 20_000, "grid": 20_000, "qmc": 20_000, "nsga2": 20_000, "nsga3": 20_000, "tpe": 2_000}
OPTUNAS: dict[str, type[BaseSampler]] = {
    "random": RandomSampler, "grid": RandomSampler, "qmc": RandomSampler, "nsga2": NSGAIISampler, "nsga3": NSGAIIISampler,
    "tpe": TPESampler,
}  # fmt: skip
SPACE: dict[str, Any] = {
    "schema": 1, "name": "flat", "trace": ["oracle", "switch"], "hw": ["jetson_orin", "a100", "h100"],
    "eviction": ["lru", "fifo", "lfu"], "scope": ["global", "layer"], "budget": {"low": "0.1%", "high": "100%", "step": "0.1%"},
    "seed": list(range(10)), "objectives": {"tok_s": "maximize", "memory_bytes": "minimize"},
}  # fmt: skip


def outcome(scenarios: Scenarios, point: Point) -> Outcome:
    """Made-up values in place of a run's, with as many facts."""
    a, b = (float(zlib.crc32(f"{salt}{key(point)}".encode())) for salt in "ab")
    facts = {f"metric_{i}": a for i in range(12)} | {
        "digest": "0" * 64,
        "engine": "fast",
        "command": scenarios.command(point),
    }
    return Outcome([a, b], {"point": point, **facts, "tok_s": a, "memory_bytes": b, "budget_bytes": 1})


def ours(sampler: str, trials: int, journal: Path) -> tuple[list[float], search.Sweep]:
    """CPU seconds of each trial."""
    marks = [time.process_time()]
    done = search.sweep(SPACE, journal, trials, sampler=sampler, report=lambda *_: marks.append(time.process_time()))
    return [after - before for before, after in pairwise(marks)], done


def bare(sampler: str, before: list[optuna.trial.FrozenTrial], journal: Path) -> float:
    """CPU seconds of a trial after those of `before`, by Optuna's own sampler over a journal; the median of a window."""
    storage = JournalStorage(JournalFileBackend(str(journal), JournalFileOpenLock(str(journal))))
    study = optuna.create_study(directions=["maximize", "minimize"], storage=storage, sampler=OPTUNAS[sampler](seed=0))
    for trial in before:
        study.add_trial(trial)
    draws, took = Draws(search.load(SPACE), sampler, 0), []
    for _ in range(WINDOW):
        start = time.process_time()
        trial = study.ask(draws.distributions)
        a, b = (float(zlib.crc32(f"{salt}{trial.params}".encode())) for salt in "ab")
        study.tell(trial, [a, b])
        took.append(time.process_time() - start)
    return statistics.median(took)


def row(sampler: str) -> dict[str, Any]:
    late = LATE[sampler]
    with tempfile.TemporaryDirectory() as folder:
        took, done = ours(sampler, late + WINDOW, Path(folder) / "ours.journal")
        places = {"early": EARLY, "late": late}
        mine = {name: statistics.median(took[at : at + WINDOW]) for name, at in places.items()}
        alone = {name: bare(sampler, done.trials[:at], Path(folder) / f"{name}.journal") for name, at in places.items()}
    above = {name: mine[name] - alone[name] for name in places}
    return {
        "sampler": sampler, "late": late, **{f"ours_{name}_ms": round(1e3 * mine[name], 3) for name in places},
        **{f"bare_{name}_ms": round(1e3 * alone[name], 3) for name in places},
        **{f"above_{name}_ms": round(1e3 * above[name], 3) for name in places},
        "ratio_above": round(max(above["late"], 0) / above["early"], 2) if above["early"] > 0 else None,
        "ratio_ours": round(mine["late"] / mine["early"], 2),
    }  # fmt: skip


def mission(trials: int = 500) -> dict[str, Any]:
    """Seconds of the whole command, and what its front holds."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "sweep",
            "mission",
            "--study",
            str(Path(folder) / "mission.journal"),
            "--trials",
            str(trials),
            "--json",
        ]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        printed = subprocess.run([sys.executable, "-m", "simmoe", *words], check=True, capture_output=True).stdout
        wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    found = json.loads(printed)
    front = [found["trials"][number] for number in found["front"]]
    return {
        "trials": trials, "wall_s": round(wall_s, 1),
        "cpu_s": round(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, 1), "front": len(front),
        "experts": sorted({trial["experts"] for trial in front}), "top_k": sorted({trial["top_k"] for trial in front}),
    }  # fmt: skip


def main() -> None:
    if sys.argv[1:] == ["mission"]:
        print(json.dumps(mission()))
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    Scenarios.outcome = outcome  # type: ignore[method-assign]
    for sampler in sys.argv[1:] or LATE:
        print(json.dumps(row(sampler)), flush=True)


if __name__ == "__main__":
    main()
