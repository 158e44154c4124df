"""Whole LRU and Belady curves against libcachesim at 16 sizes; equal misses first, then times.

What is timed is all that is not of the trace alone: the pass over all events and the counts at every size; for libcachesim its loop over
all requests at each of 16 sizes (its reader is made before).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.engines import FAST, libcachesim_misses, oracle_general, reader_of
from benchmarks.timing import interleaved
from simmoe import policies
from simmoe.simulator.decide.curves import Curves
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.nouns.trace import Trace

SIZES = 16


def drawn(tokens: int = 20_000, layers: int = 24, k: int = 2, experts: int = 64) -> Trace:
    """960,000 accesses: experts by Zipf's law (exponent .9), each layer in its own order; in 35 % of cases those of the token before."""
    random = np.random.default_rng(0)
    odds = np.log(1 / np.arange(1, experts + 1) ** 0.9) + random.gumbel(size=(tokens, layers, experts)).astype(
        np.float32
    )
    ids = np.argsort(-odds, axis=-1)[..., :k].astype(np.int16)
    kept = np.maximum.accumulate(
        np.where(random.random((tokens, layers)) < 0.35, 0, np.arange(tokens)[:, None]), axis=0
    )
    ids = np.take_along_axis(ids, kept[..., None], axis=0)
    order = np.stack([random.permutation(experts) for _ in range(layers)]).astype(np.int16)
    ids = order[np.arange(layers)[:, None], ids]
    steps = np.arange(tokens)
    return Trace(
        expert_ids=ids, layer_index=np.arange(layers, dtype=np.int16), pass_ptr=np.arange(tokens + 1), phase=np.ones(tokens, np.int8),
        sequence=np.zeros(tokens, np.int32), position=steps.astype(np.int32), meta={"n_experts": experts, "top_k": k},
    )  # fmt: skip


def against_libcachesim(trace: Trace, rounds: int) -> dict[str, float]:
    """Milliseconds of each curve and of libcachesim at 16 sizes, and how many times as long libcachesim takes."""
    path = oracle_general(trace)
    reader, whole = reader_of(path), _made(trace, "event")
    flat, n = _made(trace, "sequential"), trace.n_layers * trace.n_experts
    rooms = [n * part // SIZES for part in range(1, SIZES + 1)]
    found: dict[str, float] = {}
    for name in ("lru", "belady"):
        peer = partial(_peer, reader, name, rooms)
        _curve(whole, name)
        misses = len(flat.requests.obj) - _curve(flat, name).sum(1)
        assert misses[np.array(rooms) - 1].tolist() == peer(), f"{name}: other misses in libcachesim"
        seconds = interleaved(
            {"events": partial(_curve, whole, name), "one": partial(_curve, flat, name), "peer": peer}, rounds
        )
        ms = {what: 1e3 * taken for what, taken in seconds.items()}
        found |= {
            f"{name} at {n:,} sizes, ms": ms["events"],
            f"{name} at {n:,} sizes, one-expert events, ms": ms["one"],
        }
        found |= {f"{name}, libcachesim at {SIZES} sizes, ms": ms["peer"]}
        found |= {f"{name}, libcachesim ÷ curve": ms["peer"] / ms["events"]}
        found |= {f"{name}, libcachesim ÷ curve of one-expert events": ms["peer"] / ms["one"]}
    path.unlink()
    return found


def _made(trace: Trace, contract: str) -> Curves:
    requests = requests_of(trace, contract)
    return Curves(requests, trace.phase, np.ones(trace.n_layers, np.int64), "global", player=FAST.player)


def _curve(made: Curves, name: str) -> np.ndarray:  # type: ignore[type-arg]
    """Hits at every size that holds the largest event, anew."""
    for group in made.groups:
        group.reach.clear()
    return made.at(policies.load("eviction", name), name, made.every_budget()).hits


def _peer(reader: object, name: str, rooms: list[int]) -> list[int]:
    return [libcachesim_misses(reader, name, room) for room in rooms]
