"""Quantities as text with a unit, such as "204.8 GB/s": parsed exactly into integers of a base unit.

Base units: bytes, bytes per second, picoseconds, FLOPs per second, hertz, microwatts, attojoules, thousandths of K/W and of a degree
Celsius, hundredths of a currency. GB is 10^9 bytes and GiB 2^30; a bare number is refused because it does not say which.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from decimal import Decimal
from fractions import Fraction
from typing import NoReturn

from simmoe.simulator.errors import UserError
from simmoe.simulator.physics.link import pcie_bytes_per_s

_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

UNITS: dict[str, dict[str, int]] = {
    "bytes": {p + "B": f for p, f in {**_DECIMAL, **_BINARY}.items()},
    "bandwidth": {p + "B/s": f for p, f in {**_DECIMAL, **_BINARY}.items()},
    "time": {"ps": 1, "ns": 10**3, "us": 10**6, "ms": 10**9, "s": 10**12},
    "compute": {p + "FLOP/s": f for p, f in _DECIMAL.items()},
    "frequency": {"MHz": 10**6, "GHz": 10**9},
    "power": {"mW": 10**3, "W": 10**6},
    "energy": {"aJ": 1, "fJ": 10**3, "pJ": 10**6, "nJ": 10**9, "J": 10**18},
    "resistance": {"K/W": 1000},
    "temperature": {"C": 1000},
    "price": dict.fromkeys(("USD", "EUR", "GBP", "CNY", "JPY", "AUD", "CAD", "CHF", "INR", "KRW", "TWD"), 100),
}
UNITS["size"] = UNITS["bytes"]  # a number of bytes that cannot be zero
EXAMPLE = {
    "size": "64 GB or 64 GiB",
    "bytes": "64 GB or 64 GiB",
    "bandwidth": "204.8 GB/s",
    "time": "5 us",
    "compute": "42.6 TFLOP/s",
    "frequency": "1.98 GHz",
    "power": "60 W",
    "energy": "60 pJ",
    "resistance": "2.3 K/W",
    "temperature": "92 C",
    "price": "1999 USD",
}
LONGEST = 60  # characters of a quantity
LARGEST = 2**62  # base units; twice that overflows int64
_PCIE = re.compile(r"PCIe ([345])(?:\.0)? x(1|2|4|8|16)")
_GIGA_TRANSFERS = {"3": 8, "4": 16, "5": 32}
_NUMBER = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)\s*(\S*)")


def parse(text: object, dimension: str, where: str = "value") -> int:
    """`text` in whole base units of `dimension` (a key of UNITS); a bandwidth may be "PCIe 4.0 x16", what its packets can carry.

    Raises UserError for a bare number, an unknown unit, a negative quantity, or a fraction of the base unit.
    """
    pcie = _PCIE.fullmatch(text.strip()) if dimension == "bandwidth" and isinstance(text, str) else None
    if pcie:
        return pcie_bytes_per_s(_GIGA_TRANSFERS[pcie[1]], int(pcie[2])) // 1000 * 1000
    match = _NUMBER.fullmatch(text.strip()) if isinstance(text, str) and len(text) <= LONGEST else None
    if match is None or not match[2]:
        raise UserError(
            f"{where}: {reprlib.repr(text)} is not a quantity with a unit; write it like {EXAMPLE[dimension]!r}"
        )
    number, unit = Fraction(match[1]), match[2]
    factor = UNITS[dimension].get(unit)
    if factor is None and dimension in _BITS and (bits := _BITS[dimension].fullmatch(unit)):
        _refuse_bits(match[1], text, bits, dimension, where)
    if factor is None:
        near = difflib.get_close_matches(unit, UNITS[dimension], n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"{where}: unknown unit {unit!r} in {text!r}; {hint}known: {', '.join(UNITS[dimension])}")
    value = number * factor
    if value < 0:
        raise UserError(f"{where}: {text!r} is negative; it must be zero or more")
    if value > LARGEST:
        raise UserError(
            f"{where}: {text!r} is more than any machine has and the simulator counts ({LARGEST} base units); is the unit right?"
        )
    if value.denominator != 1:
        raise UserError(f"{where}: {text!r} is not a whole number of base units; write fewer digits or a smaller unit")
    return int(value)


def power_of_time(dimension: str) -> int:
    """-1 for a rate, which is per second, 1 for a time, 0 for what has no time in its unit, as the units of UNITS are written."""
    units = UNITS.get(dimension, {})
    if any(unit.endswith(("/s", "Hz")) for unit in units):
        return -1
    return int("s" in units)


# Eight of these are one of what is meant: a lower-case b, bit or bits, with the prefix in front.
_BITS = {name: re.compile(r"([kKMGTPmgtp]?i?)(?:b|bits?)" + rate) for name, rate in
         (("bytes", ""), ("size", ""), ("bandwidth", r"(?:ps|/s|/sec|it/s)"))}  # fmt: skip


def _refuse_bits(number: str, text: object, bits: re.Match[str], dimension: str, where: str) -> NoReturn:
    """Bits where bytes are meant are wrong by a factor of eight: never guessed, in either direction."""
    prefix = {"K": "k", "m": "M", "g": "G", "t": "T", "p": "P", "Ki": "Ki", "ki": "Ki"}.get(bits[1], bits[1])
    per, in_bits = ("/s", f"{prefix}bps") if dimension == "bandwidth" else ("", f"{prefix}bit")
    raise UserError(
        f"{where}: {text!r} counts bits, and bytes are asked for: 8 {in_bits} = 1 {prefix}B{per}; write "
        f"'{_decimal(Fraction(number) / 8)} {prefix}B{per}', or '{number} {prefix}B{per}' if bytes were meant"
    )


def text(value: int, dimension: str, unit: str | None = None) -> str:
    """A quantity in base units as people write it, exactly: 204800000000, "bandwidth" -> '204.8 GB/s'.

    A dimension that has no units is a number in its own base: thousandths for "exponent" and "factor", ones for "count".
    unit: in that one; a currency, which no other one can stand for, needs it.
    """
    if unit is not None:
        return f"{_decimal(Fraction(value, UNITS[dimension][unit]))} {unit}"
    if dimension not in UNITS:
        return _decimal(Fraction(value, 1000 if dimension in ("exponent", "factor") else 1))
    units = [(factor, unit) for unit, factor in UNITS[dimension].items() if "i" not in unit]  # decimal ones
    factor, unit = max((pair for pair in units if pair[0] <= value), default=min(units))
    return f"{_decimal(Fraction(value, factor))} {unit}"


def unit_of(quantity: str) -> str:
    """The unit of a quantity that was parsed: "1999 USD" -> 'USD'."""
    return quantity.strip().lstrip("+-0123456789.").strip()


def _decimal(value: Fraction) -> str:
    """All digits of a number whose denominator divides a power of ten."""
    digits = f"{Decimal(value.numerator) / Decimal(value.denominator):f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def nbytes(count: float) -> str:
    """Decimal size for people: 1234567 -> '1.23 MB'."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        scaled = count / factor
        if abs(scaled) >= 0.9995:  # what three digits would show as 1000 of the unit below
            return f"{scaled:.3g} {unit}" if abs(scaled) < 999.5 else f"{scaled:,.0f} {unit}"
    return f"{count:.0f} B"
