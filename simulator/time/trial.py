"""A user's timeline is tried before it is played: lowered to a list, pass by pass, and the list is checked.

Bundled timelines are tested and do not pay for it. What is checked is what no executor could notice: each load and prefetch moves once,
each expert is computed once, by its own transfer, and the CPU's share is started and waited for. What follows what is the timeline's own
affair.
"""

from __future__ import annotations

import builtins
import inspect
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from simmoe.simulator.binding import bound, functions
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.blame import name_of, one_line, reason
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.policy_file import is_bundled
from simmoe.simulator.decide.stretches import whole
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower import emitter, layer, oplist, records
from simmoe.simulator.lower.durations import Loading, Loads
from simmoe.simulator.lower.oplist import AGAIN, CARRIED, FIRST_HOP, LATE, MOVE, ONE, READY, RUN, WAIT, WITHDRAW, Ops
from simmoe.simulator.lower.records import Fixed
from simmoe.simulator.lower.tables import notes_of, tables_of, work_of
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.time import rates, serve

PARAMETERS = tuple(inspect.signature(layer.lower_layer).parameters)
MAY_DEFINE = {"lower_layer", "lower_pass"}


def tried(
    timeline: ModuleType,
    costs: Costs,
    requests: Requests,
    decisions: Decisions,
    guesses: Guesses,
    loads: Loading | Loads,
) -> None:
    """Raises UserError, one line with file and event, for a timeline of a user's that errs on this run."""
    if is_bundled(timeline):
        return
    for broken in _broken(timeline):
        raise UserError(f"timeline {name_of(timeline)} {broken}")
    lists = Player().arrays
    fixed, tables = tables_of(costs, requests)
    work, notes = (
        lists(work_of(costs, requests, decisions, guesses, loads.within(whole(requests, decisions, guesses)))),
        lists(notes_of(requests.widest, costs.devices)),
    )
    tables, lower = lists(tables), bound(layer, timeline, oplist).lower_pass
    load = guess = 0
    for number in range(len(costs.sizes)):
        ops = Ops()
        try:
            last = lower(number, 0, fixed, tables, work, notes, ops)
            ok = type(last) is int and 0 < last < len(ops.kind)
            wrong: str | None = None if ok else f"handed on {last!r}, which no operation returned"
            wrong = wrong or next(_mistakes(ops, number, fixed, work, load, guess), None)
        except (Exception, SystemExit) as error:  # a user's text may fail in any way
            raise _failed(timeline, number, error) from error
        if wrong:
            raise UserError(
                f"timeline {name_of(timeline)}: pass {number}: {wrong}; see policies/timeline/overlapped.py"
            )
        load += sum(kind == MOVE and what[0] == "load" for kind, what in zip(ops.kind, ops.what))
        guess = work.guess_ptr[(number + 1) * fixed.places]


def _broken(timeline: ModuleType) -> Iterator[str]:
    own = functions(timeline)
    if "lower_layer" not in own:
        yield f"defines no lower_layer({', '.join(PARAMETERS)}); see policies/timeline/overlapped.py"
    elif tuple(inspect.signature(own["lower_layer"]).parameters) != PARAMETERS:
        yield f"defines lower_layer{inspect.signature(own['lower_layer'])}; it must take ({', '.join(PARAMETERS)})"
    taken = {  # its text is compiled into one module with theirs
        name for module in (emitter, layer, oplist, rates, serve) for name in vars(module) if name[:1] != "_"
    }
    taken |= set(dir(builtins))
    for name in sorted(
        {name for name in vars(timeline) if name[:2] != "__"} & taken - MAY_DEFINE - _borrowed(timeline)
    ):
        yield f"defines {name}, a name of the machine; rename it"


def _borrowed(timeline: ModuleType) -> set[str]:
    """Names that the file imports from simmoe, and means as they stand there."""
    return {
        name
        for name, it in vars(timeline).items()
        if str(getattr(it, "__module__", "")).startswith(("simmoe.", "typing"))
    } | {name for name in vars(timeline) if name in vars(records) and vars(timeline)[name] == vars(records)[name]}


