"""CPU-clock timing that can be trusted on a noisy machine: what is compared takes turns, and medians are quoted."""

from __future__ import annotations

import gc
import math
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping

SHORT_S = 1.0
AT_LEAST_S = 0.05  # a job that takes less is run several times: one run would be timed with whatever the machine does in a millisecond


def interleaved(jobs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each job; every round times each job, short ones behind a run that warms caches and heap."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            gc.collect()
            times = 1
            if min(seconds[name], default=0.0) < SHORT_S:
                times = max(1, math.ceil(AT_LEAST_S / max(_taken(job, 1), 1e-6)))
            seconds[name].append(_taken(job, times))
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def _taken(job: Callable[[], object], times: int) -> float:
    """CPU seconds of a run of `job`, the mean of several."""
    start = time.process_time()
    for _ in range(times):
        job()
    return (time.process_time() - start) / times


def command_cpu_s(command: list[str], rounds: int = 5) -> float:
    """Median user + system seconds of a whole process."""
    taken = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return statistics.median(taken)
