"""What a recorded cache did, count by count: `simmoe.replay` on a recorded trace. Times play no part.

setting: trace (npz), column (one MoE layer; default all), expert_bytes (default: recorded), budget_bytes.
A row says `count`: flags (occurrences whose recorded hit or miss is met), hit_pct, decode_mib, or misses_per_token
with `room` (experts), `policy` and `contract`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simmoe.play.replay import Replay, replay
from simmoe.simulator.errors import UserError
from simmoe.sweeps.validation import recorded
from simmoe.sweeps.validation.case import Case, Row, number

MIB = 2**20


def why_not(case: Case) -> str:
    return recorded.why_not(case.setting["trace"])


def fit(case: Case, rows: Sequence[Row]) -> dict[str, float]:
    raise UserError(f"case {case.name}: counts have nothing to fit")


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    return [_count(case, row) for row in rows]


def _count(case: Case, row: Row) -> float:
    what = row.facts.get("count")
    if what == "misses_per_token":
        trace = recorded.column(case.setting["trace"], int(number(case.setting, "column", case.name)))
        room = int(number(row.facts, "room", row.id))
        return replay(trace, [1], room, row.facts["policy"], contract=row.facts["contract"]).misses / trace.n_tokens
    got, raw = _whole(case), recorded.arrays(case.setting["trace"])
    if what == "flags":
        return int(np.count_nonzero(got.hit == (raw["residency"] == 1)))
    if what == "hit_pct":
        return round(100 * got.hits / (got.hits + got.misses), 2)
    if what == "decode_mib":
        return got.decode.bytes / MIB
    raise UserError(
        f"case {case.name}: row {row.id!r} counts {what!r}; known: flags, hit_pct, decode_mib, misses_per_token"
    )


def _whole(case: Case) -> Replay:
    trace = recorded.load(case.setting["trace"])
    sizes = recorded.arrays(case.setting["trace"])["expert_bytes_per_layer"].astype(np.int64)
    return replay(trace, sizes, int(number(case.setting, "budget_bytes", case.name)), case.setting["policy"])
