"""A host: what a GPU is plugged into. Its memory, its CPU, its slot, how it copies; one YAML file each in hardware_profiles/hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simmoe.hardware_profiles.reading import FOLDER, merged
from simmoe.hardware_profiles.schema import TIER, UNIT, Checked
from simmoe.hardware_profiles.words import DOC
from simmoe.simulator import files
from simmoe.simulator.errors import UserError

HOSTS = FOLDER / "hosts"
LISTING = "`simmoe hw list --hosts`"
INSTRUCTIONS = ("avx2", "avx512", "amx", "neon")
# "is" holds what makes it this host and no other, by which `hw detect` knows it; all else are figures.
SHAPE: dict[str, Any] = {
    "schema": (1,),
    "name": "text",
    "title": "text",
    "notes?": "text",
    "is": {
        "dram": ("ddr3", "ddr4", "ddr5", "lpddr5x"), "mega_transfers": "number", "channels": "number", "sockets": (1, 2),
        "cores": "number", "instructions": INSTRUCTIONS, "slot": "slot", "cpus": "texts",
    },
    "memory": {key: kind for key, kind in TIER.items() if key != "peak_bandwidth?"},  # it stands under "peak"
    "cpu": {key: kind for key, kind in UNIT.items() if key not in ("memory", "processors?")},  # as many as it has cores
    "numa?": "factor",
    "pageable": "bandwidth",
    "pinned_capacity?": "size",
    "peak": {"memory_bandwidth": "bandwidth"},
    "price?": "price",
}  # fmt: skip


def available() -> list[str]:
    """Names of the bundled hosts."""
    return files.available(HOSTS, ".yaml")


def find(name_or_path: str | Path) -> Path:
    """The file behind a name: a file that exists wins over a bundled host of the same name. Raises UserError."""
    if str(name_or_path) in files.available(FOLDER, ".yaml") and not Path(name_or_path).is_file():
        raise UserError(
            f"unknown host '{name_or_path}': a machine has that name; several cards are --gpu GPU+{name_or_path} --host NAME ({LISTING} "
            "lists the hosts)"
        )
    add = f"to add a host, write a YAML file ({DOC})"
    return files.resolve(name_or_path, HOSTS, ".yaml", "host", add, LISTING)


def load(name_or_path: str | Path) -> tuple[dict[str, Any], Checked]:
    """The content of a host's file, and its figures. Raises UserError with one line."""
    path = find(name_or_path)
    content = merged(path, folder=HOSTS)
    return content, Checked(content, path.name, SHAPE)
