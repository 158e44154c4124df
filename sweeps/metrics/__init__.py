"""What a trial is judged by, one file each: `value(run)` is the number of a `simmoe.Run`, None where the run has none.

The file name is the registry; a space may also name the path of a file of your own. A file may say three things more:

    UNIT   of the number, such as "ms": limits of it in a space may be written in any unit of that dimension
    STEP   differences smaller than this mean nothing: a sampler is told the number rounded to it, the trial keeps the number itself
    NEEDS  keys of the space without which it has no number; such a file defines value(run, assumed), docs/extending/metric.md
"""

from __future__ import annotations

import importlib.util
import math
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.simulator.files import available, resolve

FOLDER = Path(__file__).parent
RENAMED = {"ttft_warm_s": "ttft_later_s"}  # it was read as the time of a run that starts warm
SHORT = {"ttft": "ttft_first_s"}  # a name without its unit is understood too: tpot_p99, memory, power
SUFFIXES = ("_s", "_ms", "_w", "_bytes")  # units at the end of a name
UNITS = ("", "tok/s", "s", "ms", "W", "B", "J", "share", "money")


def names() -> list[str]:
    """Names of the bundled metrics."""
    return available(FOLDER, ".py")


def full(name: str) -> str:
    """The whole name of a bundled metric that is named without its unit; any other name as it is."""
    if Path(name).exists():
        return name
    known = names()
    whole = SHORT.get(name, name)
    return whole if whole in known else next((whole + end for end in SUFFIXES if whole + end in known), name)


def find(name: str) -> Path:
    """The file of a metric; raises UserError with what exists and where to add one."""
    if name in RENAMED and not Path(name).exists():
        raise UserError(f"the metric {name} is now called {RENAMED[name]}")
    return resolve(name, FOLDER, ".py", "metric", "add one as sweeps/metrics/NAME.py or give a path")


def load(name: str) -> ModuleType:
    """The file of a metric, executed and checked."""
    return _load(find(name).resolve())


def unit(metric: ModuleType) -> str:
    return str(getattr(metric, "UNIT", ""))


def needs(metric: ModuleType) -> tuple[str, ...] | None:
    """Keys of the space that it needs; None: it is given the run alone."""
    said: tuple[str, ...] | None = getattr(metric, "NEEDS", None)
    return said


def told(metric: ModuleType, value: float) -> float:
    """What a sampler is told: the number, or the nearest whole multiple of the metric's STEP."""
    step = getattr(metric, "STEP", None)
    return value if step is None else round(round(value / step) * step, 9)


def measure(name: str, run: Any, assumed: Any = None) -> float | None:
    """The metric of a run: a finite number or None. assumed: what the keys of the space say, for a metric that NEEDS them."""
    return measured(name, load(name), run, assumed)


def measured(name: str, metric: ModuleType, run: Any, assumed: Any) -> float | None:
    """The same of a metric that is loaded."""
    try:
        value: float | None = metric.value(run) if needs(metric) is None else metric.value(run, assumed)
        number = None if value is None else float(value)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"metric {name} fails: {type(error).__name__}: {error}") from error
    if number is not None and not math.isfinite(number):
        raise UserError(f"metric {name} gives {number}; it must be a finite number, or None where a run has none")
    return value


@cache
def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"simmoe.sweeps.metrics.{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"metric {path.name} is no Python file; give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        module.value  # noqa: B018  (a file without it is refused here)
    except Exception as error:
        raise UserError(f"metric {path.name} cannot be loaded: {type(error).__name__}: {error}") from None
    _check(module, path.name)
    return module


def _check(module: ModuleType, file: str) -> None:
    """Raises UserError for a UNIT or STEP that means nothing here."""
    said, step = getattr(module, "UNIT", ""), getattr(module, "STEP", None)
    if said not in UNITS:
        raise UserError(f"metric {file} has UNIT = {said!r}; choose from {', '.join(filter(None, UNITS))}")
    if step is not None and not (isinstance(step, int | float) and step > 0):
        raise UserError(f"metric {file} has STEP = {step!r}; it must be a number above 0")
