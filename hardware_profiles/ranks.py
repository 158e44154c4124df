"""Equal devices in one machine: "8xh100:nvlink4" is eight of the profile h100, joined by the fabric nvlink4 of fabrics/, or of a file.

Each has the memory, the unit and the link of the one; all links start at its home, which is not multiplied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from simmoe.hardware_profiles.reading import FOLDER, merged
from simmoe.hardware_profiles.schema import FABRIC, Checked
from simmoe.hardware_profiles.words import DOC
from simmoe.simulator import files
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import parse, text, unit_of

FABRICS = FOLDER / "fabrics"
SHAPE: dict[str, Any] = {"schema": (1,), "name": "text", "title": "text", "notes?": "text", **FABRIC}
MOST = 100  # units are numbered in 8 bits


def parts(name_or_path: str | Path) -> tuple[int, str, str] | None:
    """How many, profile and fabric of "8xh100:nvlink4"; None for a machine of one name, or a file. Raises UserError without a fabric."""
    found = re.fullmatch(r"([0-9]{1,9})x(.+?)(?::([^:]+))?", str(name_or_path))
    if found is None or Path(name_or_path).is_file():
        return None
    if found[3] is not None:
        return int(found[1]), found[2], found[3]
    if found[2].partition("@")[0] in files.available(FOLDER, ".yaml"):
        known = ", ".join(files.available(FABRICS, ".yaml"))
        raise UserError(
            f"{found[0]}: name what joins them, such as {found[0]}:nvlink4 ({known}, or a YAML file: {DOC})"
        )
    return None


def find(name_or_path: str | Path) -> Path:
    """The file behind a name: a file that exists wins over a bundled fabric of the same name."""
    add = f"to add a fabric, write a YAML file ({DOC})"
    known = ", ".join(files.available(FABRICS, ".yaml"))
    return files.resolve(name_or_path, FABRICS, ".yaml", "fabric", add, known)


def joined(count: int, one: Mapping[str, Any], fabric: str, file: str) -> dict[str, Any]:
    """The content of a profile of so many. one: a checked profile. Raises UserError."""
    if not 2 <= count <= MOST:
        raise UserError(
            f"{count}x{one['name']}:{fabric}: a machine of several devices has 2 to {MOST} of them; name one device alone"
        )
    if len(one["devices"]) > 1:
        raise UserError(
            f"{file}: it lists {len(one['devices'])} devices already; write {count}x before a machine of one"
        )
    path = find(fabric)
    said = merged(path, folder=FABRICS)
    Checked(said, path.name, SHAPE)
    first = one["devices"][0]
    unit, names = one["units"][first], [first, *(f"{first}{number}" for number in range(1, count))]
    memories = [unit["memory"], *(f"{unit['memory']}{number}" for number in range(1, count))]
    more = list(zip(names, memories))[1:]
    peak = one.get("peak", {}).get("memory_bandwidth")  # said of the first device alone
    memory = {**one["tiers"][unit["memory"]], **({"peak_bandwidth": peak} if peak else {})}
    content = {key: value for key, value in one.items() if key not in ("notes", "modes")}
    content |= {
        "name": f"{count}x{one['name']}:{said['name']}",
        "title": f"{count} x {one['title']}, joined by {said['title']}",
        "tiers": {**one["tiers"], **{name: deepcopy(memory) for _, name in more}},
        "units": {**one["units"], **{name: {**deepcopy(unit), "memory": tier} for name, tier in more}},
        "links": {name: {**deepcopy(one["link"]), "to": tier} for name, tier in more},
        "devices": names,
        "fabric": {key: said[key] for key in (one.rstrip("?") for one in FABRIC) if key in said},
    }
    return content | ({"price": _times(count, one["price"])} if "price" in one else {})


def of_all(content: Mapping[str, Any], changes: Mapping[str, str]) -> dict[str, str]:
    """The changes with those of the other devices: a figure of the first is that of each of which nothing else is said."""
    first, *others = content["devices"]
    found = dict(changes)
    for name in others:
        tier = content["units"][name]["memory"]
        same = {
            "link.": f"links.{name}.", f"units.{first}.": f"units.{name}.", f"tiers.{content['units'][first]['memory']}.": f"tiers.{tier}.",
            "peak.memory_bandwidth": f"tiers.{tier}.peak_bandwidth",
        }  # fmt: skip
        for path, value in changes.items():
            for head in same:
                if path.startswith(head):
                    found.setdefault(path.replace(head, same[head], 1), value)
    return found


def _times(count: int, price: Mapping[str, Any]) -> dict[str, Any]:
    """The price of so many."""

    def times(value: str) -> str:
        return text(count * parse(value, "price"), "price", unit_of(value))

    ends = {"range": [times(end) for end in price["range"]]} if "range" in price else {}
    return {**price, "value": times(price["value"]), **ends, "source": f"{count} x {price['value']}: {price['source']}"}
