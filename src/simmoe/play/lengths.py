"""The text that is played when its lengths are asked for: prompts and answers of so many tokens, from a trace or drawn without one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from simmoe.play import arrival_file
from simmoe.play.came import came_of, came_said
from simmoe.play.identity import load_identity
from simmoe.play.length_draws import STREAMS, tokens_of
from simmoe.policies.regrouping import Rows, as_recorded, rows_of
from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads import synthetic

PROMPT, GENERATE = 512, 128  # of what is asked without the other, or without a trace
MOST_POSITIONS = 2**31 - 1  # positions of a trace are int32


@dataclass(frozen=True)
class Lengths:
    """What requests look like, in tokens: a number for all, or how each has its own (length_words.py); None = as the trace has it."""

    prompt: int | str | None = None
    generate: int | str | None = None
    sequences: int | None = None
    depth: int | str | None = None  # positions that a sequence holds before its prompt
    each_once: bool = False  # where nobody says how many sequences: as many as the trace has, in place of one
    seed: int = 0

    @property
    def asked(self) -> bool:
        return self.prompt is not None or self.generate is not None

    @property
    def spread(self) -> dict[str, str]:
        """The options by which each request has a length of its own."""
        said = {name: getattr(self, name) for name in STREAMS}
        return {name: value for name, value in said.items() if isinstance(value, str)}

    def of_each(self, sequences: int) -> tuple[Ints, Ints]:
        """Tokens of the prompt and of the answer of each sequence. Raises UserError for a request of nothing."""
        prompt = tokens_of(PROMPT if self.prompt is None else self.prompt, "prompt", sequences, self.seed)
        generate = tokens_of(GENERATE if self.generate is None else self.generate, "generate", sequences, self.seed)
        if not (prompt + generate).all():
            if self.spread:
                raise UserError(
                    f"request {int(np.argmin(prompt + generate)) + 1} has neither a prompt nor an answer; leave it out"
                )
            raise UserError("--prompt 0 --generate 0 plays nothing; give one of them a number of tokens")
        return prompt, generate

    def depths(self, sequences: int) -> Ints:
        """Positions that each sequence holds before its prompt."""
        return tokens_of(self.depth or 0, "depth", sequences, self.seed)

    def requests(self, trace: Trace) -> int:
        """How many sequences are made of a trace."""
        return self.sequences or (len(np.unique(trace.sequence)) if self.each_once else 1)

    def facts(self, played: Trace, serving: bool) -> dict[str, Any]:
        """What was asked, and what came in place of a distribution or a file. played: before the clock starts."""
        said = {name: getattr(self, name) for name in STREAMS}
        said |= {name: load_identity(value) for name, value in self.spread.items()}
        if serving:
            said["requests"] = self.sequences
        came = {"lengths": came_of(played, self.spread)} if self.spread else {}
        return {name: tokens for name, tokens in said.items() if tokens is not None} | came


def of_requests(
    lengths: Lengths, requests: int | None, max_batch: int | None, schedule: str, serving: bool, drawn: bool
) -> Lengths:
    """The lengths under a clock-driven schedule, where each sequence is a request: as many as are asked for, else as many as the file of
    lengths or the trace has, else as many as may run together; without one the lengths as they are. Raises UserError for a number that
    nothing is made of."""
    if not serving:
        if requests is not None:
            raise UserError(
                f"--requests {requests} arrive under a clock-driven schedule, and --schedule {schedule} knows none: name one, such as "
                "--schedule continuous, or use --batch for sequences that run together"
            )
        for name, said in lengths.spread.items():
            raise UserError(
                f"--{name} {said} gives each request its own length, and under --schedule {schedule} none arrive: name a clock-driven one, "
                "such as --schedule continuous, or give a number of tokens"
            )
        return lengths
    if requests is not None and not drawn and not lengths.asked:
        raise UserError(
            f"--requests {requests} is for lengths that are asked for or drawn, and the requests of this trace are its own sequences: "
            "add --prompt or --generate, or leave --requests out"
        )
    if requests is None:
        files = [
            arrival_file.count(said, f"--{name}") for name, said in lengths.spread.items() if arrival_file.is_file(said)
        ]
        requests = min(files, default=None)
    return replace(lengths, sequences=requests or (max_batch if drawn else None), each_once=True)


@dataclass(frozen=True)
class Text:
    """A trace to play, and what of it was drawn, reused or put together; empty where it is as recorded."""

    trace: Trace
    routing: str | None  # class that the routing was drawn from; None = recorded
    notes: tuple[str, ...] = ()


def drawn(model: ModelShape, routing: str | None, lengths: Lengths, seed: int) -> Text:
    """Without a trace: routing of a class, in the geometry of the model."""
    name, sequences = routing or synthetic.usual(model), lengths.sequences or 1
    written = tuple(file.stat().st_mtime_ns for file in synthetic.files(name))
    each = (tuple(one.tolist()) for one in lengths.of_each(sequences))
    trace = _drawn(model, name, written, *each, seed)
    own = ", the class of this model" if not routing and name != synthetic.TYPICAL else ""
    said = f"Routing is synthetic, drawn from {synthetic.origin(model, name)}{own}: no trace was given"
    shown = Path(name).name if synthetic.is_file(name) else name
    return Text(deeper(trace, lengths), shown, (said, *came_said(trace, lengths.spread)))


@lru_cache(maxsize=4)  # what-ifs and ranges play the same routing again
def _drawn(
    model: ModelShape,
    routing: str,
    written: tuple[int, ...],
    prompt: tuple[int, ...],
    generate: tuple[int, ...],
    seed: int,
) -> Trace:
    """written: when each file that decides was."""
    return synthetic.routing_for(model, routing, prompt, generate, len(prompt), seed)


def recorded(trace: Trace, lengths: Lengths) -> Text:
    """From a trace: as it is, or its rows as requests of the lengths that are asked for. Raises UserError for lengths out of a trace of
    verify passes, whose rows stay together."""
    notes = tuple[str, ...]()
    if lengths.asked:
        said = ("--prompt", lengths.prompt) if lengths.prompt is not None else ("--generate", lengths.generate or 0)
        as_recorded(*said, trace)
        sequences = lengths.requests(trace)
        trace, notes = requests_of(trace, *lengths.of_each(sequences), sequences)
    return Text(deeper(trace, lengths), None, (*notes, *came_said(trace, lengths.spread)))


def deeper(trace: Trace, lengths: Lengths) -> Trace:
    """The trace behind so many positions that each sequence already holds. Raises UserError."""
    if not lengths.depth:
        return trace
    _, first, whose = np.unique(trace.sequence, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))  # request i is the i-th sequence in order of first appearance
    position = trace.position + lengths.depths(len(first))[rank[whose.reshape(-1)]]
    if (last := int(position.max())) > MOST_POSITIONS:
        raise UserError(f"--depth {lengths.depth} ends at position {last:,}; at most {MOST_POSITIONS:,}")
    meta = {key: value for key, value in trace.meta.items() if key != "digest"}
    return replace(trace, position=position.astype(np.int32), meta=meta)


def requests_of(
    trace: Trace, prompt: int | Ints, generate: int | Ints, sequences: int
) -> tuple[Trace, tuple[str, ...]]:
    """Requests of `prompt` and `generate` tokens (of all, or of each) out of the rows of a trace, one request after the other, and notes
    of what that took.

    Request i begins where sequence i of the trace does, and goes on with the sequences behind it, around to the first one: a row stays
    what it routed, wherever it stands now.
    """
    held = rows_of(trace)
    begins = np.flatnonzero(np.diff(held.sequence, prepend=-1))
    prompts, answers = (np.broadcast_to(one, sequences) for one in (prompt, generate))
    length = prompts + answers
    request = np.repeat(np.arange(sequences), length)
    place = np.arange(len(request)) - np.repeat(np.cumsum(length) - length, length)  # within its request
    at, reads = (begins[request % len(begins)] + place) % trace.n_tokens, place < prompts[request]
    passes = np.flatnonzero(~reads | (place == 0))  # their first rows
    phase = np.where(reads[passes], PREFILL, DECODE).astype(np.int8)
    taken = trace.taken(held.row[at], np.append(passes, len(at)), phase)
    taken = replace(taken, sequence=request.astype(np.int32), position=place.astype(np.int32))
    return taken, tuple(_said(held, at, reads, request))


def _said(held: Rows, at: Ints, reads: Flags, request: Ints) -> list[str]:
    """What had to be reused or taken for something else. By token: its place among the rows of the trace, whether it is of a prompt, whose
    it is."""
    was_decode, sequence, found = held.decode[at], held.sequence[at], list[str]()
    begins = np.flatnonzero(np.diff(request, prepend=-1))
    asked, requests, prompts = len(at), len(begins), int(reads.sum())
    if again := asked - len(np.unique(at)):
        found.append(
            f"{again:,} of the {asked:,} tokens that are asked for are played again: the trace has {len(held.row):,}"
        )
    if decoded := int((was_decode & reads).sum()):
        found.append(f"{decoded:,} of {prompts:,} prompt tokens were recorded in decoding")
    if read := int((~was_decode & ~reads).sum()):
        found.append(f"{read:,} of {asked - prompts:,} generated tokens were recorded in prompts")
    if crossing := len(np.unique(request[sequence != sequence[begins][request]])):
        found.append(
            f"{crossing:,} of {requests:,} requests go on with the next of the {held.sequence[-1] + 1:,} sequences of the trace"
        )
    return [f"Lengths of --prompt and --generate: {'; '.join(found)}"] if found else []
