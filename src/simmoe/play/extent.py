"""How much a command plays, and about how long that takes, told before it begins.

The rates are those of one core of a server of 2023 (3 GHz), measured on drawn routing of OLMoE and Qwen3-30B; another machine, a prefetcher
or a CPU that computes make it a few times longer or shorter.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from simmoe.play.lengths import Lengths
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.engines import WORTH_COMPILING
from simmoe.simulator.units import nbytes
from simmoe.workloads.format.trace import first_tokens
from simmoe.workloads.synthetic import geometry

DRAW_S, DRAW_EXPERT_S = 4e-5, 2.2e-8  # of a token, and of each expert of each layer beside it
OPEN_S = 2e-7  # of an id
PLAIN_S, FAST_S = (4e-7, 2e-5), (2e-8, 1e-7)  # of an id, and of a pass in one layer
FORMED_S, TOGETHER = 7e-4, 3  # of a pass that is formed while the clock runs; requests that decode in one, about
ENGINE_S = 1e-6  # of a pass in one layer, whose costs under an engine are reckoned for each machine
LONG_S = 20.0  # nobody is told of less
ID_BYTES, EVENT_BYTES = 60, 1100  # of memory, at least


@dataclass(frozen=True)
class Extent:
    """Of one text."""

    tokens: int
    passes: int
    layers: int
    top_k: int
    experts: int
    reused: int = 0  # of the tokens: rows that are played again, and held once
    steps: int = 0  # rows that decode, of requests that arrive: in fewer passes the more of them run together

    @property
    def ids(self) -> int:
        return self.tokens * self.layers * self.top_k

    @property
    def draw_s(self) -> float:
        """To draw its routing."""
        return self.tokens * (DRAW_S + DRAW_EXPERT_S * self.layers * self.experts)

    @property
    def open_s(self) -> float:
        """To make it ready, for each workload."""
        return self._held * OPEN_S

    def play_s(self, runs: int, under_an_engine: bool = False, clock_driven: bool = False) -> float:
        """To play it once, by the executor that pays for so many runs."""
        requests = min(self.ids, self.passes * self.layers * self.experts) * runs
        of_id, of_event = PLAIN_S if compiled.missing() or requests < WORTH_COMPILING else FAST_S
        of_pass = self.layers * (of_event + ENGINE_S * under_an_engine)
        formed = max(self.passes, self.steps // TOGETHER) * clock_driven
        return self.ids * of_id + self.passes * of_pass + formed * FORMED_S

    @property
    def memory_bytes(self) -> int:
        """That playing it takes at least."""
        return self._held * ID_BYTES + self.passes * self.layers * EVENT_BYTES

    @property
    def _held(self) -> int:
        """Ids that are held in memory."""
        return (self.tokens - self.reused) * self.layers * self.top_k

    def __str__(self) -> str:
        return f"{self.tokens:,} tokens in {self.passes:,} passes, {self.layers} layers × top-{self.top_k}"


def of(lengths: Lengths, text: Trace | ModelShape, *, together: bool, tokens: int | None = None) -> Extent:
    """Of a trace as it is, of the requests that are made of its rows, or of what is drawn for a model. together: the sequences decode in
    passes that they share; requests that arrive have at least as many as one of them has steps. tokens: how many of a trace are played.
    Raises UserError for a model that nothing can be drawn for."""
    if isinstance(text, ModelShape):
        layer_index, experts, top_k = geometry(text)
        layers, sequences = len(layer_index), lengths.sequences or 1
    else:
        layers, experts, top_k = text.n_layers, text.n_experts, text.top_k
        if not lengths.asked:
            text = first_tokens(text, tokens)
            return Extent(text.n_tokens, text.n_passes, layers, top_k, experts)
        sequences = lengths.requests(text)
    if lengths.spread:
        require(Extent(sequences, 1, layers, top_k, experts))  # a token each, before any length is drawn
    unlike = sequences if lengths.spread else 1  # numbers of so many are added up, which may be more than memory holds
    prompt, generate = lengths.of_each(unlike)
    prompts, answers = (int(one.sum()) * (sequences // unlike) for one in (prompt > 0, generate))
    if lengths.each_once:
        passes = int(((prompt > 0) + generate).max())
    else:
        passes = prompts + (int(generate[0]) if together else answers)
    tokens, reused = int(prompt.sum()) * (sequences // unlike) + answers, 0
    if lengths.each_once and not isinstance(text, ModelShape):
        reused = max(tokens - text.n_tokens, 0)
    return Extent(tokens, passes, layers, top_k, experts, reused, answers * lengths.each_once)


def require(extent: Extent) -> None:
    """Raises UserError for what this computer has not the memory to play."""
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "SC_PHYS_PAGES" in os.sysconf_names else 2**63
    if extent.memory_bytes > have:
        raise UserError(
            f"{extent} would take at least {nbytes(extent.memory_bytes)} of memory to play, and this computer has {nbytes(have)}; give a "
            "smaller --prompt, --generate, --batch or --requests"
        )
