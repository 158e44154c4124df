"""What every miss rule must do: answers that the machine can serve, the same ones whenever it is asked, decisions that are equal in all
engines and times in two, beside prefetches into the cache, into buffers and withdrawn ones."""

from __future__ import annotations

from pathlib import Path

from simmoe.kit.scenarios import Say, silent
from simmoe.kit.timed import drawn, judged
from simmoe.simulator.naming import named

BESIDE = (None, "dial=60%", "whole_layer", "dial=60%,lead=2", "last_token")  # prefetchers


def check_miss(value: str, both: bool, say: Say = silent) -> list[str]:
    """What was checked of a miss rule, a line each. Raises UserError."""
    cases = list(drawn("", BESIDE, (value,)))
    return judged(cases, Path(named(value).name).name, both, "m.scratch", say)
