"""Policies of a space that read the future of the trace. No machine can run them, so that a search must not choose them."""

from __future__ import annotations

from dataclasses import replace

from simmoe import policies
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.sweeps.space import Space


def split(space: Space) -> tuple[Space, tuple[str, ...]]:
    """The space that is searched, and the bounds that are shown beside its fronts. Raises UserError where nothing else is left."""
    names = space.axes.get("eviction", ())
    for name in set(names) & set(BOUNDS):
        raise UserError(f"eviction {name!r} of the space is a bound without a budget and no policy; take it out")
    bounds = tuple(name for name in names if is_bound(name))
    if not bounds:
        return space, ()
    left = tuple(name for name in names if name not in bounds)
    if not left:
        raise UserError(
            f"eviction {', '.join(bounds)} of the space reads the future of the trace, a bound and no policy; name a policy beside it, "
            "such as lru"
        )
    return replace(space, axes={**space.axes, "eviction": left}), bounds


def is_bound(eviction: str) -> bool:
    return "next_use" in getattr(policies.load("eviction", eviction), "NEEDS", ())
