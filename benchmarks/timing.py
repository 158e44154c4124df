"""CPU-clock timing that can be trusted on a noisy machine: what is compared takes turns, and medians are quoted."""

from __future__ import annotations

import gc
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping

SHORT_S = 1.0


def interleaved(jobs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each job; every round times each job once, short ones behind a run that warms caches and heap."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            gc.collect()
            if min(seconds[name], default=0.0) < SHORT_S:
                job()
            start = time.process_time()
            job()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def command_cpu_s(command: list[str], rounds: int = 5) -> float:
    """Median user + system seconds of a whole process."""
    taken = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return statistics.median(taken)
