"""The machines that options name: whole ones, GPUs in hosts, or all that are bundled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simmoe import hardware_profiles
from simmoe.hardware_profiles import host as hosts
from simmoe.hardware_profiles.composing import JOIN
from simmoe.simulator.errors import UserError

ALL = "all"  # every bundled machine, GPU or host


def machines(options: Mapping[str, Any]) -> list[Any]:
    """Names of the machines that options ask for, each once: all bundled ones unless told. Raises UserError."""
    found = _asked_for(options)
    return [one for number, one in enumerate(found) if one not in found[:number]]


def _asked_for(options: Mapping[str, Any]) -> list[Any]:
    gpus, boxes = (_several(options.get(part)) for part in ("gpu", "host"))
    if not gpus and not boxes:
        return _every(_several(options.get("hw")) or [ALL], hardware_profiles.available)
    found = [f"{gpu}{JOIN}{box}" for gpu in _every(gpus, _cards) or [""] for box in _every(boxes, hosts.available)]
    if _several(options.get("hw")):
        raise UserError("--hw names whole machines, and --gpu and --host parts of them: give the one or the others")
    if not found:
        raise UserError(
            "--host is missing: a GPU is plugged into one (`simmoe hw list --hosts`), or into each with --host all"
        )
    return found


def _several(value: Any) -> list[Any]:
    if isinstance(value, list | tuple) and not value:
        raise UserError("no machine is named: name one at least, or leave hw, gpu and host out for all")
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _every(names: Sequence[Any], bundled: Callable[[], Sequence[str]]) -> list[Any]:
    return [one for name in names for one in (bundled() if name == ALL else [name])]


def _cards() -> list[str]:
    """Bundled machines whose GPU is a card."""
    found = []
    for name in hardware_profiles.available():
        try:
            hardware_profiles.load(f"{name}{JOIN}{hosts.available()[0]}")
        except UserError:
            continue
        found.append(name)
    return found
