"""The axis of a comparison: a number of a run or a figure of the machines, its values, and what lies between two of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from simmoe import hardware_profiles
from simmoe.play.kinds import Count, Positions, Size, Time, bytes_of, changes, ps_of
from simmoe.play.length_words import Tokens
from simmoe.play.load_words import WHOLE, Rate, rate_of, rate_word
from simmoe.play.plan import memory_of
from simmoe.play.scenario import OPTIONS, unread, workload_options
from simmoe.policies.runtime import IDEAL
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.units import UNITS, nbytes, parse, text
from simmoe.sweeps.player import Asked, Player

SLOTS = ("budget", "memory")  # counted in whole experts
USUAL = {
    "batch": (1, 64),
    "max_batch": (1, 64),
    "context": (4096, 131_072),
    "prompt": (128, 32_768),
    "depth": (0, 32_768),
}
RATE, TIME = "rate", "time"
DIMENSIONS: dict[type, str] = {
    Size: "bytes",
    Positions: "positions",
    Rate: RATE,
    Time: TIME,
}  # of the kinds of an option
EXAMPLES = {"bytes": "1GB..64GB", RATE: "1/s..8/s", TIME: "10ms..200ms"}
STEPS, BUDGET_STEPS, FACTOR = 16, 20, 4  # intervals of a range; a figure goes from a fourth to four times of what it is
DIGITS, CLOSE = 4, 1.01  # of a figure's values; how close two of them are told apart
AXIS = re.compile(r"(?:([0-9]+(?:,[0-9]+)*):)?([A-Za-z_][A-Za-z0-9_.-]*)(?:=(.+))?")
NUMBERS = {
    name: one
    for name, one in OPTIONS.items()
    if isinstance(one.about.kind, Count | Size | Rate | Time) and one.about.axis and name != "seed"
}


@dataclass(frozen=True)
class Axis:
    """values: whole numbers of its base unit, rising."""

    name: str  # an option of a run, or the path of a figure
    rows: tuple[int, ...]  # numbers of the rows that it changes
    values: tuple[int, ...]
    dimension: str  # of a figure; bytes, a rate of requests, or tokens and the like
    slot_bytes: int = 0  # of an expert, where memory for experts is counted in them

    def between(self, low: int, high: int) -> int | None:
        """A value about in the middle; None where both are next to each other: one expert, one sequence, or 1 % apart."""
        if self.slot_bytes:
            return (low + high) // 2 // self.slot_bytes * self.slot_bytes if high - low >= 2 * self.slot_bytes else None
        if self.dimension == "count":
            return (low + high) // 2 if high - low > 1 else None
        middle = _rounded((low * high) ** 0.5 if low else high / 2, self.dimension)
        return middle if high > CLOSE * low and high - low > 1 and low < middle < high else None

    def word(self, value: int) -> str:
        """As the command line writes it."""
        if self.name in NUMBERS:
            return str(OPTIONS[self.name].about.kind.word(self.given(value)))
        return text(value, self.dimension).replace(" ", "")

    def given(self, value: int) -> int | str:
        """A number of a run as a scenario holds it."""
        if self.dimension == RATE:
            return rate_word(Fraction(value, WHOLE))
        return text(value, TIME).replace(" ", "") if self.dimension == TIME else value

    def shown(self, value: int) -> str:
        """As people read it."""
        if self.dimension == RATE:
            return rate_word(Fraction(value, WHOLE))
        if self.dimension == "bytes":
            return nbytes(value)
        return text(value, self.dimension) if self.dimension in UNITS else f"{value:,}"

    def at(self, asked: Asked, value: int) -> Asked:
        """A row at a value of the axis. Raises UserError for a machine that cannot be."""
        if self.name in NUMBERS:
            new: dict[str, Any] = {
                self.name: self.given(value),
                **{other: None for other in SLOTS if self.name in SLOTS and other != self.name},
            }
            return replace(asked, scenario=replace(asked.scenario, **new), given={**asked.given, **new})
        raised = {self.name: self.word(value)}
        raised |= {
            tier: self.word(value) for tier in _behind(asked.hw, self.name) if asked.hw.figures[tier].value < value
        }
        both = {**changes(asked.given.get("set") or ()), **raised}
        given = {**asked.given, "set": tuple(f"{path}={word}" for path, word in both.items())}
        machine = _exactly(hardware_profiles.load(asked.given["hw"], both), raised)
        return replace(asked, scenario=replace(asked.scenario, hw=machine), given=given)


def texts(said: str, row: int | None) -> list[dict[str, Any]] | None:
    """What that row (None: any) is at each value of an axis of which each makes a workload of its own; None where the text stays as
    it is: along memory, times, rates and figures of a machine. Raises UserError."""
    found = AXIS.fullmatch(said.strip())
    name = "" if found is None else found[2].replace("-", "_")
    if found is None or name not in NUMBERS or name in SLOTS:
        return None
    axis = of_number(name, found[3])
    if name not in workload_options():
        return None
    changed = not found[1] or row is None or str(row) in found[1].split(",")
    return [{name: axis.given(value)} for value in axis.values * changed]


def _exactly(hw: Hardware, paths: Iterable[str]) -> Hardware:
    """The machine of which these figures are known: what is asked is what it does at that value."""
    known = {path: replace(hw.figures[path], low=hw.figures[path].value, high=hw.figures[path].value) for path in paths}
    return replace(hw, figures={**hw.figures, **known})


def axis_of(said: str, rows: Sequence[Asked], player: Player) -> Axis:
    """The axis of `2:link.bandwidth=8GB/s..64GB/s`. Raises UserError."""
    found = AXIS.fullmatch(said.strip())
    if found is None:
        raise UserError(
            f"--over {said!r} is no axis; write it like budget, batch=1..64, context=4k,8k or 2:link.bandwidth=8GB/s..64GB/s"
        )
    numbers = tuple(sorted({int(n) for n in found[1].split(",")})) if found[1] else tuple(range(1, len(rows) + 1))
    if not 1 <= numbers[0] <= numbers[-1] <= len(rows):
        raise UserError(
            f"--over {said}: there is no row {numbers[0] if numbers[0] < 1 else numbers[-1]}; rows are 1 to {len(rows)}"
        )
    name = found[2].replace("-", "_") if found[2].replace("-", "_") in NUMBERS else found[2]
    if name in SLOTS:
        axis = _of_memory(name, numbers, rows, player, found[3])
    elif name in NUMBERS:
        axis = of_number(name, found[3], numbers)
    else:
        axis = _of_figure(name, numbers, rows, found[3], bool(found[1]))
    for number in numbers if name == RATE else ():
        axis.at(rows[number - 1], axis.values[0])  # refuses a process that says its rate
    if len(axis.values) < 2:
        raise UserError(f"--over {said} has one value, {axis.shown(axis.values[0])}: name two or more")
    return axis


def _of_memory(name: str, numbers: tuple[int, ...], rows: Sequence[Asked], player: Player, said: str | None) -> Axis:
    """Whole experts of the rows' largest one, up to all that a row leaves to its device."""
    slots, most = list[int](), list[int]()
    for asked in (rows[number - 1] for number in numbers):
        workload = player.workload(asked.scenario)
        memory = memory_of(workload, replace(asked.scenario, budget=0, memory=None).plan(workload))
        slots.append(int(workload.model.expert_bytes.max()))
        most.append(
            memory.left_bytes if name == "budget" else memory.usable_bytes - memory.room_bytes + memory.left_bytes
        )
    slot, everything = min(slots), max(most)
    if said is None:
        wanted = [everything * step // BUDGET_STEPS for step in range(1, BUDGET_STEPS + 1)]
    else:
        wanted = _values(
            said,
            lambda word: bytes_of(word, everything if name == "budget" else None, f"--over {name}"),
            name,
            BUDGET_STEPS,
        )
    return Axis(name, numbers, tuple(sorted({max(one // slot, 1) * slot for one in wanted})), "bytes", slot)


def of_number(name: str, said: str | None, numbers: tuple[int, ...] = ()) -> Axis:
    """Of a number of a run, for the rows of these numbers. Raises UserError."""
    kind, where = OPTIONS[name].about.kind, f"--over {name}"
    dimension = next((one for of, one in DIMENSIONS.items() if isinstance(kind, of)), "count")
    if isinstance(kind, Tokens):  # an axis goes over numbers, and not over distributions of them
        kind = Positions(kind.what, kind.low)
    read: dict[str, Callable[[Any], int]] = {
        "bytes": lambda value: bytes_of(value, None, where), RATE: lambda value: round(rate_of(value, where) * WHOLE),
        TIME: lambda value: ps_of(value, where),
    }  # fmt: skip
    if said is None and name not in USUAL:
        raise UserError(f"{where} needs its values, such as {where}={EXAMPLES.get(dimension, '1..64')}")
    if said is None:
        return Axis(name, numbers, tuple(_spread(*USUAL[name])), dimension)
    values = _values(said, lambda word: read.get(dimension, int)(kind.parse(word, where)), name)
    if dimension in (RATE, TIME):
        values = sorted({_rounded(value, dimension) for value in values})
    return Axis(name, numbers, tuple(values), dimension)


def _of_figure(path: str, numbers: tuple[int, ...], rows: Sequence[Asked], said: str | None, chosen: bool) -> Axis:
    """Of the machines that state it, or of those whose rows are named."""
    machines = {number: rows[number - 1].hw for number in numbers if isinstance(rows[number - 1].given["hw"], str)}
    known = {number: hw.figures[path] for number, hw in machines.items() if path in hw.figures}
    if not known or (chosen and len(known) < len(numbers)):
        figures = {
            one: None for hw in machines.values() for one in hw.figures if "." in one and not one.startswith("modes.")
        }
        whose = " and ".join(hw.name for hw in machines.values() if path not in hw.figures) or "a loaded machine"
        near = among(path, [*NUMBERS, *figures], listing="`simmoe hw show`")
        raise UserError(f"--over {path}: neither a number of a run nor a figure of {whose}; {near}")
    dimension = next(iter(known.values())).dimension
    if dimension not in UNITS or dimension in ("price", "energy", "power", "temperature", "resistance"):
        raise UserError(f"--over {path} is no rate, no time and no size, which alone can be an axis")
    _check_read(path, {number: rows[number - 1] for number in known})
    now = [figure.value for figure in known.values()]
    read = {
        word: parse(re.sub(r"(?<=[0-9])(?=[a-zA-Z])", " ", word), dimension, f"--over {path}")
        for word in re.split(r"\.\.|,", said or "")
        if word
    }
    values = _spread(min(now) // FACTOR, max(now) * FACTOR) if said is None else _values(said, read.__getitem__, path)
    return Axis(path, tuple(known), tuple(sorted({_rounded(value, dimension) for value in values})), dimension)


def _check_read(path: str, rows: Mapping[int, Asked]) -> None:
    """Raises UserError for a figure that a row's runtime does not go by, as `--set` does."""
    for number, asked in rows.items():
        if asked.scenario.runtime != IDEAL and (instead := unread(path)):
            raise UserError(f"--over {path}: the runtime of row {number} goes by {instead}, not by it; name that one")


def _behind(hw: Hardware, path: str) -> Iterator[str]:
    """The rate of the memory that a rate is read from, where the loader lets none exceed it: it is raised with it."""
    unit = path.removeprefix("units.").rpartition(".")[0]
    if path == "link.bandwidth" and hw.unified:
        yield f"tiers.{hw.link.src}.bandwidth"
    elif path == "link.upstream.bandwidth":
        yield f"tiers.{hw.home.name}.bandwidth"
    elif path.endswith("bandwidth") and unit in hw.units:
        yield f"tiers.{hw.units[unit].memory}.bandwidth"


def _values(said: str, read: Callable[[str], int], name: str, steps: int = STEPS) -> list[int]:
    """Those of a range LOW..HIGH, or of a list. Raises UserError."""
    low, dots, high = said.partition("..")
    if not dots:
        return sorted({read(word) for word in said.split(",")})
    ends = read(low), read(high)
    if ends[0] >= ends[1]:
        raise UserError(f"--over {name}={said}: {low} is not below {high}")
    if name in SLOTS:
        return [ends[0] + (ends[1] - ends[0]) * step // steps for step in range(steps + 1)]
    return _spread(*ends)


def _spread(low: int, high: int) -> list[int]:
    """Whole numbers from one to the other, each about the same factor above the last."""
    begin = max(low, 1)
    values: Iterable[int] = (round(begin * (high / begin) ** (step / STEPS)) for step in range(STEPS + 1))
    return sorted({low, *values})


def _rounded(value: float, dimension: str) -> int:
    """With few digits, as a person would write it; rates in whole bytes per millisecond."""
    least = 1000 if dimension == "bandwidth" else 1
    unit = max(int(10 ** max(len(str(int(value))) - DIGITS, 0)), least)
    return max(round(value / unit) * unit, least)
