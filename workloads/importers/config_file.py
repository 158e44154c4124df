"""Makes a model file from a config.json: parameters by part and layer, without bytes, so that any format can give them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simmoe.workloads.importers import described
from simmoe.workloads.importers.config import name_of


def import_config(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """A model file with parts."""
    model = described.describe(content, path.name)
    return {
        "schema": 1,
        "name": name_of(path.resolve().parent.name),
        "title": f"{model.family} model, imported from {path.name}",
        "sources": {"parts": f"{path.name}; {model.source}"},
        "parts": described.parts(model, path.name),
        **said(model),
    }


def said(model: described.Described) -> dict[str, str]:
    """What a result of the model, or its file, has to say."""
    texts = {"notes": model.notes, "caution": described.caution(model)}
    return {key: text for key, text in texts.items() if text}
