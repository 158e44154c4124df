"""Speeds of an engine over several cards, played by `simmoe.run` with the engine's constants as they are: nothing is fitted here.

A row says `hw`, `model`, `format`, `runtime` and `options` of the run. Where it generates, tokens per second of decoding are meant, else
of the prompt. Beside it: the same with messages between the cards that take no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simmoe import hardware_profiles
from simmoe.play.run import run
from simmoe.simulator.nouns.hardware import Fabric, Hardware
from simmoe.sweeps.validation.case import Case, Row

BESIDE = "free messages"
FREE = Fabric(10**15, 0)


def fit(case: Case, rows: Sequence[Row]) -> dict[str, float]:
    return {}


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    return [_tok_s(row, hardware_profiles.load(row.facts["hw"])) for row in rows]


def beside(case: Case, rows: Sequence[Row]) -> list[float]:
    return [_tok_s(row, replace(hardware_profiles.load(row.facts["hw"]), fabric=FREE)) for row in rows]


def _tok_s(row: Row, hw: Hardware) -> float:
    facts = row.facts
    made = run(hw, model=facts["model"], format=facts["format"], runtime=facts["runtime"], **facts["options"])
    speed = made.tok_s if facts["options"].get("generate") else made.prompt_tok_s
    assert speed is not None
    return float(speed)
