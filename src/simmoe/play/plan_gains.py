"""What more memory, a part that one can buy, or a figure twice as good would give to the best command line, played there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from simmoe.play.plan_parts import Part, parts_for
from simmoe.play.plan_search import Search, speed_of
from simmoe.play.plan_setup import Setup
from simmoe.play.run import play
from simmoe.play.scenario import Scenario
from simmoe.play.what_if import changed, figures
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.units import nbytes

LEAST = 0.01  # gains below are left out


@dataclass(frozen=True)
class Gain:
    what: str
    decode: float  # times as fast
    prompt: float
    part: str = ""  # the machine with it, where it is a part that one can buy


def gains(search: Search, scenario: Scenario, setup: Setup) -> list[Gain]:
    """What helps most first. scenario: as the caller gave it, with the machine by name."""
    found = [*_one_more(search, setup), *_parts(search, scenario, setup), *_faster(search, scenario, setup)]
    return sorted(found, key=lambda one: -max(one.decode, one.prompt))


def _one_more(search: Search, setup: Setup) -> Iterator[Gain]:
    """The next gigabytes of the card: one block of experts more, one expert of each layer, or one layer."""
    if not setup.away:
        return
    more = setup._replace(away=setup.away - 1)
    short = -search.space.free(more)
    one = {"expert": "one expert of each layer"}.get(search.space.unit, f"one {search.space.unit}")
    whose = "the cards' memory ({} more on them)" if len(search.hw.devices) > 1 else "the card's memory ({} more on it)"
    yield from _gain(f"{nbytes(short)} more of {whose.format(one)}", search, setup, more)


def _parts(search: Search, scenario: Scenario, setup: Setup) -> Iterator[Gain]:
    """A card with more memory takes more of the model."""
    for part in parts_for(scenario.hw, search.hw):
        with suppress(UserError):  # --set of a figure that the other part has not
            hw = replace(scenario, hw=part.machine).machine()
            other = search.space.on(hw).again(setup)
            if other is not None:
                yield from _gain(part.what, search, setup, other, hw, part)


def _faster(search: Search, scenario: Scenario, setup: Setup) -> Iterator[Gain]:
    if not isinstance(scenario.hw, str):
        return
    for change in figures(search.played(setup, True)):
        hw = changed(scenario, change).machine()
        found = []
        for decode in (True, False):
            run = search.played(setup, decode)
            found.append(speed_of(play(run.workload.on(hw), run.plan)) / speed_of(run))
        if max(found) >= 1 + LEAST:
            yield Gain(change.what, found[0], found[1])


def _gain(
    what: str, search: Search, setup: Setup, other: Setup, hw: Hardware | None = None, part: Part | None = None
) -> Iterator[Gain]:
    runs = [search.played(other, which) if hw is None else search.play(other, which, hw) for which in (True, False)]
    found = [
        speed_of(run) / speed_of(search.played(setup, which)) for run, which in zip(runs, (True, False), strict=True)
    ]
    if max(found) >= 1 + LEAST:
        yield Gain(what, found[0], found[1], "" if part is None else part.machine)
