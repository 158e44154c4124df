"""Words of a space that know the text that they are scored on. No machine can play them, so that a search must not choose them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from simmoe import policies
from simmoe.play.identity import needs_of_prefetch
from simmoe.play.kinds import OFF
from simmoe.play.popularity import source
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.sweeps.space import Space

Bound = tuple[str, str]  # axis and word, such as ("eviction", "belady")
WHY = {
    "eviction": "knows the text that it is scored on, which no machine can",
    "prefetch": "reads the text that it is scored on, which no machine can",
    "placement": "counts the very text that it is scored on, which no machine can",
}
INSTEAD = {"eviction": "lru", "prefetch": "last_token", "placement": "popular=50%:first=20%"}


def split(space: Space, counts_own_text: Callable[[str], bool]) -> tuple[Space, tuple[Bound, ...]]:
    """The space that is searched, and the bounds that are shown beside its fronts. Raises UserError where an axis has nothing else.

    counts_own_text: whether a placement goes by the use of experts in a trace of the space.
    """
    for name in set(space.axes.get("eviction", ())) & set(BOUNDS):
        raise UserError(f"eviction {name!r} of the space is a bound without a budget and no policy; take it out")
    is_bound = {"eviction": reads_ahead, "prefetch": foresees_all, "placement": counts_own_text}
    bounds = tuple((axis, word) for axis, known in is_bound.items() for word in space.given(axis) if known(word))
    axes = {axis: _left(axis, words, bounds) for axis, words in space.axes.items()}
    return replace(space, axes=axes), bounds


def _left(axis: str, words: Sequence[str], bounds: tuple[Bound, ...]) -> Sequence[str]:
    mine = [word for one, word in bounds if one == axis]
    if not mine:
        return words
    left = tuple(word for word in words if word not in mine)
    if not left:
        raise UserError(
            f"{axis} {', '.join(mine)} of the space {WHY[axis]}: a bound and no policy; name a policy beside it, such as "
            f"{INSTEAD[axis]}"
        )
    return left


def reads_ahead(eviction: str) -> bool:
    needs = getattr(policies.load("eviction", eviction), "NEEDS", ())
    return "next_use" in needs or ("popularity" in needs and not source(eviction))


def foresees_all(prefetch: str) -> bool:
    return prefetch != OFF and "future" in needs_of_prefetch(prefetch)


def said(bounds: tuple[Bound, ...]) -> str:
    """Which bounds there are, and why each is one."""
    words = {axis: ", ".join(word for one, word in bounds if one == axis) for axis in dict(bounds)}
    of_less = " (a budget in percent is of what that leaves to the device)" * ("placement" in words)
    return "; ".join(f"{mine} {WHY[axis]}" for axis, mine in words.items()) + of_less
