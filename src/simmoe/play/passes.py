"""Which rows run in which pass: the trace as the schedule plays it, where that is known before the clock starts."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from simmoe import policies
from simmoe.policies.schedule import batches, chunks
from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.blame import failed, name_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.answers import knows_rows
from simmoe.workloads.format.rules import check_rules


def clock_driven(schedule: str) -> ModuleType | None:
    """The schedule's module when it forms passes while time goes on; None when they are known beforehand. Raises UserError."""
    module = policies.load("schedule", schedule)
    if knows_rows(module) or callable(getattr(module, "next_pass", None)):
        return module
    if not callable(getattr(module, "regrouped", None)):
        raise UserError(
            f"schedule {name_of(module)} defines neither next_pass() nor regrouped() nor a class Schedule, one of which it is asked by; "
            "see docs/extending/schedule.md"
        )
    return None


def warm_up_passes(trace: Trace, tokens: int | None) -> int:
    """The passes of a warm-up: those that fit into its tokens, at least one. Raises UserError when it leaves none to time."""
    if tokens is None:
        return 0
    passes = max(int(np.searchsorted(trace.pass_ptr, tokens, side="right")) - 1, 1)
    if passes >= trace.n_passes:
        raise UserError(
            f"--warm-up {tokens} leaves nothing to time of the {trace.n_tokens:,} tokens that are played, in {trace.n_passes:,} passes; "
            "give fewer, or play more with --tokens"
        )
    return passes


def scheduled(trace: Trace, schedule: str, prefill_chunk: int | None, batch: int | None) -> Trace:
    """The trace in the passes that are known beforehand: prompts in chunks first, then what the schedule makes of them."""
    if prefill_chunk is not None:
        trace = chunks.regrouped(trace, prefill_chunk)
    if clock_driven(schedule) is not None:
        if batch is not None:
            raise UserError(
                f"--batch {batch} makes static batches, and --schedule {schedule} forms its passes itself: leave one of them out; "
                "--max-batch says how many sequences it may run together"
            )
        return trace
    if schedule != "recorded":
        return _asked(policies.load("schedule", schedule), trace, batch)
    return trace if batch is None else batches.regrouped(trace, batch)


def _asked(module: ModuleType, trace: Trace, batch: int | None) -> Trace:
    """What a user's `regrouped` makes of the trace: the same rows of every sequence, in the same order. Raises UserError."""
    try:
        answer = module.regrouped(trace, batch)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a user's text may fail in any way
        raise failed(error, module, "regrouped") from error
    where = f"schedule {name_of(module)}: regrouped()"
    if not isinstance(answer, Trace):
        raise UserError(
            f"{where} returned {type(answer).__name__}; it must return a Trace (docs/extending/schedule.md)"
        )
    check_rules(answer, f"{where} returned a trace in which")
    one, other = (_rows(each, np.argsort(each.sequence, kind="stable")) for each in (trace, answer))
    if len(one) != len(other) or not all(map(np.array_equal, one, other)):
        raise UserError(f"{where} returned other rows; every row of a sequence must stay, in its order and phase")
    return answer


def _rows(trace: Trace, order: Ints) -> list[Any]:
    """What a trace says of each row, in that order, and of all of them."""
    phase = np.repeat(trace.phase, np.diff(trace.pass_ptr))
    found = [each[order] for each in (trace.expert_ids, trace.sequence, trace.position, phase)]
    if trace.emitted is not None:
        found.append(trace.emitted[order])
    if trace.predicted_ids is not None and trace.predict_lead is not None:
        found += [trace.predicted_ids[:, order], trace.predict_lead]
    return [*found, trace.layer_index]
