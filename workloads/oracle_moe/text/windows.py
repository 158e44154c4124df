"""Windows of tokens cut from the bundled text: training batches, evaluation windows, the sequences of a trace.

Two kinds. A *pure* window is consecutive text of one document. A *mixed* window is stitched from short snippets of
random domains: it trains the model to follow abrupt changes of topic, and it shows whether a router does.
Everything is a function of a seed; nothing keeps state, so training can stop and go on at any step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simmoe.workloads.oracle_moe.text import encoded

Tokens = npt.NDArray[np.int64]
Docs = tuple[tuple[tuple[str, Tokens], ...], ...]


class Windows(NamedTuple):
    tokens: Tokens  # int64 [windows, length]
    domain: Tokens  # int64 [windows, length], index into text.domains()


def training_batch(seed: int, step: int, batch: int, length: int, snippet: tuple[int, int]) -> Tokens:
    """int64 [batch, length + 1]: the first half of the rows pure, the second half mixed."""
    rng = np.random.default_rng([seed, step])
    docs = encoded("train")
    pure = [_piece(docs, rng, length + 1)[0] for _ in range(batch - batch // 2)]
    mixed = [_stitch(docs, rng, length + 1, snippet)[0] for _ in range(batch // 2)]
    return np.stack(pure + mixed)


def training_pure(count: int, length: int) -> Windows:
    """`count` windows of training text, for choosing constants: window i is text of domain i mod 7."""
    rng = np.random.default_rng(count)
    docs = encoded("train")
    pieces = [_piece(docs[i % len(docs) :][:1], rng, length)[0] for i in range(count)]
    return Windows(np.stack(pieces), np.repeat(np.arange(count)[:, None] % len(docs), length, 1))


def training_mixed(count: int, length: int, snippet: tuple[int, int]) -> Windows:
    """`count` windows stitched from snippets of training text."""
    rng = np.random.default_rng([count, 1])
    rows, labels = zip(*(_stitch(encoded("train"), rng, length, snippet) for _ in range(count)))
    return Windows(np.stack(rows), np.stack(labels))


def held_out_pure(count: int, length: int) -> Windows:
    """`count` windows of held-out text, one domain after the other, spread evenly over each domain's documents.

    Window i is text of domain i mod 7, so the first seven windows visit every domain.
    """
    docs = encoded("held-out")
    cut = [_starts(domain, -(-count // len(docs)), length) for domain in docs]
    rows, labels = [], []
    for i in range(count):
        domain = i % len(docs)
        document, start = cut[domain][i // len(docs)]
        rows.append(docs[domain][document][1][start : start + length])
        labels.append(np.full(length, domain))
    return Windows(np.stack(rows), np.stack(labels))


def held_out_mixed(seed: int, count: int, length: int, snippet: tuple[int, int]) -> Windows:
    """`count` windows stitched from snippets of held-out text."""
    rng = np.random.default_rng([seed, 1])
    rows, labels = zip(*(_stitch(encoded("held-out"), rng, length, snippet) for _ in range(count)))
    return Windows(np.stack(rows), np.stack(labels))


def _piece(docs: Docs, rng: np.random.Generator, length: int) -> tuple[Tokens, int]:
    """Consecutive tokens of one document: domain uniform, document by the number of places to start in it."""
    domain = int(rng.integers(len(docs)))
    room = np.array([max(0, len(ids) - length) for _, ids in docs[domain]], np.float64)
    document = docs[domain][int(rng.choice(len(room), p=room / room.sum()))][1]
    start = int(rng.integers(len(document) - length))
    return document[start : start + length], domain


def _stitch(docs: Docs, rng: np.random.Generator, length: int, snippet: tuple[int, int]) -> tuple[Tokens, Tokens]:
    """Snippets of `snippet` (least, most) tokens, each from a random domain, cut to `length` in all."""
    parts: list[Tokens] = []
    labels: list[Tokens] = []
    while sum(map(len, parts)) < length:
        part, domain = _piece(docs, rng, int(rng.integers(snippet[0], snippet[1] + 1)))
        parts.append(part)
        labels.append(np.full(len(part), domain))
    return np.concatenate(parts)[:length], np.concatenate(labels)[:length]


def _starts(documents: tuple[tuple[str, Tokens], ...], count: int, length: int) -> list[tuple[int, int]]:
    """`count` non-overlapping (document, start) of one domain, taking the documents in turn."""
    slots = [[(i, s) for s in range(0, len(ids) - length + 1, length)] for i, (_, ids) in enumerate(documents)]
    share = [len(s) * count / sum(map(len, slots)) for s in slots]  # longer documents give more windows
    picked: list[list[tuple[int, int]]] = []
    for s, n in zip(slots, share):
        n = min(len(s), max(1, round(n)))
        picked.append([s[k * len(s) // n] for k in range(n)])
    depth = max(map(len, picked))
    in_turn = [p[k] for k in range(depth) for p in picked if k < len(p)]
    spare = [slot for s in slots for slot in s if slot not in set(in_turn)]
    return (in_turn + spare)[:count]
