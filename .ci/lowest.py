"""Prints what pip is to install for a leg of CI: python .ci/lowest.py [--newest] EXTRA …

Without --newest the lowest versions that pyproject.toml allows, as exact ones. They are read from it each time, so that no list of them
can grow old.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

FLOOR = re.compile(r"([A-Za-z0-9_.-]+(?:\[[a-z,]+\])?)\s*>=\s*([0-9][0-9.]*)")


def requirements(extras: list[str], newest: bool) -> list[str]:
    """The dependencies and those of the extras, each once."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    asked = project["dependencies"] + [one for extra in extras for one in project["optional-dependencies"][extra]]
    return sorted({one if newest else FLOOR.sub(r"\1==\2", one, count=1) for one in asked})


if __name__ == "__main__":
    print("\n".join(requirements([one for one in sys.argv[1:] if one != "--newest"], "--newest" in sys.argv)))
