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

Row = dict[str, Any]
Rows = Sequence[Row]
POSITIVE = ("us", "lo", "hi", "bytes", "tokens", "threads", "experts", "depth", "gbs", "tflops", "per_s", "load_gbs")
MACHINE: dict[str, Any] = {
    "unit": str, "unified": bool, "home": str, "device": str, "library": str, "day": str, "llc_bytes": int, "host_llc_bytes": int,
    "threads": int, "memory_bytes": list, "device_bytes": list, "disk_bytes": int, "foreign": (int, float),
}  # fmt: skip


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
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path.name}: line {number}: not JSON: {error}; each line is one object") from None
        _check(row, f"{path.name}: line {number}")
        found.append(row)
    if len(of(found, "machine")) != 1:
        raise UserError(
            f"{path.name}: {len(of(found, 'machine'))} rows of kind machine; write exactly one (docs/calibrate.md)"
        )
    return found


def _check(row: Any, at: str) -> None:
    if not isinstance(row, dict) or not isinstance(row.get("kind"), str):
        raise UserError(
            f"{at}: {str(row)[:60]!r} is no row; write an object with a kind, such as {{'kind': 'copy', …}}"
        )
    for key in POSITIVE:
        value = row.get(key, 1)
        if type(value) not in (int, float) or not 0 < value < 1e30:
            raise UserError(f"{at}: {key} is {value!r}; it must be a number above 0")
    if row["kind"] == "machine":
        for key, kind in MACHINE.items():
            if not isinstance(row.get(key), kind):
                raise UserError(f"{at}: {key} is {row.get(key)!r}; a machine row needs {', '.join(MACHINE)}")


def text_of(rows: Rows) -> str:
    """The rows as JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)
