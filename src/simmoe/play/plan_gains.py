"""What more memory, a faster host or a faster link would give to the best command line: the same search, on the changed machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simmoe.play.buffers import BESIDE_BYTES, least_blocks
from simmoe.play.plan_search import Search, Setup, speed_of
from simmoe.play.run import play
from simmoe.play.scenario import Scenario
from simmoe.play.what_if import changed, figures
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.units import nbytes

FIT_MARGIN_BYTES = 2**30  # llama-fit-params: --fit-target, its default
LEAST = 0.01  # gains below are left out


@dataclass(frozen=True)
class Gain:
    what: str
    decode: float  # times as fast
    prompt: float


def gains(search: Search, scenario: Scenario, setup: Setup) -> list[Gain]:
    """What helps most first. scenario: as the caller gave it, with the machine by name."""
    found = [*_a_block_more(search, setup), *_faster(search, scenario, setup)]
    return sorted(found, key=lambda one: -max(one.decode, one.prompt))


def _a_block_more(search: Search, setup: Setup) -> Iterator[Gain]:
    """The next gigabytes of the card: one block of experts more."""
    if not setup.blocks:
        return
    more = setup._replace(blocks=setup.blocks - 1)
    short = -search.free(more)
    yield from _gain(
        f"{nbytes(short)} more of the card's memory (one block more on it)", search, setup, more, search.hw
    )


def _faster(search: Search, scenario: Scenario, setup: Setup) -> Iterator[Gain]:
    if not isinstance(scenario.hw, str):
        return
    for change in figures(search.played(setup, True)):
        yield from _gain(change.what, search, setup, setup, changed(scenario, change).machine())


def _gain(what: str, search: Search, setup: Setup, other: Setup, hw: Hardware) -> Iterator[Gain]:
    found = []
    for decode in (True, False):
        run = search.played(other, decode)
        if hw is not search.hw:
            run = play(run.workload.on(hw), run.plan)
        found.append(speed_of(run) / speed_of(search.played(setup, decode)))
    if max(found) >= 1 + LEAST:
        yield Gain(what, *found)


def fit_params_blocks(search: Search, setup: Setup) -> int | None:
    """Blocks whose experts llama-fit-params (common/fit.cpp) would leave to the CPU for the same -ub, -c and KV format: it fills the card
    from the back and keeps FIT_MARGIN_BYTES free, where this search keeps BESIDE_BYTES; of one more block it may place a part."""
    model, room = search.shapes[setup.kv_format], search.room_bytes + BESIDE_BYTES - FIT_MARGIN_BYTES
    return least_blocks(
        model, room, search.context, setup.microbatch, search.carries(setup), search.host_bytes is not None
    )
