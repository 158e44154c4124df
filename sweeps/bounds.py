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
FUTURE = "reads the future of the trace, which no machine can"
COUNTS = "counts the very text that it is scored on, which no machine can"
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
            f"{axis} {', '.join(mine)} of the space {why(axis, mine[0])}: a bound and no policy; name a policy beside it, such as "
            f"{INSTEAD[axis]}"
        )
    return left


def reads_ahead(eviction: str) -> bool:
    return "next_use" in _needs(eviction) or ("popularity" in _needs(eviction) and not source(eviction))


def _needs(eviction: str) -> Sequence[str]:
    needs: Sequence[str] = getattr(policies.load("eviction", eviction), "NEEDS", ())
    return needs


def why(axis: str, word: str) -> str:
    """What no machine can do."""
    counts = axis == "placement" or (axis == "eviction" and "next_use" not in _needs(word))
    return COUNTS if counts else FUTURE


def foresees_all(prefetch: str) -> bool:
    return prefetch != OFF and "future" in needs_of_prefetch(prefetch)


def said(bounds: tuple[Bound, ...]) -> str:
    """Which bounds there are, and why each is one."""
    words: dict[tuple[str, str], list[str]] = {}
    for axis, word in bounds:
        words.setdefault((axis, why(axis, word)), []).append(word)
    of_less = " (a budget in percent is of what that leaves to the device)" * ("placement" in dict(bounds))
    return "; ".join(f"{', '.join(mine)} {reason}" for (_, reason), mine in words.items()) + of_less
