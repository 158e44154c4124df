"""Which arrays a run does not have, so that compiled text is made without the questions for them (simulator/time/fold.py)."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from types import ModuleType
from typing import Any

from simmoe.simulator.decide.laws import BrokenLaw
from simmoe.simulator.decide.missing import changes_output


def looks_ahead(needs: Collection[str]) -> bool:
    """Whether a policy of those NEEDS reads requests that are to come: all of them, or some events ahead."""
    return not {"next_use", "ahead"}.isdisjoint(needs)


@cache
def absent(needs: tuple[str, ...], *, prefetching: bool, placed: bool, rule: ModuleType | None) -> frozenset[str]:
    """Of what residency.play is given. needs: NEEDS of the eviction policy; placed: the placement leaves experts to another unit than the
    device; rule: for what is missing.

    Each set is a kernel, some seconds to compile: what runs with a prefetcher or a rule may lack besides is not told apart.
    """
    ruled, of_rule = rule is not None, getattr(rule, "NEEDS", ())
    there = {
        "q.following": looks_ahead(needs), "q.mass": "gate" in needs, "x.pinned": "pinned" in needs,
        "q.guess_obj": prefetching, "c.brought": prefetching, "q.guess_for": prefetching,
        "q.unit_of": placed or prefetching or ruled, "m.unit": ruled, "m.here": "resident" in of_rule, "q.gate": "gate" in of_rule,
        "v.answer": rule is not None and changes_output(rule),
    }  # fmt: skip
    return frozenset(name for name, is_there in there.items() if not is_there)


def check_absent(names: frozenset[str], **groups: Any) -> None:
    """Raises BrokenLaw where one of `names`, such as q.mass, is there: compiled text would not look at it. groups: what they are in."""
    for group, field in _parts(names):
        it = getattr(groups[group], field)
        if it if isinstance(it, int) else len(it):
            raise BrokenLaw(f"simmoe broke its own law: a run without {group}.{field} has it; please report this run")


@cache
def _parts(names: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(name.split(".")) for name in sorted(names))
