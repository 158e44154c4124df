"""Where one way of running a model overtakes another: two ways, and two quantities that are varied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simmoe.play.workload import Workload
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.units import text

DOUBLINGS = (-3, -2, -1, 0, 1, 2, 3)  # of what the machine has
Options = Mapping[str, Any]  # of a scenario


@dataclass(frozen=True)
class Stop:
    """A value of one of the two quantities."""

    text: str
    options: Options


@dataclass(frozen=True)
class Question:
    """ways(x, y): the options of each way at two stops."""

    title: str
    names: tuple[str, str]  # of the ways
    x_name: str
    y_name: str
    x: tuple[Stop, ...]
    y: tuple[Stop, ...]
    ways: Callable[[Stop, Stop], tuple[Options, Options]]
    sets: tuple[str, ...]  # options that it varies, which a user does not give


def check_loads(workload: Workload) -> None:
    """Raises UserError for an engine that keeps all experts where they are: a map of loads says nothing of it."""
    runtime = workload.runtime
    if runtime is not None and not runtime.streams:
        raise UserError(
            f"{runtime.name} loads no experts while it runs, so this map says nothing of it: name an engine that does, or leave "
            "--runtime out"
        )


def doubled(hw: Hardware, path: str, *held_back_by: str) -> tuple[Stop, ...]:
    """A rate of the machine, halved and doubled, with the rates that would hold it back. Raises UserError where it states none."""
    if path not in hw.figures:
        raise UserError(
            f"{hw.name} states no {path}, which this map varies; add it to the profile, or choose another machine"
        )
    stops = []
    for doubling in DOUBLINGS:
        value = max(int(hw.figures[path].value * 2**doubling) // 1000 * 1000, 1000)
        with_it = [one for one in held_back_by if one in hw.figures and hw.figures[one].value < value]
        said = tuple(f"{one}={text(value, 'bandwidth').replace(' ', '')}" for one in (path, *with_it))
        stops.append(Stop(short(value), {"set": said}))
    return tuple(stops)


def short(bytes_per_s: int) -> str:
    """A rate in three digits, of GB/s."""
    return f"{bytes_per_s / 1e9:.3g}"
