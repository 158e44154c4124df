"""What a result says of the files that made it: a name, or stem and content; never a path."""

from __future__ import annotations

import hashlib

from simmoe import policies
from simmoe.simulator.decide.decisions import BOUNDS


def policy_identity(kind: str, name: str) -> str:
    """A bundled policy by its name, a file by its stem and content: a result never holds a path."""
    path = policies.find(kind, name)
    if path.parent == policies.FOLDER / kind:
        return path.stem
    return f"{path.stem} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def eviction_identity(eviction: str) -> str:
    """A bundled policy by its name, a file by its stem and content: a result never holds a path."""
    if eviction in BOUNDS:
        return eviction
    return policy_identity("eviction", eviction)
