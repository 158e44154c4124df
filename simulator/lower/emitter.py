"""What lowering may say: one function for each kind of operation. An emitter defines them; these do nothing.

Each returns a handle, which stands for the end of the operation: the recurrence's handle is that time, the list's the number of the
operation. Lowering passes handles on as `after` and never looks into them. An operation starts when its resource has served all that was
emitted for it before, and when `after` has ended. f, t, w, s: Fixed, Tables, Work, Notes of lower/records.py; e is the emitter's own.
"""

from __future__ import annotations

from typing import Any

from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work


def op_gap(
    unit: int, number: int, size: int, column: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:
    """RUN the launches of pass `number` that no decision parts: those before MoE layer `column`, or behind the last one."""
    return after


def op_shared(
    unit: int, number: int, size: int, column: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:
    """RUN the shared experts of a layer, where it has any."""
    return after


def op_move(link: int, load: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """MOVE: the transfer of load number `load`; one for each hop, the handle is that of the last."""
    return after


def op_fetch(link: int, guess: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """MOVE: the transfer of guess number `guess`, in the same way."""
    return after


def op_withdraw(
    unit: int, link: int, event: int, late: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """WITHDRAW: prefetches whose transfers have not started, that are for `event` or an earlier one (w.guess_for) and not among the first
    `late` of s.late, leave the queue of the link. MOVE again for those of the first `late` that an earlier event withdrew."""
    return after


def op_ready(
    unit: int, event: int, column: int, hits: int, slots: int, late: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """READY: one launch over `hits` experts with `slots` token slots, and over those of the first `late` of s.late that have arrived."""
    return after


def op_one(
    unit: int, column: int, i: int, guess: int, load: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:  # fmt: skip
    """ONE: the expert of request `i` alone, when the transfer with the handle `load` has ended; or LATE, where guess >= 0: when that
    guess has arrived, and nothing if the READY before has taken it."""
    return after


def op_cpu_first(event: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """RUN on the CPU of a unified machine: the experts of the event that it computes; emitted before all else of the event."""
    return after


def op_cpu_last(event: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """RUN on the CPU of a discrete machine: the experts of the event that it computes; emitted behind all else of the event."""
    return after


def op_carry(link: int, event: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """MOVE: all that the CPU has of the event, for this pass alone, where it is carried (w.carry_ps)."""
    return after


def op_carried(
    unit: int, event: int, column: int, carry: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any
) -> int:
    """CARRIED: one launch over what the MOVE with the handle `carry` brings, when that has ended."""
    return after


def op_host(unit: int, event: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """RUN of nothing: the unit idles for f.host_wait_ps while the host waits for the router's result; then `event` is decided."""
    return after


def op_send(link: int, lasts: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """SEND: a message of `lasts` ps from device to device, where it is one."""
    return after


def op_wait(unit: int, other: int, after: int, f: Fixed, t: Tables, w: Work, s: Notes, e: Any) -> int:
    """The unit waits for the operation `other` of another unit."""
    return after
