"""One number or one curve of a profile: a quantity with its unit, how it is known, its source, and how far it may be off."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from fractions import Fraction
from itertools import pairwise
from typing import Any

from simmoe.hardware_profiles.ranges import spread
from simmoe.hardware_profiles.words import check_keys, check_word
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Curve, Figure
from simmoe.simulator.units import EXAMPLE, parse, unit_of

KINDS = ("nominal", "measured", "fitted", "assumed")
NUMBERS = ("count", "exponent", "factor")  # dimensions without a unit
_FIGURE = {"value": "", "kind": "", "source": "", "range?": ""}
_PRICE = {**_FIGURE, "date?": "", "condition?": ""}
CONDITIONS = ("new", "used")
_CURVE = {"points": "", "kind": "", "source": ""}
_POSITIVE = {
    "size",
    "bandwidth",
    "compute",
    "frequency",
    "count",
    "resistance",
}  # the others may be zero: reserved bytes, launch, …


def figure(node: Any, dimension: str, at: str, exact: bool = False) -> Figure:
    """exact: without a range the figure has no spread, as what a data sheet calls the peak."""
    if not isinstance(node, Mapping):
        example = "1" if dimension in NUMBERS else f'"{EXAMPLE[dimension].split(" or ")[0]}"'
        raise UserError(f'{at}: bare {node!r}; write {{value: {example}, kind: measured, source: "from where"}}')
    check_keys(node, _PRICE if dimension == "price" else _FIGURE, at)
    _check_origin(node, at)
    _check_sale(node, at)
    value = _value(node["value"], dimension, f"{at}.value")
    low, high = (value, value) if exact else spread(value, dimension, node["kind"])
    if node["kind"] == "fitted" and "range" not in node:
        raise UserError(f"{at}: fitted without a range; add range: [low, high], how far the points lie from the fit")
    if "range" in node:
        low, high = _range(node["range"], value, dimension, f"{at}.range", str(node["value"]))
    sale = node.get("date"), node.get("condition")
    return Figure(value, node["kind"], node["source"], str(node["value"]), low, high, dimension, *sale)


def _check_sale(node: Mapping[str, Any], at: str) -> None:
    """When a price was asked and for what. Raises UserError."""
    if "condition" in node:
        check_word(node["condition"], CONDITIONS, f"{at}.condition")
    if "date" in node and not _is_date(node["date"]):
        raise UserError(
            f'{at}.date: {node["date"]!r} is no date; write it in quotes, as far as it is known: "2025", "2025-11" or "2025-11-19"'
        )


def _is_date(text: object) -> bool:
    """Whether it is a year of this kind of machine, a month or a day."""
    found = (
        re.fullmatch(r"((?:19|20)[0-9]{2})(?:-([0-9]{2})(?:-([0-9]{2}))?)?", text) if isinstance(text, str) else None
    )
    if found is None:
        return False
    try:
        date(*(int(part or 1) for part in found.groups()))
    except ValueError:
        return False
    return True


def _check_origin(node: Mapping[str, Any], at: str) -> None:
    check_word(node["kind"], KINDS, f"{at}.kind")
    if not isinstance(node["source"], str) or not node["source"].strip():
        raise UserError(f"{at}.source: {node['source']!r} names no source; say who measured, stated or chose it")


def _range(node: Any, value: int, dimension: str, at: str, text: str) -> tuple[int, int]:
    if not isinstance(node, list) or len(node) != 2:
        raise UserError(f"{at}: {node!r} is no range; write [low, high], each as the value is written")
    low, high = (_value(end, dimension, at) for end in node)
    if dimension == "price" and {unit_of(end) for end in node} != {unit_of(text)}:
        raise UserError(f"{at}: {node!r} is in another currency than the price, {text!r}; write both ends in that one")
    if not low <= value <= high:
        raise UserError(f"{at}: {node!r} does not enclose the value; write [low, high] with low <= value <= high")
    return low, high


def _value(text: Any, dimension: str, at: str) -> int:
    if dimension in NUMBERS:
        value = _plain(text, dimension, at)
    else:
        value = parse(text, dimension, at)
    if value <= 0 and dimension in _POSITIVE:
        raise UserError(f"{at}: {text!r} must be more than zero")
    if dimension == "bandwidth" and value % 1000:
        near = value // 1000 * 1000 or 1000
        raise UserError(f"{at}: {text!r} is not a whole number of bytes per ms; the nearest is '{near} B/s'")
    return value


def _plain(number: Any, dimension: str, at: str) -> int:
    """A count as it is, an exponent or a factor in thousandths."""
    if dimension == "count":
        if type(number) is not int:  # bool is an int to Python and a mistake here
            raise UserError(f"{at}: {number!r} is not a whole number; write a count without a unit, such as 1")
        return int(number)
    if type(number) not in (int, float) or not 1 <= number <= 1000 or (Fraction(str(number)) * 1000).denominator != 1:
        what, example = ("exponent of a soft maximum", "4") if dimension == "exponent" else ("factor", "1.5")
        raise UserError(f"{at}: {number!r} is no {what}; write a number from 1 to 1000, such as {example}")
    return int(Fraction(str(number)) * 1000)


def curve(node: Any, what: str, at: str) -> Curve:
    check_keys(node, _CURVE, at)
    _check_origin(node, at)
    points = node["points"]
    if not isinstance(points, list) or not points or not all(isinstance(p, list) and len(p) == 2 for p in points):
        example = "[[1 MB, 0.7], [10 MB, 0.9]]" if what == "bytes" else "[[1, 0.5], [4, 1]]"
        raise UserError(f"{at}.points: {points!r} is no list of pairs; write it like {example}")
    found = tuple(_points(points, "size" if what == "bytes" else "count", f"{at}.points"))
    if any(one[0] >= other[0] for one, other in pairwise(found)):
        raise UserError(f"{at}.points: {points!r} do not rise; list them from small to large, each once")
    return Curve(found, node["kind"], node["source"])


def _points(points: list[Any], dimension: str, at: str) -> Iterator[tuple[int, float]]:
    for where, share in points:
        if type(share) not in (int, float) or not 0 < share <= 1:
            raise UserError(f"{at}: {share!r} is no share of the bandwidth; write a number above 0 and up to 1")
        yield _value(where, dimension, at), float(share)
