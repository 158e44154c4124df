"""What a result says of the policies and files that made it: a name, or stem and content; never a path."""

from __future__ import annotations

import hashlib
from pathlib import Path

from simmoe import policies
from simmoe.play import popularity
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.workloads.format import trace as traces


def policy_identity(kind: str, name: str) -> str:
    """A bundled policy by its name, a file by its stem and content: a result never holds a path."""
    path = policies.find(kind, name)
    if path.parent == policies.FOLDER / kind:
        return path.stem
    return f"{path.stem} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def placement_identity(placement: str) -> str:
    """The same of a placement with its amount, such as popular=50%:FILE."""
    name, sign, amount = placement.partition("=")
    said, other = policy_identity("placement", name) + sign, popularity.other_trace(placement)
    if other is None:
        return said + amount
    path = traces.find(other)
    content = "" if path.parent == traces.BUNDLED else f" sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    return said + amount.removesuffix(other) + path.stem + content


def sees_the_future(eviction: str) -> list[str]:
    """Whether an eviction policy reads the trace ahead; one line that says so."""
    if eviction in BOUNDS or "next_use" not in getattr(policies.load("eviction", eviction), "NEEDS", ()):
        return []
    return [f"{Path(eviction).stem} reads the future of the trace: a bound, not a policy that a machine can run"]


def eviction_identity(eviction: str) -> str:
    """A bundled policy by its name, a file by its stem and content: a result never holds a path."""
    if eviction in BOUNDS:
        return eviction
    return policy_identity("eviction", eviction)
