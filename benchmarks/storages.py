"""What a trial costs beside its playing, in memory, in a journal, in SQLite and in PostgreSQL: simmoe and bare Optuna, early and late.

`python -m benchmarks.storages [kind …]` prints a JSON line for each kind and place: milliseconds of this process (`cpu`) and of the clock
(`wall`) per trial, medians over 100 trials. It plays nothing: each scenario has a made-up value and as many facts as a run. `bare` is
`study.optimize` with Optuna's own sampler of that name and the same parameters, over the same storage behind the same trials, which keeps
nothing but the values; `with_facts` keeps the same facts in the usual way, one `set_user_attr` for each. PostgreSQL is that of
SIMMOE_POSTGRES. TMPDIR says on which disk the others are.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import NSGAIISampler

from benchmarks.sweeping import SPACE, WINDOW, outcome
from simmoe.sweeps import journal, search
from simmoe.sweeps.opening import located, stored
from simmoe.sweeps.sampling import Draws
from simmoe.sweeps.scenarios import Scenarios

PLACES = {
    "memory": (100, 20_000),
    "journal": (100, 20_000),
    "sqlite": (100, 1000),
    "postgresql": (100, 1000),
}  # trials before
FACTS = 20  # of a run

Marks = list[tuple[float, float]]  # CPU and clock, in seconds


def address(kind: str, folder: Path) -> dict[str, Any]:
    if kind == "memory":
        return {}
    if kind == "journal":
        return {"study": folder / "kept.journal"}
    storage = f"sqlite:///{folder}/kept.db" if kind == "sqlite" else os.environ["SIMMOE_POSTGRES"]
    return {"study": f"bench-{secrets.token_hex(4)}", "storage": storage}


def mark() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def median_ms(marks: Marks) -> dict[str, float]:
    """Per trial, of the last ones."""
    last = marks[-WINDOW - 1 :]
    return {
        what: round(1e3 * statistics.median(after[i] - before[i] for before, after in pairwise(last)), 3)
        for i, what in enumerate(("cpu", "wall"))
    }


def ours(at: dict[str, Any], trials: int) -> dict[str, float]:
    marks = [mark()]
    search.sweep(SPACE, trials=trials, report=lambda _: marks.append(mark()), **at)
    return median_ms(marks)


def kept(at: dict[str, Any]) -> optuna.Study:
    """The study as Optuna alone continues it."""
    place = located(**at)
    if not isinstance(place, Path):
        return stored(place, heartbeat_s=10)
    return optuna.load_study(study_name=None, storage=journal.storage(place))


def bare(study: optuna.Study, facts: int) -> dict[str, float]:
    """Optuna's own loop, behind the trials that are there."""
    draws, marks = Draws(search.load(SPACE), "nsga2", 0), [mark()]
    study.sampler = NSGAIISampler(seed=0)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        for name, one in draws.distributions.items():
            trial._suggest(name, one)  # what suggest_float and suggest_categorical call
        a, b = (float(zlib.crc32(f"{salt}{trial.params}".encode())) for salt in "ab")
        for i in range(facts):
            trial.set_user_attr(f"metric_{i}", a)
        return a, b

    study.optimize(objective, n_trials=WINDOW, callbacks=[lambda *_: marks.append(mark())])
    return median_ms(marks)


def row(kind: str, before: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        at = address(kind, Path(folder))
        mine = ours(at, before + WINDOW)
        found = {"kind": kind, "before": before, "ours": mine}
        if kind == "memory":
            return found
        alone = bare(kept(at), 0)
        return {
            **found,
            "bare": alone,
            "with_facts": bare(kept(at), FACTS),
            "glue_cpu": round(mine["cpu"] - alone["cpu"], 3),
        }


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made_up: Callable[..., Any] = outcome
    Scenarios.outcome = made_up  # type: ignore[method-assign]
    usable = [kind for kind in PLACES if kind != "postgresql" or os.environ.get("SIMMOE_POSTGRES")]
    for kind in sys.argv[1:] or usable:
        for before in PLACES[kind]:
            print(json.dumps(row(kind, before)), flush=True)


if __name__ == "__main__":
    main()
