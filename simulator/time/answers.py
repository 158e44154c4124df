"""How a schedule is asked for the next pass, and what it may not answer. A file that knows steps alone is asked as one that knows rows."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from simmoe.simulator.nouns.serving import Chunk, NextPass, Room, UserRequest

HOW = "return requests out of those that it is given, a list (docs/extending/schedule.md)"
Requests = Mapping[int, UserRequest]
Asked = Callable[[int, Requests, Sequence[int]], NextPass]


class Wrong(Exception):
    """What a schedule returned, in words."""


def knows_rows(schedule: ModuleType) -> bool:
    """Whether the file says how many rows of each request run: it has a class Schedule; else next_pass() names requests."""
    return isinstance(getattr(schedule, "Schedule", None), type)


def asked_of(schedule: ModuleType, room: Room) -> Asked:
    """Asks the file for one pass after the other: (now_ps, requests, those that have arrived since) -> NextPass."""
    if knows_rows(schedule):
        asked: Asked = schedule.Schedule(room).next_pass
        return asked
    return lambda now_ps, requests, arrived: _whole_steps(schedule.next_pass, now_ps, requests, room.max_batch)


def _whole_steps(next_pass: Callable[..., Any], now_ps: int, requests: Requests, max_batch: int) -> NextPass:
    present = tuple(requests.values())
    answer = next_pass(now_ps, present, max_batch)
    if not isinstance(answer, list | tuple):
        raise Wrong(f"{reprlib.repr(answer)}, which is no list; {HOW}")
    for one in answer:
        if not isinstance(one, UserRequest) or requests.get(one.number) != one:
            raise Wrong(f"{reprlib.repr(one)}, which is none of the {len(present)} requests that are there; {HOW}")
    if len({one.reads_prompt for one in answer}) > 1:
        raise Wrong("requests that read prompts beside others that decode; a pass does one or the other")
    return NextPass([Chunk(one.number, one.rows) for one in answer])


def check(
    answer: Any, requests: Requests, holding: Requests, done: Callable[[int], int], room: Room, *, last: bool
) -> int:
    """Blocks of KV cache that are held while the pass runs. holding: the requests that hold some. done: rows that a request has computed at
    some time. last: nobody else will arrive. Raises Wrong for an answer that no pass can be made of."""
    if not isinstance(answer, NextPass) or not all(isinstance(part, list | tuple) for part in answer):
        raise Wrong(f"{reprlib.repr(answer)}; return a NextPass of lists (docs/extending/schedule_of_rows.md)")
    chunks = answer.chunks
    for one in chunks:
        if not isinstance(one, Chunk):
            raise Wrong(f"{reprlib.repr(one)}, which is no Chunk(request, rows, cached)")
    for number in (*(one.request for one in chunks), *answer.preempted, *answer.refused):
        if not isinstance(number, int) or number not in requests:
            raise Wrong(f"request {reprlib.repr(number)}, which is none of the {len(requests)} that are there")
    numbers = [one.request for one in chunks]
    if len(set(numbers)) < len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise Wrong(f"request {twice} twice; a request runs one step in a pass")
    for one in chunks:
        _check_chunk(one, requests[one.request], done)
    _check_others(answer, requests, set(numbers))
    if not chunks and not answer.refused and last:
        raise Wrong(f"no request, although {len(requests)} have not ended and none will arrive; {HOW}")
    return _check_room(answer, requests, holding, room)


def _check_chunk(one: Chunk, request: UserRequest, done: Callable[[int], int]) -> None:
    rows, cached = one.rows, one.cached
    if not isinstance(cached, int) or not isinstance(rows, int):
        raise Wrong(f"{reprlib.repr(one)}, which holds something else than whole numbers")
    if cached and (request.computed or not 0 < cached < request.rows or cached > done(one.request)):
        raise Wrong(
            f"{cached} rows of request {one.request} out of a prefix cache, which it has not computed or not given up"
        )
    if not 0 < rows <= request.rows - cached:
        raise Wrong(f"{reprlib.repr(rows)} rows of request {one.request}, which has {request.rows - cached} to run")
    if request.rows - cached - request.together < rows < request.rows - cached:
        raise Wrong(f"{rows} rows of request {one.request}, which cuts the {request.together} that it decodes together")


def _check_others(answer: NextPass, requests: Requests, running: set[int]) -> None:
    others = [*answer.preempted, *answer.refused]
    if len(set(others)) < len(others):
        raise Wrong(f"requests {reprlib.repr(others)} as preempted or refused, one of them twice")
    for number in answer.preempted:
        if not requests[number].started or number in running:
            raise Wrong(f"request {number} as preempted, which holds no KV cache or runs in the pass")
    for number in answer.refused:
        if requests[number].started or number in running:
            raise Wrong(f"request {number} as refused, which has begun")
    if answer.preempted and not answer.chunks:
        raise Wrong("requests to preempt, and none that runs")


def _check_room(answer: NextPass, requests: Requests, holding: Requests, room: Room) -> int:
    """Sequences, rows and blocks of KV cache: so many of these."""
    running = {one.request: one for one in answer.chunks}
    waiting = [one for number, one in holding.items() if number not in running and number not in answer.preempted]
    if (held := len(waiting) + len(running)) > room.max_batch:
        raise Wrong(f"requests of which {held} would hold a KV cache; --max-batch allows {room.max_batch}")
    if (rows := sum(one.rows for one in answer.chunks)) > room.max_tokens:
        raise Wrong(f"{rows} rows; --max-tokens allows {room.max_tokens}")
    blocks = sum(one.blocks() for one in waiting)
    blocks += sum(requests[number].blocks(one.rows + one.cached) for number, one in running.items())
    if blocks > room.kv_blocks:
        raise Wrong(f"requests that hold {blocks} blocks of KV cache; --kv-blocks allows {room.kv_blocks}")
    return blocks
