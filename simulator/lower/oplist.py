"""The emitter that writes operations down, as a list: for the SimPy executor, for golden files, for a reader.

A handle is the number of the row. An operation starts when its resource has served all rows before it and the rows in `after` have ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work

RUN, MOVE, READY, LATE, ONE, WAIT, SEND, CARRIED, WITHDRAW = range(9)
KINDS = ("RUN", "MOVE", "READY", "LATE", "ONE", "WAIT", "SEND", "CARRIED", "WITHDRAW")
FIRST_HOP = "first hop of "
AGAIN = "again guess"  # the transfer of a guess that was withdrawn; nothing where it was not
What = tuple[Any, ...]


@dataclass
class Ops:
    """Operations in the order in which they are issued; row 0 is what the first of them follow."""

    kind: list[int] = field(default_factory=lambda: [WAIT])
    resource: list[int] = field(default_factory=lambda: [-1])
    after: list[int] = field(default_factory=lambda: [0])
    what: list[What] = field(default_factory=lambda: [()])
    decided: dict[int, int] = field(default_factory=dict)  # event of each device -> row at whose end it is decided
    # RUN ("gap" | "shared", pass or a device's share of it, column) or ("cpu" | "host", event) · MOVE ("load" | "guess", number), of two
    # hops the first (FIRST_HOP + "load" | "guess", number), the second ("load" | "guess", number, row of the first)
    # READY (column, experts, token slots, ((token slots, guess) of each that may be late)) · LATE (column, token slots, guess)
    # ONE (column, token slots, row of its MOVE) · WAIT (row,) · SEND (ps,) · MOVE ("carry", event) · CARRIED (column, experts, token slots,
    # row of that MOVE) · WITHDRAW (event, guesses that it has hit) · MOVE (AGAIN, guess), of two hops as above

    def add(self, kind: int, resource: int, after: int, what: What) -> int:
        """The number of the new row."""
        self.kind.append(kind)
        self.resource.append(resource)
        self.after.append(after)
        self.what.append(what)
        return len(self.kind) - 1

    def __str__(self) -> str:
        """A line for each row."""
        rows = zip(self.kind, self.resource, self.after, self.what)
        lines = [f"{k:4}  {_line(*row)}\n" for k, row in enumerate(rows) if k > 0]
        return "".join(lines)


def _line(kind: int, resource: int, after: int, what: What) -> str:
    return f"{KINDS[kind]:5} on {resource}  after {after:4}  {_words(KINDS[kind], what)}"


def _words(kind: str, what: What) -> str:
    match kind, what:
        case "READY", (column, count, slots, late):
            maybe = "".join(f", {n} of guess {guess} if it has arrived" for n, guess in late)
            return f"layer column {column}: {count} experts, {slots} token slots{maybe}"
        case "LATE", (column, slots, guess):
            return (
                f"layer column {column}: {slots} token slots, guess {guess} when it has arrived, unless READY took it"
            )
        case "ONE", (column, slots, row):
            return f"layer column {column}: {slots} token slots, when row {row} has ended"
        case "CARRIED", (column, count, slots, row):
            return f"layer column {column}: {count} experts, {slots} token slots, when row {row} has ended"
        case "SEND", (lasts,):
            return f"a message of {lasts} ps"
        case "WAIT", (row,):
            return f"until row {row} has ended"
        case "RUN", ("cpu", event):
            return f"experts of event {event}"
        case "RUN", ("host", event):
            return f"nothing, until the host knows event {event}"
        case "RUN", (part, number, column):
            return f"{part} of pass {number}, layer column {column}"
        case "WITHDRAW", (event, hit):
            kept = f", but for guess {', '.join(map(str, hit))}" if hit else ""
            return f"guesses for event {event} or earlier ones that have not started{kept}"
        case "MOVE", (name, number, row):
            return f"{name} {number}, as row {row} brings it"
        case _, (name, number):
            return f"{name} {number}"
    raise AssertionError(f"{kind} {what}")


def op_gap(
    unit: int, number: int, size: int, column: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops
) -> int:
    row = e.add(RUN, unit, after, ("gap", number, column))
    if column < f.layers:
        for device in range(f.devices):
            e.decided[(number // f.shares * f.layers + column) * f.devices + device] = row
    return row


def op_shared(
    unit: int, number: int, size: int, column: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops
) -> int:
    if t.shared_ps[size * f.places + column] > 0:
        return e.add(RUN, unit, after, ("shared", number, column))
    return after


def op_move(link: int, load: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops) -> int:
    return _hops(e, link, after, "load", load, w.load_up_ps, f)


def op_fetch(link: int, guess: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops) -> int:
    return _hops(e, link, after, "guess", guess, w.guess_up_ps, f)


def op_withdraw(
    unit: int, link: int, event: int, late: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops
) -> int:  # fmt: skip
    hit = tuple(s.by[:late])
    row = e.add(WITHDRAW, unit, after, (event, hit))
    for guess in hit:
        _hops(e, link, row, AGAIN, guess, w.guess_up_ps, f)
    return row


def _hops(e: Ops, link: int, after: int, what: str, number: int, up_ps: list[int], f: Fixed) -> int:
    """A row for each hop; the number of the last."""
    if not len(up_ps) or not up_ps[number]:
        return e.add(MOVE, link, after, (what, number))
    row = e.add(MOVE, f.upstream, after, (FIRST_HOP + what, number))
    return e.add(MOVE, link, after if f.pipelined else row, (what, number, row))


def op_ready(
    unit: int, event: int, column: int, hits: int, slots: int, late: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops
) -> int:  # fmt: skip
    maybe = tuple((w.tokens[s.late[j]], s.by[j]) for j in range(late))
    return e.add(READY, unit, after, (column, hits, slots, maybe))


def op_one(
    unit: int, column: int, i: int, guess: int, load: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops
) -> int:  # fmt: skip
    if guess >= 0:
        return e.add(LATE, unit, after, (column, w.tokens[i], guess))
    return e.add(ONE, unit, after, (column, w.tokens[i], load))


def op_cpu_first(event: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops) -> int:
    if w.cpu_ps[event] > 0:
        return e.add(RUN, f.cpu, after, ("cpu", event))
    return after


def op_cpu_last(event: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops) -> int:
    return op_cpu_first(event, after, f, t, w, s, e)


def op_carry(link: int, event: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops) -> int:
    return e.add(MOVE, link, after, ("carry", event)) if w.carry_ps[event] > 0 else after


def op_carried(
    unit: int, event: int, column: int, carry: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops
) -> int:
    if w.carry_ps[event] > 0:
        return e.add(CARRIED, unit, after, (column, w.cpu_count[event], w.cpu_slots[event], carry))
    return after


def op_host(unit: int, event: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops) -> int:
    if f.host_wait_ps > 0:
        after = e.add(RUN, unit, after, ("host", event))
        e.decided[event] = after
    return after


def op_send(link: int, lasts: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops) -> int:
    return e.add(SEND, link, after, (lasts,)) if lasts > 0 else after


def op_wait(unit: int, other: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Ops) -> int:
    return e.add(WAIT, unit, after, (other,))
