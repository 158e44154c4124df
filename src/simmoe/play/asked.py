"""What a prefetch or placement policy answers, checked where it enters; what is wrong is one line that names file and function."""

from __future__ import annotations

from collections.abc import Collection
from types import ModuleType
from typing import Any

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.blame import failed, name_of, shape
from simmoe.simulator.errors import UserError


def guesses(module: ModuleType, n_events: int, n_objects: int, *arguments: Any) -> tuple[Ints, Ints]:
    """`wanted(…)` of a prefetch policy: (event, object) of each guess, events ascending. Raises UserError."""
    answer = _called(module, "wanted", *arguments)
    if (
        not isinstance(answer, tuple)
        or len(answer) != 2
        or not all(map(_is_flat, answer))
        or len(answer[0]) != len(answer[1])
    ):
        raise _wrong(
            module, "wanted", answer, "two flat integer arrays of one length, the event and the object of each guess"
        )
    event: Ints = answer[0]
    obj: Ints = answer[1]
    for what, values, most in (("event", event, n_events), ("object", obj, n_objects)):
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < most:
            odd = values[(values < 0) | (values >= most)][0]
            raise UserError(f"policy {name_of(module)}: wanted() names {what} {odd}; there are 0 to {most - 1}")
    event, obj = event.astype(np.int64), obj.astype(np.int64)  # of unsigned numbers no difference is negative
    if (np.diff(event) < 0).any():
        raise UserError(f"policy {name_of(module)}: wanted() must name its events in ascending order")
    return event, obj


def units(module: ModuleType, shape_wanted: tuple[int, ...], known: Collection[int], *arguments: Any) -> Ints:
    """`unit_of(…)` of a placement policy: int8, the number of a unit that has each expert. Raises UserError."""
    answer = _called(module, "unit_of", *arguments)
    if not isinstance(answer, np.ndarray) or answer.dtype.kind not in "iu" or answer.shape != shape_wanted:
        raise _wrong(module, "unit_of", answer, f"an integer array of shape {shape_wanted}")
    odd = answer[~np.isin(answer, list(known))]
    if len(odd):
        raise UserError(
            f"policy {name_of(module)}: unit_of() names unit {odd[0]}; there are {', '.join(map(str, known))} (devices first, then the CPU)"
        )
    return answer.astype(np.int8)


def unit(module: ModuleType, known: tuple[str, ...]) -> str:
    """What the amount of a placement policy counts. Raises UserError."""
    found = getattr(module, "UNIT", None)
    if found not in known:
        raise UserError(
            f"policy {name_of(module)} has UNIT = {found!r}; it must be one of {', '.join(map(repr, known))}"
        )
    return str(found)


def _is_flat(answer: object) -> bool:
    return isinstance(answer, np.ndarray) and answer.ndim == 1 and answer.dtype.kind in "iu"


def _called(module: ModuleType, function: str, *arguments: Any) -> Any:
    if not callable(getattr(module, function, None)):
        raise UserError(
            f"policy {name_of(module)} defines no {function}(), which it is asked by; see docs/extending/README.md"
        )
    try:
        return getattr(module, function)(*arguments)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise failed(error, module, function) from error


def _wrong(module: ModuleType, function: str, answer: object, wanted: str) -> UserError:
    return UserError(f"policy {name_of(module)}: {function}() returned {shape(answer)}; it must return {wanted}")
