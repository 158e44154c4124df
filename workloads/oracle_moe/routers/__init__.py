"""Routers of the bundled models, one file each: the file name is the registry, this loader the only list.

A router file has three names:

    SETTINGS: dict              its constants, which a recipe may replace; they enter the recipe digest
    class Router(nn.Module)     Router(recipe, settings), one per MoE layer, with
        forward(seen, state) -> Routing    `Seen` and `Routing` stand in backbone.py; state is None where sequences
                                           start, else the Routing.state of the tokens before
    fit(routers, model, windows, seed)   called once when the dense model becomes an MoE; windows int64 [n, T]

All that a router learns or fits is a parameter or a buffer, so that a checkpoint carries it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from simmoe.simulator.errors import Missing, UserError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from simmoe.workloads.oracle_moe.backbone import GPT, Seen

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
        if (error.name or "").split(".")[0] != "torch":
            raise UserError(
                f"router {name} cannot be loaded: {error}; simmoe.workloads.oracle_moe has what routers use"
            ) from None
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


def watch(model: GPT, windows: Tensor, look: Callable[[Seen], Tensor]) -> list[Tensor]:
    """`look` of what the router of each MoE layer sees of windows int64 (n, T): one tensor (n, …) per layer.

    At the branch all experts of a layer are still equal, so this is what the dense model computes there.
    """
    import torch

    found: list[list[Tensor]] = []
    hooks = []
    for block in model.blocks:
        if isinstance(block.router, torch.nn.Module):
            found.append([])
            hooks.append(block.router.register_forward_pre_hook(partial(_note, found[-1], look)))
    training = model.training
    model.eval()  # a router may have running buffers
    with torch.no_grad():
        for part in torch.split(windows, 16):
            model(part)
    model.train(training)
    for hook in hooks:
        hook.remove()
    return [torch.cat(rows) for rows in found]


def _note(rows: list[Tensor], look: Callable[[Seen], Tensor], router: Module, args: tuple[Seen, Any]) -> None:
    rows.append(look(args[0]))


def router_inputs(model: GPT, windows: Tensor) -> list[Tensor]:
    """The layer-normed input of each MoE layer: float (n, T, d) per layer."""
    return watch(model, windows, lambda seen: seen.x)
