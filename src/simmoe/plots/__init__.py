"""Figures and the pages that hold them: one function for each figure, from plain data, drawn by plotly (docs/reports.md).

Its modules are imported on first use: `from simmoe import plots`, then `plots.curve.hit_rates(found.to_json()).plotly()`.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name not in __dir__():
        raise AttributeError(f"module 'simmoe.plots' has no attribute {name!r}")
    return import_module(f"simmoe.plots.{name}")


def __dir__() -> list[str]:
    return [one.name for one in iter_modules(__path__)]
