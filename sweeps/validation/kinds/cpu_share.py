"""Tokens per second when the CPU computes part of the routed experts: everything else + the CPU's time for its share.

The bytes of the model are not needed: their product with the CPU's rate is one constant. The experts that stay on the GPU
take time too, so what is fitted is by how much the CPU is slower. A row says `share` (of the experts on the GPU), `layers`
(of setting.layers whose experts are on the CPU) or `experts` (of setting.experts per token, all on the CPU) and over how many
`sockets` they are spread.
"""

from __future__ import annotations

from collections.abc import Sequence

from simmoe.simulator.physics.cpu import experts_ps
from simmoe.sweeps.validation.case import Case, Row, number
from simmoe.sweeps.validation.fitting import line

ELSE, CPU = "everything on the GPU, ms", "all experts on the CPU, ms more"
PARTS = 10**6  # a token's experts are cut into so many pieces of one byte


def fit(case: Case, rows: Sequence[Row]) -> dict[str, float]:
    rest, more = line([on_cpu(case, row) for row in rows], [1e3 / row.measured for row in rows])
    return {ELSE: rest, CPU: more}


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    rate = round(PARTS / constants[CPU] * 1e3)  # pieces per second
    cpu_ps = (experts_ps(round(on_cpu(case, row) * PARTS), 1, 0, 0, rate, 1, 0) for row in rows)
    return [1e3 / (constants[ELSE] + ps / 1e9) for ps in cpu_ps]


def on_cpu(case: Case, row: Row) -> float:
    """Share of a token's experts that the CPU computes."""
    if "share" in row.facts:
        return 1 - number(row.facts, "share", row.id)
    if "experts" in row.facts:  # each socket reads its part from its own memory
        experts, sockets = (number(row.facts, key, row.id) for key in ("experts", "sockets"))
        return experts / number(case.setting, "experts", case.name) / sockets
    return min(number(row.facts, "layers", row.id) / number(case.setting, "layers", case.name), 1.0)
