"""What several commands share."""

from __future__ import annotations

import argparse
import json
from typing import Any

from simmoe.simulator.errors import UserError


def files_used(a: argparse.Namespace) -> list[str]:
    """Which of the named inputs are files of the user's, in place of bundled ones."""
    from simmoe import hardware_profiles, policies
    from simmoe.workloads import models
    from simmoe.workloads.format import trace

    found = [hardware_profiles.find(a.hw), trace.find(a.trace)]
    if a.model:
        found.append(models.find(a.model))
    if a.eviction not in ("nothing", "everything"):
        found.append(policies.find("eviction", a.eviction))
    bundled = {hardware_profiles.FOLDER, trace.BUNDLED, models.FOLDER, policies.FOLDER / "eviction"}
    return [str(path) for path in found if path.parent not in bundled]


def tokens_option(text: str | None, default: int | None) -> int | None:
    """The value of --tokens; None plays all."""
    if text is None:
        return default
    if text == "all":
        return None
    if not text.isdigit():
        raise UserError(f"--tokens {text!r} is not a number of tokens; give a whole number or all")
    return int(text)


def print_json(data: Any) -> None:
    print(json.dumps(data, indent=1, sort_keys=True))
