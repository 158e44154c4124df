"""CPU-clock timing that can be trusted on a noisy machine: what is compared takes turns, and medians are quoted."""

from __future__ import annotations

import gc
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping


def interleaved(jobs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each job; every round runs each job once, in a process of its own.

    A forked child starts from the same memory each time, so that no job inherits the heap that another one left behind.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            seconds[name].append(_in_child(job))
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def _in_child(job: Callable[[], object]) -> float:
    """CPU seconds of the job in a forked process."""
    gc.collect()
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        start = time.process_time()
        job()
        os.write(send, repr(time.process_time() - start).encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as answer:
        taken = answer.read()
    os.waitpid(child, 0)
    if not taken:
        raise RuntimeError("a job that was timed has failed; its traceback stands above")
    return float(taken)


def command_cpu_s(command: list[str], rounds: int = 5) -> float:
    """Median user + system seconds of a whole process."""
    taken = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return statistics.median(taken)
