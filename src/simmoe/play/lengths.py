"""The text that is played when its lengths are asked for: prompts and answers of so many tokens, from a trace or drawn without one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from simmoe.policies.regrouping import Rows, as_recorded, rows_of
from simmoe.simulator.arrays import Ints
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads import synthetic

PROMPT, GENERATE = 512, 128  # of what is asked without the other, or without a trace
MOST_POSITIONS = 2**31 - 1  # positions of a trace are int32


@dataclass(frozen=True)
class Lengths:
    """What a request looks like, in tokens; None = as the trace has it."""

    prompt: int | None = None
    generate: int | None = None
    sequences: int | None = None
    depth: int | None = None  # positions that a sequence holds before its prompt
    each_once: bool = False  # where nobody says how many sequences: as many as the trace has, in place of one

    @property
    def asked(self) -> bool:
        return self.prompt is not None or self.generate is not None

    @property
    def each(self) -> tuple[int, int]:
        """(prompt, generate) of every sequence. Raises UserError for a request of nothing."""
        prompt = PROMPT if self.prompt is None else self.prompt
        generate = GENERATE if self.generate is None else self.generate
        if not prompt + generate:
            raise UserError("--prompt 0 --generate 0 plays nothing; give one of them a number of tokens")
        return prompt, generate

    def requests(self, trace: Trace) -> int:
        """How many sequences are made of a trace."""
        return self.sequences or (len(np.unique(trace.sequence)) if self.each_once else 1)


def of_requests(
    lengths: Lengths, requests: int | None, max_batch: int | None, schedule: str, serving: bool, drawn: bool
) -> Lengths:
    """The lengths under a clock-driven schedule, where each sequence is a request: as many as are asked for, else as many as the trace
    has, else as many as may run together; without one the lengths as they are. Raises UserError for a number that nothing is made of."""
    if not serving:
        if requests is not None:
            raise UserError(
                f"--requests {requests} arrive under a clock-driven schedule, and --schedule {schedule} knows none: name one, such as "
                "--schedule continuous, or use --batch for sequences that run together"
            )
        return lengths
    if requests is not None and not drawn and not lengths.asked:
        raise UserError(
            f"--requests {requests} is for lengths that are asked for or drawn, and the requests of this trace are its own sequences: "
            "add --prompt or --generate, or leave --requests out"
        )
    return replace(lengths, sequences=requests or (max_batch if drawn else None), each_once=True)


@dataclass(frozen=True)
class Text:
    """A trace to play, and what of it was drawn, reused or put together; empty where it is as recorded."""

    trace: Trace
    routing: str | None  # class that the routing was drawn from; None = recorded
    notes: tuple[str, ...] = ()


def drawn(model: ModelShape, routing: str | None, lengths: Lengths, seed: int) -> Text:
    """Without a trace: routing of a class, in the geometry of the model."""
    name = routing or synthetic.usual(model)
    written = tuple(file.stat().st_mtime_ns for file in synthetic.files(name))
    trace = _drawn(model, name, written, *lengths.each, lengths.sequences or 1, seed)
    own = ", the class of this model" if not routing and name != synthetic.TYPICAL else ""
    said = f"Routing is synthetic, drawn from {synthetic.origin(model, name)}{own}: no trace was given"
    shown = Path(name).name if synthetic.is_file(name) else name
    return Text(deeper(trace, lengths.depth), shown, (said,))


@lru_cache(maxsize=4)  # what-ifs and ranges play the same routing again
def _drawn(
    model: ModelShape, routing: str, written: tuple[int, ...], prompt: int, generate: int, sequences: int, seed: int
) -> Trace:
    """written: when each file that decides was."""
    return synthetic.routing_for(model, routing, prompt, generate, sequences, seed)


def recorded(trace: Trace, lengths: Lengths) -> Text:
    """From a trace: as it is, or its rows as requests of the lengths that are asked for. Raises UserError for lengths out of a trace of
    verify passes, whose rows stay together."""
    notes = tuple[str, ...]()
    if lengths.asked:
        said = ("--prompt", lengths.prompt) if lengths.prompt is not None else ("--generate", lengths.generate or 0)
        as_recorded(*said, trace)
        trace, notes = requests_of(trace, *lengths.each, lengths.requests(trace))
    return Text(deeper(trace, lengths.depth), None, notes)


def deeper(trace: Trace, depth: int | None) -> Trace:
    """The trace behind so many positions that each sequence already holds. Raises UserError."""
    if not depth:
        return trace
    last = int(trace.position.max()) + depth
    if last > MOST_POSITIONS:
        raise UserError(f"--depth {depth} ends at position {last:,}; at most {MOST_POSITIONS:,}")
    meta = {key: value for key, value in trace.meta.items() if key != "digest"}
    return replace(trace, position=(trace.position + depth).astype(np.int32), meta=meta)


def requests_of(trace: Trace, prompt: int, generate: int, sequences: int) -> tuple[Trace, tuple[str, ...]]:
    """Requests of `prompt` and `generate` tokens out of the rows of a trace, one request after the other, and notes of what that took.

    Request i begins where sequence i of the trace does, and goes on with the sequences behind it, around to the first one: a row stays
    what it routed, wherever it stands now.
    """
    held = rows_of(trace)
    begins = np.flatnonzero(np.diff(held.sequence, prepend=-1))
    length = prompt + generate
    at = (begins[np.arange(sequences) % len(begins), None] + np.arange(length)) % trace.n_tokens
    row = held.row[at]
    passes = np.array([prompt] * bool(prompt) + [1] * generate)
    pass_ptr = np.concatenate(([0], np.cumsum(np.tile(passes, sequences))))
    phase = np.tile(np.array([PREFILL] * bool(prompt) + [DECODE] * generate, np.int8), sequences)
    taken = trace.taken(row.ravel(), pass_ptr, phase)
    taken = replace(
        taken,
        sequence=np.repeat(np.arange(sequences, dtype=np.int32), length),
        position=np.tile(np.arange(length, dtype=np.int32), sequences),
    )
    return taken, tuple(_said(held, at, prompt))


def _said(held: Rows, at: Ints, prompt: int) -> list[str]:
    """What had to be reused or taken for something else. at [requests, tokens]: places among the rows of the trace."""
    (requests, length), was_decode, sequence = at.shape, held.decode[at], held.sequence[at]
    asked, found = at.size, list[str]()
    if again := asked - len(np.unique(at)):
        found.append(
            f"{again:,} of the {asked:,} tokens that are asked for are played again: the trace has {len(held.row):,}"
        )
    if decoded := int(was_decode[:, :prompt].sum()):
        found.append(f"{decoded:,} of {requests * prompt:,} prompt tokens were recorded in decoding")
    if read := int((~was_decode[:, prompt:]).sum()):
        found.append(f"{read:,} of {requests * (length - prompt):,} generated tokens were recorded in prompts")
    if crossing := int((sequence != sequence[:, :1]).any(axis=1).sum()):
        found.append(
            f"{crossing:,} of {requests:,} requests go on with the next of the {held.sequence[-1] + 1:,} sequences of the trace"
        )
    return [f"Lengths of --prompt and --generate: {'; '.join(found)}"] if found else []
