"""`python -m benchmarks.paired PYTHON`: this version against another installed one, in turns, in CPU time; equal results first.

PYTHON is the interpreter of an environment that holds the other version. A run is decisions, what loads take, lowering and time: all that a
sweep repeats. Each version plays in a process of its own; what is quoted is the median of the ratios of neighbouring measurements.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from benchmarks.same_as import FOLDER, REAL, Other

BUNDLED = ("oracle", "switch", "oracle-12x64")
MACHINES = ("a100", "jetson_orin")
ENOUGH = 400_000  # accesses that are timed at once


def jobs(prefetch: bool) -> list[dict[str, Any]]:
    names = [f"{name}.real" for name in REAL] * (not prefetch) + list(BUNDLED)
    return [
        {"hw": hw, "trace": name, "eviction": "lru", "part": 4, "folder": str(FOLDER), "prefetch": "next_layer" if prefetch else None}
        for hw in MACHINES for name in names
    ]  # fmt: skip


def ratio(mine: Other, other: Other, job: dict[str, Any], engine: str, rounds: int) -> tuple[float, float, float]:
    """(this ÷ other, ns per access here, there), medians."""
    first = [one({"job": job, "engine": engine, "times": 1}) for one in (mine, other)]
    assert first[0]["end_ps"] == first[1]["end_ps"] and first[0]["busy_ps"] == first[1]["busy_ps"], f"{job} differs"
    accesses, times = first[0]["accesses"], max(1, ENOUGH // first[0]["accesses"])
    taken = []
    for number in range(rounds):
        order = (mine, other) if number % 2 else (other, mine)
        seconds = {one: one({"job": job, "engine": engine, "times": times})["seconds"] for one in order}
        taken.append((seconds[mine], seconds[other]))
    here, there = (1e9 * statistics.median(column) / accesses for column in zip(*taken))
    return statistics.median(a / b for a, b in taken), here, there


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paired", description=__doc__)
    parser.add_argument("python", help="interpreter of the environment that holds the other version")
    parser.add_argument("--engine", default="fast", help="fast (default) or simpy")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", help="part of a trace's name")
    asked = parser.parse_args()
    mine, other = Other(sys.executable), Other(asked.python)
    for prefetch in (False, True):
        found = []
        for job in jobs(prefetch):
            if asked.only is None or asked.only in job["trace"]:
                value, here, there = ratio(mine, other, job, asked.engine, asked.rounds)
                found.append(value)
                what = f"{job['trace']}{' with prefetches' * prefetch}, {job['hw']}"
                print(f"| {what} | {here:.1f} | {there:.1f} | {value:.2f} |", flush=True)
        if found:
            print(f"median {statistics.median(found):.3f}, most {max(found):.3f}", flush=True)


if __name__ == "__main__":
    main()
