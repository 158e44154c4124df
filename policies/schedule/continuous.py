"""Continuous batching: a request enters as soon as there is a place, and leaves it as soon as it has ended (Orca, OSDI 2022).

At the end of every pass the places are filled in order of arrival. While a prompt is unread, the oldest of them is read alone; else all
requests that have a place decode their next step together.
"""

from __future__ import annotations

from collections.abc import Sequence

from simmoe.simulator.nouns.serving import UserRequest


def next_pass(now_ps: int, requests: Sequence[UserRequest], max_batch: int) -> list[UserRequest]:
    """`requests` stand in order of arrival and leave when they end, so the first of them are those that have a place."""
    running = list(requests[:max_batch])
    prompts = [one for one in running if one.reads_prompt]
    return prompts[:1] or running
