"""Break-even maps, one file each: `question(scenario, workload)` says which two ways are played and what is varied. The file name is the
registry."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.simulator.files import available
from simmoe.simulator.nearest import among

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Of the bundled maps."""
    return available(FOLDER, ".py")


def load(name: str) -> Any:
    """The module of a map. Raises UserError."""
    if name not in names():
        raise UserError(f"--map {name}: {among(name, names())}")
    return import_module(f"simmoe.sweeps.maps.{name}")
