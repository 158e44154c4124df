"""No router: the dense model trained on, the yardstick beside the mixtures. It has no experts and makes no trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

SETTINGS: dict[str, Any] = {}
Router = None


def fit(routers: Sequence[nn.Module], model: nn.Module, windows: Tensor, seed: int) -> None:
    """Nothing to fit."""
