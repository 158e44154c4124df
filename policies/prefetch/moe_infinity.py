"""The experts of the next MoE layers in that stored activation matrix which is nearest to the running one of the sequence.

As MoE-Infinity (Xue et al., "MoE-Infinity: Efficient MoE Inference on Personal Machines with Sparsity-Aware Expert Cache", arXiv
2401.14361, 2024, section 4). A matrix counts the tokens of a sequence by layer and expert; nearest = the largest sum over layers of the
cosines. Matrices are stored of the sequences of the text behind the colon; without one, of those that have ended. Their priorities favour
near layers: here the nearest layer's experts are named first, by how many tokens used them. `experts` = how many of each layer; 0 = as
many as the layer has just requested.
"""

from __future__ import annotations

import numpy as np

from simmoe.policies.guessing import add_by_row, best, guessed, joined, passes_of, used
from simmoe.policies.prefetch import Ask
from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.trace import Trace

ARGUMENTS = {"experts": (0, 0, 1_000_000), "lead": (1, 1, 1024), "matrices": (64, 1, 4096)}
NEEDS = ("passes",)
UNIT = 1 << 15  # a stored row of a matrix has this length
ONE = 1 << 20


class Store:
    """The matrices, [stored, layers, experts]; the oldest makes room where there are too many."""

    def __init__(self, most: int, layers: int, n_experts: int) -> None:
        self.count: Ints = np.zeros((0, layers, n_experts), np.int64)
        self.unit: Ints = self.count
        self.most, self.version = most, 0

    def add(self, matrix: Ints) -> None:
        length = np.maximum(np.sqrt((matrix * matrix).sum(1, keepdims=True).astype(float)), 1.0)
        unit = np.rint(matrix * UNIT / length).astype(np.int64)
        count, unit = np.concatenate((self.count, matrix[None])), np.concatenate((self.unit, unit[None]))
        self.count, self.unit = count[-self.most :], unit[-self.most :]
        self.version += 1

    def dots(self, use: Ints) -> Ints:
        """int64 [layers, stored]: the products of the rows of `use` with those of the matrices."""
        layers, n = use.shape
        at, found = np.flatnonzero(use), np.zeros((layers, len(self.unit)), np.int64)
        add_by_row(found, at // n, self.unit.reshape(-1, layers * n)[:, at].T * use.reshape(-1)[at, None])
        return found


class Running:
    """The matrix of a sequence so far, and how alike the stored ones are."""

    def __init__(self, layers: int, n_experts: int) -> None:
        self.matrix: Ints = np.zeros((layers, n_experts), np.int64)
        self.dots: Ints = np.zeros((layers, 0), np.int64)
        self.version = -1  # of the store that `dots` are of

    def _cosines(self) -> Ints:
        """int64 [layers, stored], of parts UNIT * ONE."""
        length = np.sqrt(np.maximum((self.matrix * self.matrix).sum(1), 1).astype(float))
        weight: Ints = np.rint(ONE / length).astype(np.int64)
        return self.dots * weight[:, None]

    def nearest(self, store: Store, use: Ints) -> Ints:
        """Takes a pass in; [layers] the matrix that is nearest when the pass has ended each layer."""
        if self.version != store.version:
            self.dots, self.version = store.dots(self.matrix), store.version
        old = self._cosines()
        self.matrix, self.dots = self.matrix + use, self.dots + store.dots(use)
        alike = np.cumsum(self._cosines(), 0) - np.cumsum(old, 0) + old.sum(0)
        return np.argmax(alike, axis=1) if len(store.count) else np.zeros(0, np.int64)


def wanted(trace: Trace, ask: Ask) -> tuple[Ints, Ints]:
    n, store = trace.n_experts, Store(int(ask.arguments["matrices"]), trace.n_layers, trace.n_experts)
    if ask.text is not None:
        _fill(store, ask.text, n)
    last = dict(zip(trace.sequence.tolist(), range(trace.n_tokens)))
    running, found = dict[int, Running](), list[tuple[Ints, Ints]]()
    for number, (end, ids) in enumerate(zip(trace.pass_ptr[1:].tolist(), passes_of(trace))):
        mine = trace.sequence[end - len(ids) : end]
        for sequence in dict.fromkeys(mine.tolist()):
            state, use = running.setdefault(sequence, Running(trace.n_layers, n)), used(ids[mine == sequence], n)
            found += _guesses(store, number, state.nearest(store, use), use, ask)
        for sequence in dict.fromkeys(mine.tolist()):
            if last[sequence] < end and ask.text is None:
                store.add(running.pop(sequence).matrix)
    return joined(found)


def _guesses(store: Store, number: int, nearest: Ints, use: Ints, ask: Ask) -> list[tuple[Ints, Ints]]:
    """What is guessed in a pass for a sequence, nearest layers first; nothing while no matrix is stored."""
    layers, n = use.shape
    experts, found = int(ask.arguments["experts"]), []
    for ahead in range(1, min(int(ask.arguments["lead"]), layers - 1) + 1 if len(store.count) else 1):
        layer = np.arange(layers - ahead)
        many = np.full(len(layer), experts) if experts else np.count_nonzero(use[: layers - ahead], axis=1)
        ids = best(store.count[nearest[layer], layer + ahead], many)
        found.append(guessed(number * layers + layer, layer + ahead, ids, n))
    return found


def _fill(store: Store, text: Trace, n_experts: int) -> None:
    """Of the sequences of a text, evenly over it where there are more than are stored."""
    sequences = np.unique(text.sequence)
    chosen = np.unique(np.arange(store.most) * len(sequences) // store.most)
    for sequence in sequences[chosen].tolist():
        store.add(used(text.expert_ids[text.sequence == sequence].astype(np.int64), n_experts))
