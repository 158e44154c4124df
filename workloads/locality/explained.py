"""How much of the routing the token itself explains, and how much the tokens before it.

The answer separates two kinds of router: one that looks the expert up by token id, and one that follows the text.
Measured as variance explained on sequences that were not learned from (prediction.test_rows).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simmoe.workloads.locality.prediction import test_rows
from simmoe.workloads.locality.routing import Bools, Floats, Ints, Routing, members

Table = npt.NDArray[np.float32]  # [tokens, experts]
CONTEXT = 16  # tokens before the current one, within its stretch; a power of two


def shares(routing: Routing, tokens: Ints | None) -> dict[str, Floats]:
    """float64 [layers] each: variance of the expert membership explained by "context", and by "token" and "both" if known.

    Membership y of a token is 0 or 1 for each expert. The guess is f + a·(token mean - f) + b·(context mean - f) with f the
    layer's mean over the training tokens; token mean: of y over the training tokens of the same id, shrunk by one token
    towards f and without the token itself; context mean: of y over the (up to) 16 tokens before it in its stretch. a and b
    are one number each per layer, least squares on the training tokens. Share = 1 - Σ|y - guess|² / Σ|y - f|² over test
    tokens: 1 = all, 0 = no better than popularity, below 0 = worse; NaN where nothing varies.
    tokens int64 [tokens], in the order of the routing.
    """
    test = test_rows(routing.sequence)
    names = ("context",) if tokens is None else ("token", "context", "both")
    found = {name: np.full(routing.n_layers, np.nan) for name in names}
    for layer in range(routing.n_layers) if not test.all() else ():
        used = members(routing.ids[:, layer], routing.n_experts)
        popularity = used[~test].mean(0)
        clues = {"context": _context(used, popularity, routing.stretch)}
        y = used - popularity
        if tokens is not None:
            clues["token"] = _by_token(y, tokens, ~test)
        for name in names:
            found[name][layer] = _explained(y, [c for n, c in clues.items() if name in (n, "both")], test)
    return found


def _context(used: Table, popularity: Table, stretch: Ints) -> Table:
    """[tokens, experts]: mean of `used` over the up to 16 tokens before, less popularity; 0 at the start of a stretch."""
    place = np.arange(len(used)) + CONTEXT * (stretch + 1)  # 16 empty rows before each stretch
    sums = np.zeros((place[-1] + 1, used.shape[1]), np.uint8)
    sums[place] = used
    for span in (1, 2, 4, 8):  # sums over twice as many rows each time
        sums[span:] += sums[:-span].copy()
    starts = np.flatnonzero(np.diff(stretch, prepend=-1))
    seen = np.minimum(np.arange(len(used)) - starts[stretch], CONTEXT)
    means = sums[place - 1] / np.maximum(seen, 1)[:, None].astype(np.float32) - popularity
    means[seen == 0] = 0
    return np.asarray(means, np.float32)


def _by_token(y: Table, tokens: Ints, learn: Bools) -> Table:
    """[tokens, experts]: shrunk mean of y over the other training tokens of the same id."""
    sums = np.zeros((int(tokens.max()) + 1, y.shape[1]))
    np.add.at(sums, tokens[learn], y[learn])
    count = np.bincount(tokens[learn], minlength=len(sums))[tokens] - learn
    means = (sums[tokens] - np.where(learn[:, None], y, 0)) / (count + 1)[:, None]
    return np.asarray(means, np.float32)


def _explained(y: Table, clues: list[Table], test: Bools) -> float:
    """1 - Σ|y - guess|² / Σ|y|² over test tokens, with least squares on the others; all from inner products per token."""
    rows = [y, *clues]
    products = np.empty((len(rows), len(rows), len(y)), np.float32)
    for i, a in enumerate(rows):
        for j, b in enumerate(rows[: i + 1]):
            products[i, j] = products[j, i] = np.einsum("te,te->t", a, b)
    learn, asked = (products[:, :, part].sum(2, dtype=np.float64) for part in (~test, test))
    if asked[0, 0] == 0:
        return float("nan")
    factors = np.concatenate([[1.0], -np.linalg.pinv(learn[1:, 1:]) @ learn[1:, 0]])
    return float(1 - factors @ asked @ factors / asked[0, 0])
