"""What the kit plays: small drawn scenarios, the same ones every time.

Each has events of several experts, unused slots, prefill passes, several sequences; some have experts of unequal size, prefetches into the
cache or into buffers, budgets from one expert to all, one group or one per layer, emptied slots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.decisions import first_events, no_guesses
from simmoe.simulator.decide.gather import Requests, requests_of
from simmoe.simulator.nouns.decisions import Guesses
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace

SCENARIOS = 48
SIZES = (4, 6, 5000)  # bytes of an expert
NO_STARTS = np.zeros(0, np.int64)
Say = Callable[[str, int, int], None]  # told the stage, how many of its scenarios are done, of how many
T = TypeVar("T")


class Scenario(NamedTuple):
    """One thing to play."""

    number: int
    requests: Requests
    expert_bytes: Ints  # [layers]
    budget_bytes: int
    scope: str
    guesses: Guesses
    cold_at: Ints  # events at which the slots are emptied

    def __str__(self) -> str:
        guesses = "buffers" if self.guesses.buffered else "prefetches" if len(self.guesses.obj) else "no prefetches"
        sizes = "/".join(map(str, self.expert_bytes.tolist()))
        return f"scenario {self.number} (experts of {sizes} B, room {self.budget_bytes:,} B, scope {self.scope}, {guesses})"


def silent(stage: str, done: int, of: int) -> None:
    """Says nothing."""


def in_turn(cases: Sequence[T], stage: str, say: Say) -> Iterator[T]:
    """The cases, and how far they are."""
    for done, case in enumerate(cases):
        say(stage, done, len(cases))
        yield case
    say(stage, len(cases), len(cases))


def scenarios() -> Iterator[Scenario]:
    """The same ones every time."""
    for number in range(SCENARIOS):
        rng = np.random.default_rng(number)
        trace = drawn_trace(rng, layers=1 + number % 3, experts=3 + number % 7)
        requests = requests_of(trace, "sequential" if number % 8 == 7 else "event")
        one = int(rng.choice(SIZES))
        sizes = rng.choice(SIZES, trace.n_layers) if number % 2 else np.full(trace.n_layers, one)
        scope = ("global", "layer")[number // 2 % 2]
        budget = drawn_budget(rng, sizes, trace.n_experts, scope)
        kind = number // 4 % 3  # none, into the cache, into buffers
        guesses = _guesses(rng, requests, kind == 2) if kind and number % 8 != 7 else no_guesses(requests)
        cold_at = first_events(trace, requests) if number % 5 == 4 else NO_STARTS
        yield Scenario(number, requests, sizes.astype(np.int64), budget, scope, guesses, cold_at)


def drawn_budget(rng: np.random.Generator, sizes: Ints, n_experts: int, scope: str) -> int:
    """From one expert (of each layer) to most of them."""
    total = int(sizes.sum()) * n_experts
    least = int(sizes.max()) if scope == "global" else -(-total // n_experts)
    return least + int((total - least) * rng.choice((0.0, 0.2, 0.4, 0.7)))


def drawn_trace(rng: np.random.Generator, layers: int, experts: int) -> Trace:
    """Passes of one to four tokens of four sequences, whose experts are drawn with favourites; some slots stay unused."""
    lengths = np.where(rng.random(40) < 0.7, 1, rng.integers(2, 5, 40))
    tokens, k = int(lengths.sum()), int(rng.integers(1, min(experts, 3) + 1))
    likes = rng.random((tokens, layers, experts)) * (1 + np.arange(experts) % 3)
    ids = np.argsort(-likes, axis=2, kind="stable")[:, :, :k].astype(np.int16)
    ids[rng.random(ids.shape) < 0.05] = -1
    sequence = np.sort(rng.integers(0, 4, tokens)).astype(np.int32)
    first = np.searchsorted(sequence, sequence)
    weights = rng.random(ids.shape).astype(np.float16) if rng.random() < 0.5 else None
    return Trace(
        expert_ids=ids, layer_index=np.arange(layers, dtype=np.int16), pass_ptr=np.concatenate(([0], np.cumsum(lengths))),
        phase=np.where(lengths > 1, PREFILL, DECODE).astype(np.int8), sequence=sequence,
        position=(np.arange(tokens) - first).astype(np.int32), meta={"n_experts": experts, "top_k": k, "null_experts": True},
        gate_weights=weights,
    )  # fmt: skip


def _guesses(rng: np.random.Generator, requests: Requests, buffered: bool) -> Guesses:
    """Up to three different objects at each event."""
    lists = [
        rng.choice(requests.n_objects, int(rng.integers(0, min(4, requests.n_objects + 1))), replace=False)
        for _ in range(requests.n_events)
    ]
    ptr = np.concatenate(([0], np.cumsum([len(one) for one in lists])))
    return Guesses(ptr, np.concatenate(lists), buffered)
