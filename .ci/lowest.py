"""Prints the lowest versions that pyproject.toml allows, as exact ones for pip: python .ci/lowest.py EXTRA …

They are read from pyproject.toml each time, so no list of them can grow old.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

FLOOR = re.compile(r"([A-Za-z0-9_.-]+)\s*>=\s*([0-9][0-9.]*)")


def lowest(extras: list[str]) -> list[str]:
    """`name==floor` of each dependency that has a floor, and the others as they stand."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
    asked = project["dependencies"] + [one for extra in extras for one in project["optional-dependencies"][extra]]
    return sorted({FLOOR.sub(r"\1==\2", one, count=1) for one in asked})


if __name__ == "__main__":
    print("\n".join(lowest(sys.argv[1:])))
