"""What a trial is judged by, one file each: `value(run)` is the number of a `simmoe.Run`, None where the run has none.

The file name is the registry; an objective of a space may also be the path of a file of your own.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.simulator.files import available, resolve

FOLDER = Path(__file__).parent
RENAMED = {"ttft_warm_s": "ttft_later_s"}  # it was read as the time of a run that starts warm


def names() -> list[str]:
    """Names of the bundled metrics."""
    return available(FOLDER, ".py")


def find(name: str) -> Path:
    """The file of a metric; raises UserError with what exists and where to add one."""
    if name in RENAMED and not Path(name).exists():
        raise UserError(f"the metric {name} is now called {RENAMED[name]}")
    return resolve(name, FOLDER, ".py", "metric", "add one as sweeps/metrics/NAME.py or give a path")


def load(name: str) -> Callable[[Any], float | None]:
    """The `value` function of a metric."""
    return _load(find(name).resolve())


def measure(name: str, run: Any) -> float | None:
    """The metric of a run: a finite number or None."""
    try:
        value = load(name)(run)
        number = None if value is None else float(value)
    except Exception as error:
        raise UserError(f"metric {name} fails: {type(error).__name__}: {error}") from error
    if number is not None and not math.isfinite(number):
        raise UserError(f"metric {name} gives {number}; it must be a finite number, or None where a run has none")
    return value


@cache
def _load(path: Path) -> Callable[[Any], float | None]:
    spec = importlib.util.spec_from_file_location(f"simmoe.sweeps.metrics.{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"metric {path.name} is no Python file; give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        value: Callable[[Any], float | None] = module.value
    except Exception as error:
        raise UserError(f"metric {path.name} cannot be loaded: {type(error).__name__}: {error}") from None
    return value
