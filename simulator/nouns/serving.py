"""Requests of users: what a schedule is shown of them, and what a clock-driven run leaves behind. A sequence of the trace is a request."""

from __future__ import annotations

from dataclasses import dataclass

from simmoe.simulator.arrays import Ints


@dataclass(frozen=True)
class UserRequest:
    """A request that has arrived and has not ended. A step is what it runs in one pass: its rows of one recorded pass."""

    number: int  # in order of arrival, from 0
    sequence: int  # of the trace
    arrival_ps: int
    started: bool  # it has run a step, so it holds a KV cache
    reads_prompt: bool  # its next step reads a prompt; else it decodes
    rows: int  # rows of its next step
    steps_left: int  # the next one included


@dataclass(frozen=True, eq=False)
class ServingLog:
    """What the schedule did."""

    sequence: Ints  # [requests] of the trace, in order of arrival
    arrival_ps: Ints  # [requests]
    waited_ps: Ints  # [passes] the arrival that the schedule waited for before the pass; 0 = for none
    left: Ints  # [passes] requests that ended with the pass
