"""What a policy is told behind its name: NAME=VALUE,key=VALUE. Its file declares ARGUMENTS = {name: (default, least, most)}.

A whole number where the default is one (`lookahead=8`), a share where it is a fraction (`slru=80%`). The first may be given without
its name.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from types import ModuleType

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.blame import name_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.naming import named
from simmoe.simulator.nearest import among

Number = int | float
PARTS = 1_000_000  # of a share, as kernels read it


def declared(module: ModuleType) -> Mapping[str, tuple[Number, Number, Number]]:
    """(default, least, most) of each argument. Raises UserError for a file that declares them otherwise."""
    found = getattr(module, "ARGUMENTS", {})
    if not isinstance(found, dict) or not all(_is_declared(name, limits) for name, limits in found.items()):
        raise UserError(
            f"policy {name_of(module)} has ARGUMENTS = {reprlib.repr(found)}; it must map names to (default, least, most), all whole "
            'numbers or all fractions from 0 to 1, such as {"events": (8, 1, 1000)}'
        )
    return found


def given(kind: str, value: str, module: ModuleType) -> dict[str, Number]:
    """Name -> number, in order of declaration; `value` is what names the policy. Raises UserError."""
    known, said = declared(module), named(value).values
    numbers: dict[str, Number] = {name: limits[0] for name, limits in known.items()}
    if said and not known:
        raise UserError(f"--{kind} {value}: {name_of(module)} takes no number; leave ={said} out")
    told: set[str] = set()
    for word in said.split(",") if said else ():
        key, sign, digits = word.rpartition("=")
        name = key if sign else next(iter(known))
        if name not in known:
            raise UserError(
                f"--{kind} {value}: {name_of(module)} has no {reprlib.repr(name)}; {among(name, list(known), 'choose one of')}"
            )
        if name in told:
            raise UserError(f"--{kind} {value} gives {name} twice; give it once")
        told.add(name)
        numbers[name] = _number(digits, known[name], f"--{kind} {value}: {name}")
    return numbers


def as_whole(numbers: Mapping[str, Number]) -> Ints:
    """int64 [arguments] for a kernel: shares as parts of a million."""
    return np.array([round(one * PARTS) if isinstance(one, float) else one for one in numbers.values()], np.int64)


def _is_declared(name: object, limits: object) -> bool:
    if not isinstance(name, str) or not name.isidentifier() or not isinstance(limits, tuple) or len(limits) != 3:
        return False
    default, least, most = limits
    whole = all(type(one) is int and abs(one) < 2**62 for one in limits)
    share = all(type(one) is float and 0 <= one <= 1 for one in limits)
    return (whole or share) and least <= default <= most


def _number(digits: str, limits: tuple[Number, Number, Number], where: str) -> Number:
    default, least, most = limits
    if isinstance(default, float):
        what = f"a share from {least:.12g} to {most:.12g}, such as {default * 100:.12g}%"
        known = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,12})?)%|([01]?\.[0-9]{1,12}|[01])", digits)
        number: Number = float(known[1]) / 100 if known and known[1] else float(digits) if known else -1.0
    else:
        what = f"a whole number from {least:,} to {most:,}"
        number = int(digits) if re.fullmatch(r"[0-9]{1,18}", digits) else -1
    if not least <= number <= most:
        raise UserError(
            f"{where} {reprlib.repr(digits)} is not {what}; write {where.rpartition(' ')[2]}={_word(default)}"
        )
    return number


def _word(number: Number) -> str:
    return f"{number * 100:.12g}%" if isinstance(number, float) else str(number)
