"""Prompt tokens per second of prefill-pass time."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "tok/s"


def value(run: Run) -> float | None:
    return run.prompt_tok_s