def _failed(timeline: ModuleType, number: int, error: BaseException) -> UserError:
    file = getattr(timeline, "__file__", None)
    frames = [
        (frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file
    ]
    where = f"{frames[-1][0].f_code.co_name}() failed at line {frames[-1][1]}" if frames else "failed"
    return UserError(f"timeline {name_of(timeline)}: {where} in pass {number}: {one_line(error)}")


def _mistakes(ops: Ops, number: int, fixed: Fixed, work: Any, load: int, guess: int) -> Iterator[str]:
    """What is wrong with the operations of a pass whose first load and guess are `load` and `guess`."""
    for row, after in enumerate(ops.after):
        if type(after) is not int or not 0 <= after <= max(row - 1, 0):
            yield f"an operation follows {after!r}, which no operation before it returned"
            return
    rows, places = list(zip(ops.kind, ops.what)), fixed.places
    yield from _waits(rows)
    yield from _on_cpu(rows, fixed)
    yield from _withdrawn(rows, number, places, work)
    yield from _moves(rows, number, places, work, load, guess)
    for column in range(places):
        yield from _layer(
            [(kind, what) for kind, what in rows if _of(kind, what) in (column, column + places)],
            column,
            number * places + column,
            work,
            rows,
        )


def _waits(rows: list[Any]) -> Iterator[str]:
    """The event is decided behind its wait of the host: nothing of it may come before."""
    for row, (kind, what) in enumerate(rows):
        if kind == RUN and what[0] == "host" and not (rows[row - 1][0] == RUN and rows[row - 1][1][0] == "gap"):
            yield f"the host must be waited for once in an event, before all its other operations; see row {row}"


def _on_cpu(rows: list[Any], fixed: Fixed) -> Iterator[str]:
    """What overlaps the CPU's piece must be known when it is emitted, or, in unified memory, be emitted behind it."""
    gaps = [row for row, (kind, what) in enumerate(rows) if kind == RUN and what[0] == "gap"]
    for row, (kind, what) in enumerate(rows):
        if kind == RUN and what[0] == "cpu":
            rest = rows[row + 1 : min((gap for gap in gaps if gap > row), default=len(rows))]
            late = not fixed.contended and any(kind == MOVE for kind, _ in rest)
            before = [
                one for one in rows[:row] if one[0] != WITHDRAW and one[1][:1] not in ((AGAIN,), (FIRST_HOP + AGAIN,))
            ]
            early = fixed.contended and before[-1] not in (
                (RUN, ("host", what[1])),
                rows[max(g for g in gaps if g < row)],
            )
            if late or early or (WAIT, (row,)) not in rest:
                yield (
                    f"the CPU's experts must be started by cpu_at_once() and cpu_behind() of simulator/lower/layer.py, around all else of "
                    f"an event, and waited for in it; see row {row}"
                )


def _withdrawn(rows: list[Any], number: int, places: int, work: Any) -> Iterator[str]:
    """Where prefetches are withdrawn, each event does so once."""
    wanted = list(range(number * places, (number + 1) * places)) if len(work.guess_for) else []
    if [what[0] for kind, what in rows if kind == WITHDRAW] != wanted:
        yield "each event must take useless prefetches off the link's queue once, by withdraw() of simulator/lower/layer.py"


def _moves(rows: list[Any], number: int, places: int, work: Any, load: int, guess: int) -> Iterator[str]:
    last = work.ptr[(number + 1) * places]
    end = load
    while end < len(work.loads) and work.loads[end] < last:
        end += 1
    issued = [j for j in range(guess, work.guess_ptr[(number + 1) * places]) if work.issued[j]]
    for name, wanted in (("load", list(range(load, end))), ("guess", issued)):
        moved = [what[1] for kind, what in rows if kind == MOVE and what[0] == name]
        if moved != wanted:
            odd = next(iter((Counter(moved) - Counter(wanted)) | (Counter(wanted) - Counter(moved))), "their order")
            yield f"each {name} must move once and in order, {len(wanted)} in all; {len(moved)} move, see {odd}"


def _of(kind: int, what: Any) -> int | None:
    """The layer column whose experts the operation computes."""
    return what[0] if kind in (READY, LATE, ONE, CARRIED) else None


def _layer(mine: list[Any], column: int, event: int, work: Any, rows: list[Any]) -> Iterator[str]:
    asked = list(range(work.ptr[event], work.ptr[event + 1]))
    on_cpu = work.cpu_count[event] if len(work.cpu_ps) else 0
    slots = work.slot_ptr[event + 1] - work.slot_ptr[event] - (work.cpu_slots[event] if len(work.cpu_ps) else 0)
    wanted = len(asked) - on_cpu
    if len(work.gone):
        wanted, slots = wanted - work.gone[event], slots - work.gone_slots[event]
    if len(work.low_hits):
        wanted, slots = wanted + work.low_hits[event], slots + work.low_slots[event]
        yield from _low_copies(mine, column, event, work)
    late = Counter((n, guess) for kind, what in mine if kind == READY for n, guess in what[3])
    alone = Counter((what[1], what[2]) for kind, what in mine if kind == LATE)
    if late != alone:
        yield f"layer column {column}: a hit that READY may find late needs one LATE of its own, and the reverse"
    count = sum(what[1] + len(what[3]) if kind == READY else kind == ONE for kind, what in mine)
    taken = sum(
        what[2] + sum(n for n, _ in what[3]) if kind == READY else what[1] * (kind == ONE) for kind, what in mine
    )
    if (count, taken) != (wanted, slots):
        yield (
            f"layer column {column}: {count} experts with {taken} token slots are computed where {wanted} with {slots} "
            "were asked for"
        )
    for kind, what in mine:
        if kind == ONE and (rows[what[2]][0] != MOVE or rows[what[2]][1][0] != "load"):
            yield f"layer column {column}: an expert waits for row {what[2]}, which is no transfer of a load"
    carried = on_cpu and len(work.carry_ps) and work.carry_ps[event]
    if carried and [what[1] for kind, what in mine if kind == CARRIED] != [on_cpu]:
        yield f"layer column {column}: what the CPU has must be carried once, by cpu_behind()"
    elif on_cpu and not carried:
        started = [row for row, (kind, what) in enumerate(rows) if kind == RUN and what == ("cpu", event)]
        if len(started) != 1 or not any(kind == WAIT and what == (started[0],) for kind, what in rows):
            yield f"layer column {column}: the CPU's experts must be started once and waited for"


def _low_copies(mine: list[Any], column: int, event: int, work: Any) -> Iterator[str]:
    """Those of the pool in a launch of their own, each that is loaded alone, in rows of their own."""
    first, last = work.ptr[event], work.ptr[event + 1]
    alone = [work.tokens[i] for i, low in zip(work.loads, work.low) if low and first <= i < last]
    wanted = work.low_hits[event] + len(alone), work.low_slots[event] + sum(alone)
    found = [(what[1], what[2]) if kind == READY else (1, what[1]) for kind, what in mine if what[0] != column]
    if (sum(count for count, _ in found), sum(slots for _, slots in found)) != wanted:
        yield f"layer column {column}: low copies must be computed by held_low() and row_of() of simulator/lower/layer.py"


@contextmanager
def may_not_compile(timeline: ModuleType) -> Iterator[None]:
    """Turns what numba says of a user's timeline into one line. Interpreted it has been tried already."""
    try:
        yield
    except Exception as error:
        if is_bundled(timeline) or not type(error).__module__.startswith("numba."):
            raise
        raise UserError(
            f"timeline {name_of(timeline)} cannot be compiled: {reason(error)}; --engine plain plays it"
        ) from error
