"""What was measured, one row for each: a mapping of plain values, as a line of a JSON Lines file holds it.

`kind` says what was timed, `us` is the median in microseconds, `lo` and `hi` are low and high samples, `n` counts them. `bytes` is what
one product or copy moves. The row of kind "machine" says what the others were measured on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simmoe.calibrate.sampling import spread
from simmoe.simulator.errors import UserError

LONGEST_SHOWN = 160  # characters of a row in a message
Row = dict[str, Any]
Rows = Sequence[Row]
HOWS = ("eager", "graph", "back to back", "one, waited for by the host", "two streams", "total")
WHOLE = ("bytes", "tokens", "threads", "experts", "depth", "cycles", "n")
TEXTS = ("what", "other", "way")
POSITIVE = (
    "us",
    "lo",
    "hi",
    "bytes",
    "tokens",
    "threads",
    "experts",
    "depth",
    "cycles",
    "gbs",
    "tflops",
    "per_s",
    "load_gbs",
    "n",
)
MEDIANS = ("us", "per_s", "tflops")  # what lo and hi of a row lie around
RESULTS = {*MEDIANS, "lo", "hi", "n", "gbs", "load_gbs"}  # of the timing; the rest of a row says what was timed
MACHINE: dict[str, Any] = {
    "unit": ("cpu", "gpu"), "unified": (True, False), "home": ("disk", "memory"), "device": str, "library": str, "day": str,
    "llc_bytes": int, "host_llc_bytes": int, "threads": int, "memory_bytes": list, "device_bytes": list, "disk_bytes": int,
    "foreign": (int, float),
}  # fmt: skip
NEEDS = {  # facts that a row of that kind must hold
    "gemm": ("what", "tokens", "how", "bytes", "us"), "grouped": ("way", "bytes", "us"), "launch": ("what", "us"),
    "copy": ("what", "how", "bytes", "us"), "cpu": ("format", "threads", "bytes", "us"), "cpu_flops": ("format", "tflops"),
    "memread": ("bytes", "us"), "quantised": ("threads", "bytes", "us"), "clock": ("cycles", "us"),
    "beside": ("other", "per_s"), "disk": ("what",), "read": ("bytes", "depth", "gbs", "us"),
}  # fmt: skip
WIDTH = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}  # bytes of one weight, by format


def timed_row(kind: str, seconds: Sequence[float], **facts: Any) -> Row:
    """Samples as a row; a row with `bytes` also says the rate, in GB/s."""
    low, median, high, n = spread(seconds)
    rate = {"gbs": facts["bytes"] / median / 1e9} if "bytes" in facts else {}
    return {"kind": kind, **facts, **rate, "us": median * 1e6, "lo": low * 1e6, "hi": high * 1e6, "n": n}


def rate_row(kind: str, key: str, rates: Sequence[float], **facts: Any) -> Row:
    """Samples of a rate under `key`; `lo` and `hi` are rates too."""
    low, median, high, n = spread(rates)
    return {"kind": kind, **facts, key: median, "lo": low, "hi": high, "n": n}


def of(rows: Rows, kind: str, **facts: Any) -> list[Row]:
    """The rows of that kind that hold those facts."""
    return [row for row in rows if row["kind"] == kind and all(row.get(key) == value for key, value in facts.items())]


def machine_of(rows: Rows) -> Row:
    return of(rows, "machine")[0]


def microseconds(row: Row, which: str = "us") -> float:
    """The median, or the low or high sample where the row says it."""
    return float(row[which] if which in row else row["us"])


def samples(rows: Rows) -> int:
    """How many samples stand behind the rows; at least one each."""
    return sum(row.get("n", 1) for row in rows)


def read(path: Path) -> list[Row]:
    """Raises UserError for the first line that is no row, and without one row of kind machine."""
    if not path.is_file():
        raise UserError(f"--rows: no file {path}; simmoe calibrate --save-rows FILE writes one")
    found = list[Row]()
    try:
        lines = path.read_text("utf-8").splitlines()
    except ValueError:
        raise UserError(f"{path.name}: not UTF-8 text; rows are one JSON object a line") from None
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path.name}: line {number}: not JSON: {error}; each line is one object") from None
        _check(row, f"{path.name}: line {number}")
        found.append(row)
    _check_twice(found, path.name)
    if len(of(found, "machine")) != 1:
        raise UserError(
            f"{path.name}: {len(of(found, 'machine'))} rows of kind machine; write exactly one (docs/calibrate.md)"
        )
    return found


def _check_twice(found: Rows, name: str) -> None:
    """Raises UserError where two lines time the same thing, as in the joined rows of two machines: no figure could follow both."""
    first = dict[str, int]()
    for number, row in enumerate(found, 1):
        timed = json.dumps({key: value for key, value in row.items() if key not in RESULTS}, sort_keys=True)
        if row["kind"] in NEEDS and timed in first:
            what = timed if len(timed) <= LONGEST_SHOWN else f"{timed[:LONGEST_SHOWN]}…"
            raise UserError(
                f"{name}: lines {first[timed]} and {number} time the same, {what}; keep the rows of one run"
            )
        first.setdefault(timed, number)


def _check(row: Any, at: str) -> None:
    if not isinstance(row, dict) or not isinstance(row.get("kind"), str):
        raise UserError(
            f"{at}: {str(row)[:60]!r} is no row; write an object with a kind, such as {{'kind': 'copy', …}}"
        )
    if row["kind"] == "machine":
        _check_machine(row, at)
    if row["kind"] not in NEEDS:  # rows of others, such as of power, are passed over
        return
    needs = NEEDS[row["kind"]] + (NEEDS["read"] if row.get("what") == "read" else ())
    for key in needs:
        if key not in row:
            raise UserError(f"{at}: a row of kind {row['kind']} without {key}; it needs {', '.join(needs)}")
    for key in POSITIVE:
        value = row.get(key, 1)
        if type(value) not in (int, float) or not 1e-6 < value < 1e18 or (key in WHOLE and type(value) is not int):
            raise UserError(f"{at}: {key} is {value!r}; it must be a{' whole' * (key in WHOLE)} number above 0")
    for key in TEXTS:
        if not isinstance(row.get(key, ""), str):
            raise UserError(f"{at}: {key} is {row[key]!r}; write a text")
    for key, known in (("format", WIDTH), ("how", HOWS)):
        if row.get(key, next(iter(known))) not in tuple(known):
            raise UserError(f"{at}: unknown {key} {row[key]!r}; known: {', '.join(known)}")
    _check_agreement(row, at)


def _check_agreement(row: Row, at: str) -> None:
    """Figures of one row that say the same thing twice must say the same."""
    median = next((key for key in MEDIANS if key in row), "us")
    middle = row.get(median, 0)
    low, high = (row.get(key, middle) for key in ("lo", "hi"))
    if median in row and not low <= middle <= high:
        said = f"{at}: {median} is {middle:g} and not between lo {low:g} and hi {high:g}"
        raise UserError(f"{said}, which are the low and the high sample around the median")
    if {"bytes", "us", "gbs"} <= row.keys():
        rate = row["bytes"] / row["us"] / 1e3
        if not 0.75 <= row["gbs"] / rate <= 1.25:  # it may be the best rate, and us the median
            raise UserError(
                f"{at}: gbs is {row['gbs']:g}, and {row['bytes']:,} bytes in {row['us']:g} us are {rate:g}; correct one of them"
            )


def _check_machine(row: Row, at: str) -> None:
    for key, kind in MACHINE.items():
        value = row.get(key)
        words = isinstance(kind, tuple) and not isinstance(kind[0], type)
        if value not in kind if words else not isinstance(value, kind):
            raise UserError(f"{at}: {key} is {value!r}; a machine row needs {', '.join(MACHINE)} (docs/calibrate.md)")
    for key in ("memory_bytes", "device_bytes"):
        pair = row[key]
        if len(pair) != 2 or any(type(one) is not int for one in pair) or not 0 <= pair[1] <= pair[0]:
            raise UserError(f"{at}: {key} is {pair!r}; write [all, free] in bytes")
    if min(row["llc_bytes"], row["host_llc_bytes"], row["memory_bytes"][0]) <= 0 or not 0 <= row["foreign"] <= 1:
        raise UserError(f"{at}: caches and memory must have a size above 0, and foreign is a share from 0 to 1")


def text_of(rows: Rows) -> str:
    """The rows as JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)
