"""One line on standard error before a command that will take long: what it plays, and about how long that takes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from simmoe.play import extent
from simmoe.play.ladder import SHORT
from simmoe.play.lengths import Lengths, of_requests
from simmoe.play.memory import MICROBATCH, Memory
from simmoe.play.passes import clock_driven
from simmoe.play.room import in_blocks
from simmoe.play.scenario import Scenario
from simmoe.play.traced import traced
from simmoe.policies.runtime import IDEAL
from simmoe.show.wrap import wrapped
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads import models


def told(
    scenario: Scenario, command: str, plays: int, draws: int = 1, changes: int | None = None, opens: int | None = None,
    others: Sequence[tuple[Scenario, int, int]] = (),
) -> None:  # fmt: skip
    """Say it of a scenario whose trace is opened, which is played so many times, and drawn so often where there is no trace. changes: how
    many are tried beside a single run, on a part of a text that is long; None of runs that share an engine. opens: how many workloads are
    made of it; None: one for each drawing. others: with other lengths, each with how often it is played and opened. Raises UserError."""
    lengths, text = _lengths(scenario), _text(scenario)
    if text is None:
        return
    drawn, found = isinstance(text, ModelShape), _extent(scenario, text)
    extent.require(found)
    if isinstance(text, ModelShape) and changes is not None and found.draw_s > extent.LONG_S:
        _require_kv(scenario, text, lengths)
    runs, plays = (plays if changes is None else 1), plays + (changes or 0) * (found.ids <= SHORT)
    serving = clock_driven(scenario.schedule) is not None
    seconds = plays * found.play_s(runs, scenario.runtime != IDEAL, serving) + draws * drawn * found.draw_s
    seconds += (draws if opens is None else opens) * found.open_s
    for other, played, opened_of in others:
        one = _extent(other, text)
        seconds += (
            played * one.play_s(runs, other.runtime != IDEAL, serving) + drawn * one.draw_s + opened_of * one.open_s
        )
        plays, draws, found = plays + played, draws + 1, max(found, one, key=lambda extent: extent.tokens)
    if seconds > extent.LONG_S:
        how = f"drawn {_times(draws)}, " * drawn + f"played {_times(plays)}"
        said = f"{command}: {'up to ' * bool(others)}{found}, {how}: about {_in_words(seconds)} of one core"
        width = shutil.get_terminal_size().columns if sys.stderr.isatty() else len(said)
        print("\n".join(wrapped(said, width)), file=sys.stderr, flush=True)


def _extent(scenario: Scenario, text: Trace | ModelShape) -> extent.Extent:
    return extent.of(_lengths(scenario), text, together=scenario.batch is not None, tokens=scenario.tokens)


def opened(scenario: Scenario) -> Scenario:
    """With its trace opened. Raises UserError."""
    return scenario if scenario.trace is None else replace(scenario, trace=traced(scenario.trace, scenario.model))


def _lengths(scenario: Scenario) -> Lengths:
    said = Lengths(scenario.prompt, scenario.generate, scenario.batch, scenario.depth, seed=scenario.seed)
    serving = clock_driven(scenario.schedule) is not None
    return of_requests(said, scenario.requests, scenario.max_batch, scenario.schedule, serving, scenario.trace is None)


def _text(scenario: Scenario) -> ModelShape | Trace | None:
    """The trace, or the model that routing is drawn for; None for a name that is not opened."""
    if scenario.trace is None:
        named = scenario.model
        return models.load(named, scenario.format, scenario.kv_format) if isinstance(named, str | Path) else named
    if isinstance(scenario.trace, str | Path):
        return None
    return scenario.trace


def _require_kv(scenario: Scenario, model: ModelShape, lengths: Lengths) -> None:
    """What cannot fit is not drawn for minutes first. Raises UserError."""
    hw = scenario.machine()
    if len(hw.devices) > 1 or in_blocks(clock_driven(scenario.schedule)):
        return
    sequences = lengths.sequences or 1
    n = sequences if lengths.spread else 1  # whose lengths are not alike
    reserved = scenario.context or int((sum(lengths.of_each(n)) + lengths.depths(n)).max())
    beside = MICROBATCH if scenario.microbatch is None else scenario.microbatch
    Memory(hw, model, 0).require_kv(reserved, min(scenario.max_batch or sequences, sequences), beside)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _in_words(seconds: float) -> str:
    """In the unit in which it is a small number."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
