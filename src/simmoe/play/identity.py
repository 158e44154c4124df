"""What a result says of the policies and files that made it: a name, or stem and content; never a path."""

from __future__ import annotations

import hashlib
import reprlib
from pathlib import Path

from simmoe import policies
from simmoe.play import arrival_file, popularity
from simmoe.simulator.decide.blame import name_of
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.simulator.naming import named
from simmoe.workloads.format import trace as traces


def policy_identity(kind: str, name: str) -> str:
    """A bundled policy by its name, a file by its stem and content: a result never holds a path."""
    path = policies.find(kind, name)
    if path.parent == policies.FOLDER / kind:
        return path.stem
    return f"{path.stem} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def load_identity(said: str) -> str:
    """A process of arrivals or a distribution of lengths as it is written, a file of requests by its stem and content."""
    if not arrival_file.is_file(said):
        return said
    path = arrival_file.find(said)
    return f"{path.stem} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def told_identity(kind: str, value: str) -> str:
    """The same of a policy with what it is told, such as popular=50%:FILE."""
    name, values, _ = named(value)
    return policy_identity(kind, name) + f"={values}" * bool(values) + text_identity(value)


def scope_identity(scope: str) -> str:
    """A scope, such as fitted:FILE."""
    return named(scope).name + text_identity(scope)


def text_identity(value: str) -> str:
    """What stands behind the name: the colon and the text that is counted."""
    text, other = named(value).text, popularity.other_trace(value)
    if other is None:
        return f":{text}" * bool(text)
    path = traces.find(other)
    content = "" if path.parent == traces.BUNDLED else f" sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    return f":{path.stem}{content}"


def sees_the_future(eviction: str) -> list[str]:
    """Whether an eviction policy knows of the text what no machine could; one line that says so."""
    if eviction in BOUNDS:
        return []
    name, needs = Path(named(eviction).name).stem, getattr(policies.load("eviction", eviction), "NEEDS", ())
    if "next_use" in needs:
        return [f"{name} reads the future of the trace: a bound, not a policy that a machine can run"]
    if "popularity" in needs and not popularity.source(eviction):
        said = f"{name} counts the experts of the very text that it is scored on: a bound."
        return [
            f"{said} {name}:TRACE counts another trace, {name}:first=20% the first fifth of this one and plays the others"
        ]
    if "ahead" in needs:
        return [f"{name} knows the next events of the text: {AHEAD}"]
    return []


AHEAD = "for a model whose router runs ahead of its layers"
OF_PREFETCH = ("future", "ahead", "passes", "passes unless text")  # what the NEEDS of a prefetch file may name


def foresees(prefetch: str | None) -> list[str]:
    """Whether a prefetcher knows of the text what no machine could; one line that says so. Raises UserError for other NEEDS."""
    if prefetch is None:
        return []
    name, needs = Path(named(prefetch).name).stem, needs_of_prefetch(prefetch)
    if "future" in needs:
        return [f"{name} reads the future of the trace: a bound, not a prefetcher that a machine can run"]
    return [f"{name} knows the next events of the text: {AHEAD}"] * ("ahead" in needs)


def needs_of_prefetch(prefetch: str) -> tuple[str, ...]:
    """What a prefetch file says that it reads. Raises UserError."""
    module = policies.load("prefetch", prefetch)
    needs = getattr(module, "NEEDS", ())
    if not isinstance(needs, (tuple, list)) or not all(one in OF_PREFETCH for one in needs):
        known = ", ".join(repr(one) for one in OF_PREFETCH)
        raise UserError(
            f"policy {name_of(module)} has NEEDS = {reprlib.repr(needs)}; it must be a tuple that names none or some of {known}, such as "
            '("future",)'
        )
    return tuple(needs)


def is_bound(eviction: str, prefetch: str | None) -> bool:
    """Whether no machine could do so: the future of the text is read, or the text that is scored is counted."""
    if eviction in BOUNDS:
        return True
    needs = getattr(policies.load("eviction", eviction), "NEEDS", ())
    counts_its_own = "popularity" in needs and not popularity.source(eviction)
    return "next_use" in needs or counts_its_own or (prefetch is not None and "future" in needs_of_prefetch(prefetch))


def eviction_identity(eviction: str) -> str:
    """A bundled policy by its name, a file by its stem and content: a result never holds a path."""
    if eviction in BOUNDS:
        return eviction
    return told_identity("eviction", eviction)
