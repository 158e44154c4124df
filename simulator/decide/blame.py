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
from simmoe.simulator.decide.missing import SUBSTITUTE, VERSION
from simmoe.simulator.errors import UserError

LEGAL = "return an object o with free[o] true, or -1 if there is none"
ANSWERS = 'write 0 (load it) or a number of another unit, such as m.cpu[0] with NEEDS = ("cpu",)'
LONGEST = 200  # characters of somebody else's message


def name_of(policy: ModuleType) -> str:
    """The policy's file name, for a message; its module name when it has no file."""
    file = getattr(policy, "__file__", None)
    return Path(file).name if file else str(getattr(policy, "__name__", "without a name"))


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
        if not _is_whole(out):
            raise TypeError("not a whole number")
        return int(out)

    return whole_number


def whole_answers(serve: Callable[..., Any]) -> Callable[..., None]:
    """`serve`, which must write whole numbers: Python's lists would keep anything."""

    def whole_number(n: int, resident: Any, event: int, m: Any) -> None:
        serve(n, resident, event, m)
        for k in range(n + 1):
            out = m.unit[k]
            if not _is_whole(out):
                raise TypeError("not a whole number")

    return whole_number


def _is_whole(out: Any) -> bool:
    return isinstance(out, (int, np.integer)) and not isinstance(out, bool)


def blamed(error: BaseException, eviction: ModuleType, rule: ModuleType | None = None) -> UserError | None:
    """The line for an error in the interpreted machine or in a hook that it called; None when it comes from elsewhere."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [i for i, frame in enumerate(frames) if frame.f_code.co_filename == machine.play.__code__.co_filename]
    if not inside:
        return None
    called = [frame for frame in frames[inside[-1] + 1 :] if frame.f_code.co_filename != whole.__code__.co_filename]
    event, last = frames[inside[-1]].f_locals["event"], frames[-1]
    if called:
        hook = called[0].f_code.co_name
        return failed(error, rule if rule and hook == "serve" else eviction, hook, f" in event {event}")
    if "out" not in last.f_locals:
        return None
    out, what = last.f_locals["out"], f"in event {event}"
    if rule is not None and "k" in last.f_locals:
        wrong = f"serve() answered {reprlib.repr(out)} for missing expert {last.f_locals['k']} {what}, {_wrong_answer(last.f_locals)}"
        return UserError(f"policy {name_of(rule)}: {wrong}; {ANSWERS}")
    if last.f_code.co_name in (machine.judge.__name__, "whole_number"):
        wrong = f"victim() returned {reprlib.repr(out)} {what}, {_wrong(out, last.f_locals.get('c'))}"
        return UserError(f"policy {name_of(eviction)}: {wrong}; {LEGAL}")
    return None


def failed(error: BaseException, policy: ModuleType, hook: str, when: str = "") -> UserError:
    """The line for an exception in a hook, with the deepest line of the policy's own file."""
    file = getattr(policy, "__file__", None)
    own = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    where = f" at line {own[-1]}" if own else ""
    return UserError(f"policy {name_of(policy)}: {hook}() failed{when}{where}: {one_line(error)}")


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


def _wrong_answer(seen: dict[str, Any]) -> str:
    """What is wrong with an answer of a miss rule; `seen` are the variables of the function that refused it."""
    if not _is_whole(seen["out"]):
        return "which is no whole number"
    if seen["k"] == seen["n"]:
        return f"of which there are only {seen['n']}"
    if seen["out"] >= VERSION:
        return f"version {seen['out'] - VERSION}; an expert has no other than LOW, and a rule that answers it imports the name VERSION"
    if seen["out"] >= SUBSTITUTE:
        return f"object {seen['out'] - SUBSTITUTE}, which may not stand in (m.here lists those that may)"
    return "which is no unit that computes missing experts"
