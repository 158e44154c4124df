"""How sure a speed is: the profile's ranges, and a block bootstrap of the text (Kuensch, Annals of Statistics 1989).

Two bands, kept apart because they say different things: what the machine's figures leave open, and what another text of
the same kind would do. Neither covers a wrong model of the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simmoe.play.lanes import Lanes
from simmoe.play.requests import columns
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.tokens import kept_by_pass
from simmoe.policies.runtime import LEAVES

BLOCK = 64  # consecutive decode passes that are drawn together, so that locality stays in
DRAWS = 1000
SHARE = 0.9  # of the draws inside the band
OF_REQUESTS = (
    "request_ttft_p95_ms",
    "request_tpot_p95_ms",
    "request_e2e_p99_ms",
    "requests_per_s",
    "goodput_per_s",
    "slo_share",
)  # columns of play/requests.py


@dataclass(frozen=True)
class Band:
    """Decode speeds in tok/s."""

    hardware: tuple[
        float, float
    ]  # at the slow and at the fast end of every figure of the machine, and of every constant of the runtime
    text: tuple[float, float]  # 5th and 95th percentile of the bootstrap
    prompt: tuple[float, float] | None = None  # speed of prompts at the same ends; None without prompts
    requests: dict[str, tuple[float, float]] | None = None  # of OF_REQUESTS at the same ends; None where none arrive


def band(run: Run, lanes: Lanes | None = None, runs: int = 1) -> Band | None:
    """The bands around a run's tok/s; None for a run without decode.

    lanes: what runs beside this one have decided. runs: how many are played about, which says by which engine.
    """
    if run.tok_s is None:
        return None
    ends, prompts, runtime = list[float](), [run.prompt_tok_s or 0.0], run.workload.runtime
    waits = [columns(run.requests)]
    lanes = lanes or Lanes()
    for workload in run.workload.begun.ends:
        at = play(workload, run.plan, workload.engine(runs=runs), lanes=lanes)
        speed = at.tok_s
        prompts.append(at.prompt_tok_s or 0.0)
        waits.append(columns(at.requests))
        ends.append(run.tok_s if speed is None else speed)
    leaves = LEAVES if runtime else dict.fromkeys(LEAVES, 0.0)
    prompt = around(run.prompt_tok_s, prompts, leaves["prompt"]) if run.prompt_tok_s else None
    requests = None if run.requests is None else _between(waits)
    return Band(around(run.tok_s, ends, leaves["decode"]), _bootstrap(run), prompt, requests)


def _between(waits: Sequence[Mapping[str, float | None]]) -> dict[str, tuple[float, float]]:
    """The least and the most of each number. What the laws of an engine leave is not in it: waits grow faster than times of passes."""
    found = dict[str, tuple[float, float]]()
    for name in OF_REQUESTS:
        numbers = [number for one in waits if (number := one[name]) is not None]
        if numbers:
            found[name] = (min(numbers), max(numbers))
    return found


def around(value: float, ends: Sequence[float], leaves: float) -> tuple[float, float]:
    """The ends, with what the laws leave beside them, as errors that know nothing of each other."""
    low, high = min(value, *ends), max(value, *ends)
    if not leaves:
        return low, high
    down, up = (np.hypot(np.log(end / value), leaves) for end in (low, high))
    return float(value * np.exp(-down)), float(value * np.exp(up))


def _bootstrap(run: Run) -> tuple[float, float]:
    times = run.pass_ps[run.decode_passes].astype(np.float64)
    tokens = kept_by_pass(run.workload.trace)[run.decode_passes].astype(np.float64)
    size = min(BLOCK, len(times))
    sums = [np.convolve(column, np.ones(size), "valid") for column in (times, tokens)]  # of the block that starts there
    draws = np.random.default_rng(0).integers(len(sums[0]), size=(DRAWS, -(-len(times) // size)))
    speeds = 1e12 * sums[1][draws].sum(1) / sums[0][draws].sum(1)
    low, high = np.quantile(speeds, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return float(low), float(high)
