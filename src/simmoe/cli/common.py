"""What several commands share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from simmoe.play import inputs
from simmoe.play.scenario import OPTIONS


def files_used(values: Mapping[str, Any]) -> list[str]:
    """Which of the named inputs are files of the user's, in place of bundled ones. An option may have several values."""
    found: dict[str, None] = {}
    for name, value in values.items():
        for one in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
            found |= dict.fromkeys(inputs.users_files(OPTIONS, {name: one}))
    return list(found)


def print_json(data: Any) -> None:
    print(json.dumps(data, indent=1, sort_keys=True))
