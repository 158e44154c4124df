"""Decode tokens per second of decode-pass time."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "tok/s"


def value(run: Run) -> float | None:
    return run.tok_s
