"""Routers of the bundled models, one file each: the file name is the registry, this loader the only list.

A router file has three names:

    SETTINGS: dict              its constants; they enter the recipe digest
    class Router(nn.Module)     Router(d_model, n_experts, vocabulary), one per MoE layer, with
        forward(x, tokens) -> Routing                  x (B, T, d) the layer-normed MoE input, tokens int64 (B, T)
        stream(state, x, tokens) -> (state, Routing)   the same for one token, T = 1; state None at a sequence's start
    fit(routers, model, windows, seed)   called once when the dense model becomes an MoE; windows int64 [n, T]

All that a router learns or fits is a parameter or a buffer, so that a checkpoint carries it.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib.resources import files
from pathlib import Path
from types import ModuleType

from simmoe.simulator.errors import Missing, UserError

SHORT = {"oracle": "oracle-ema"}  # the family's bundled default


def names() -> list[str]:
    """Names of the bundled routers, as written on the command line."""
    found = (Path(str(f)).stem for f in files(__package__).iterdir() if f.name.endswith(".py"))
    return sorted(n.replace("_", "-") for n in found if not n.startswith("_"))


def full_name(name: str) -> str:
    """The name that a trace records: short names written out, a path reduced to its file name."""
    return Path(name).stem.replace("_", "-") if name.endswith(".py") else SHORT.get(name, name).replace("_", "-")


def find(name: str) -> ModuleType:
    """The router file of that name, or at that path."""
    path = Path(name)
    try:
        if name.endswith(".py") and path.exists():
            return _load(path)
        if full_name(name) in names():
            return importlib.import_module(f"{__package__}.{full_name(name).replace('-', '_')}")
    except ImportError as error:
        raise Missing("training a router needs PyTorch: pip install 'simmoe[moe]'") from error
    known = ", ".join(names())
    raise UserError(f"unknown router '{name}': choose one of {known}, or give the path of a router file (.py)")


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"simmoe_router_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"router file {path} cannot be loaded: a Python file (.py) is needed")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
