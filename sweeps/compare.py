"""Machines side by side on the same traces and policies: speed, what bounds it, and what it costs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from simmoe.play.box import PARTS, joined
from simmoe.play.calling import scenario_of, takes
from simmoe.play.identity import eviction_identity
from simmoe.play.scenario import OPTIONS
from simmoe.play.traced import traced
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.trace import Trace
from simmoe.sweeps.comparing import EXTRA, Comparing, asked
from simmoe.sweeps.comparison import Comparison
from simmoe.sweeps.cost import accounts
from simmoe.sweeps.measures import measure_of
from simmoe.sweeps.order import Order
from simmoe.sweeps.over import axis_of
from simmoe.sweeps.player import NO_BUDGET, PLAYS, Asked, Player, words

Machine = str | Path | Hardware
Recording = str | Path | Trace


@takes(more=EXTRA)
def compare(
    hw: Sequence[Machine] | Machine | None = None, trace: Sequence[Recording] | Recording | None = None, **options: Any
) -> Comparison:
    """Simulate every combination of `hw`, `trace` and `eviction`: each may be one or a list. The options are those of `simmoe.run`, and
    at the end a few of the comparison alone.

    budget, memory: the same for every machine; neither: each plays with what it holds.
    A combination that cannot run is a row with its reason. Raises UserError with one line for a mistake that concerns all of them.
    """
    question = asked({name: options.pop(name) for name in EXTRA if name in options})
    rows = list(asked_for({"hw": hw, "trace": trace, **options}, question))
    counted = accounts((row.hw for row in rows), question)
    player = Player(PLAYS * len(rows))
    axes = [(axis := axis_of(one, rows, player), measure_of(axis, rows)) for one in question.over]
    found = tuple(map(player.row, rows))
    reasons = {row.why_not for row in found}
    if len(reasons) == 1 and "" not in reasons:  # the same mistake everywhere
        raise UserError(reasons.pop())
    return Comparison(found, counted, tuple(Order(axis, measure, rows, player) for axis, measure in axes))


def asked_for(common: Mapping[str, Any], question: Comparing) -> Iterator[Asked]:
    """Every row that is asked for, its inputs opened. Raises UserError."""
    for own in question.row or ({},):
        yield from _combinations(common, own)


def combined(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a row stand in place of those of all rows, and its machine in place of theirs: a GPU alone goes into the host, and a
    host takes the GPU, that is named for all."""
    gone = {"hw"} if own.keys() & PARTS else {"hw", *PARTS} if "hw" in own else set()
    return joined({**{name: value for name, value in common.items() if name not in gone}, **own})


def _combinations(common: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[Asked]:
    """Machine by machine, trace by trace, policy by policy. Raises UserError."""
    options = combined(common, own)
    named = _several("hw", options.pop("hw", None))
    machines = [machine for i, machine in enumerate(named) if machine not in named[:i]]  # a host named twice
    recordings = [None] if options.get("trace") is None else _several("trace", options["trace"])
    options.pop("trace", None)
    rule = options.pop("eviction", None)
    first = scenario_of({"hw": machines[0], "trace": recordings[0], **options})
    policies = [first.eviction] if rule is None else _several("eviction", rule)
    for policy in policies:
        eviction_identity(OPTIONS["eviction"].checked(policy))  # a typo stops here and is no row
    opened = [(machine, replace(first, hw=machine).machine()) for machine in machines]
    texts = [(_named(t, i), t, t if t is None else traced(t, first.model)) for i, t in enumerate(recordings, 1)]
    alone = {name: value for name, value in own.items() if name not in ("hw", *PARTS)}
    for (machine, hw), (name, recording, text) in product(opened, texts):
        played = replace(first, hw=hw, set=(), trace=text)
        for policy in policies:
            given = {"hw": machine, "trace": recording, **options, **({} if rule is None else {"eviction": policy})}
            yield Asked(
                replace(played, eviction=policy, **(NO_BUDGET if policy in BOUNDS else {})),
                name,
                given,
                shlex.join(words(alone) or []),
            )


def _named(trace: Recording | None, number: int) -> str:
    """A trace as the rows name it."""
    if trace is None:
        return "drawn"
    return str(trace) if isinstance(trace, str | Path) else f"trace {number}"


def _several(option: str, given: Any) -> list[Any]:
    values = list(given) if isinstance(given, list | tuple) else [given]
    if not values or values[0] is None:
        raise UserError(f"--{option} is missing: name at least one")
    return values
