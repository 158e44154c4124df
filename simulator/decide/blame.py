"""Turns what went wrong while a policy was played into one line: file, function, event, value, rule."""

from __future__ import annotations

import reprlib
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from simmoe.simulator.decide import residency as machine
from simmoe.simulator.errors import UserError

LEGAL = "return an object o with free[o] true, or -1 if there is none"
LONGEST = 200  # characters of somebody else's message


def name_of(eviction: ModuleType) -> str:
    """The policy's file name, for a message; its module name when it has no file."""
    file = getattr(eviction, "__file__", None)
    return Path(file).name if file else str(getattr(eviction, "__name__", "without a name"))


def one_line(error: BaseException) -> str:
    """The kind of error and its message, on one line."""
    return shortened(traceback.format_exception_only(error)[-1])


def shortened(text: str) -> str:
    """The text on one line of at most LONGEST characters."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def whole(victim: Callable[..., Any]) -> Callable[..., int]:
    """`victim`, which must return a whole number: Python would take True for 1."""

    def whole_number(s: Any, free: Any, event: int, x: Any) -> int:
        out = victim(s, free, event, x)
        if isinstance(out, bool) or not isinstance(out, (int, np.integer)):
            raise TypeError("not a whole number")
        return int(out)

    return whole_number


def blamed(error: BaseException, eviction: ModuleType) -> UserError | None:
    """The line for an error in the interpreted machine or in a hook that it called; None when it comes from elsewhere."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [i for i, frame in enumerate(frames) if frame.f_code.co_filename == machine.play.__code__.co_filename]
    if not inside:
        return None
    called = [frame for frame in frames[inside[-1] + 1 :] if frame.f_code.co_filename != whole.__code__.co_filename]
    event, last = frames[inside[-1]].f_locals["event"], frames[-1]
    if called:
        return failed(error, eviction, called[0].f_code.co_name, f" in event {event}")
    if last.f_code.co_name in (machine.judge.__name__, "whole_number") and "out" in last.f_locals:
        out, c = last.f_locals["out"], last.f_locals.get("c")
        what = f"victim() returned {reprlib.repr(out)} in event {event}"
        return UserError(f"policy {name_of(eviction)}: {what}, {_wrong(out, c)}; {LEGAL}")
    return None


def failed(error: BaseException, eviction: ModuleType, hook: str, when: str = "") -> UserError:
    """The line for an exception in a hook, with the deepest line of the policy's own file."""
    file = getattr(eviction, "__file__", None)
    own = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    where = f" at line {own[-1]}" if own else ""
    return UserError(f"policy {name_of(eviction)}: {hook}() failed{when}{where}: {one_line(error)}")


def shape(value: Any) -> str:
    """What `init` returned, in few words: an array by its type and shape, a tuple by its members."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}"
    if isinstance(value, tuple):
        return f"({', '.join(map(shape, value[:8]))})"
    return reprlib.repr(value)


def reason(error: BaseException) -> str:
    """What numba says, without the head line of its many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Failed in nopython mode pipeline")]
    return shortened(" ".join(lines[:3]) or one_line(error))


def _wrong(out: Any, c: Any) -> str:
    """What is wrong with a victim; `c` are the slots, None when it is no whole number."""
    if c is None:
        return "which is no whole number"
    if out == -1:
        return (
            f"although free[{list(c.free).index(1)}] is true"
            if any(c.free)
            else "although not every resident is pinned"
        )
    if not 0 <= out < len(c.free):
        return f"which is no object: objects are numbered from 0 to {len(c.free) - 1}"
    return "an expert that the event pins" if c.resident[out] else "an expert that is not resident"
