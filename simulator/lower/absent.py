"""Which arrays a clock is not given, so that compiled text is made without the questions for them (simulator/time/fold.py)."""

from __future__ import annotations

from functools import cache


@cache
def absent(
    *, contended: bool, hops: bool, prefetching: bool, cancelling: bool, with_cpu: bool, with_gone: bool, with_low: bool
) -> frozenset[str]:
    """Of what run_passes is given, and Fixed.contended where it is 0. hops: loads may take a hop before the link; with_gone: a miss rule
    may leave experts out or replace them; with_low: low copies may serve.

    Each set is a kernel, some seconds to compile: what runs with a prefetcher or a CPU may lack besides is not told apart.
    """
    more = prefetching or with_cpu
    there = {
        "w.issued": prefetching, "w.guess_for": cancelling, "w.cpu_ps": with_cpu, "w.carry_ps": with_cpu,
        "w.load_up_ps": hops, "w.gone": more or with_gone,
        "w.low": with_low, "w.low_hits": with_low, "w.low_slots": with_low,
        "f.contended": more or contended, "e.begin": more or contended,
    }  # fmt: skip
    return frozenset(name for name, is_there in there.items() if not is_there)
