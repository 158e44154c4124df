"""What a clock-driven schedule may use: sequences, rows of a pass, blocks of KV cache. As asked for, else as the engine has it."""

from __future__ import annotations

import reprlib
import sys
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from simmoe.play.kinds import bytes_of
from simmoe.simulator.decide.blame import failed, name_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.serving import BLOCK, Room
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.answers import knows_rows
from simmoe.simulator.units import nbytes

MANY = sys.maxsize
OPTIONS = ("max_tokens", "kv_blocks", "prefix_cache", "microbatch")  # that a file may name in TAKES
USUAL_TOKENS = 2048  # of a schedule that does not say what is usual


class RoomAsked(NamedTuple):
    """The options; None = not given."""

    max_batch: int | None
    max_tokens: int | None
    kv_blocks: int | None
    kv_memory: int | str | None
    prefix_cache: bool


def takes(schedule: ModuleType | None) -> tuple[str, ...]:
    """Which options the file takes beside --max-batch. Raises UserError for a TAKES of a user's file that names something else."""
    named = getattr(schedule, "TAKES", ())
    if not isinstance(named, list | tuple) or any(one not in OPTIONS for one in named):
        assert schedule is not None
        raise UserError(
            f"schedule {name_of(schedule)}: TAKES is {reprlib.repr(named)}; name options out of {', '.join(OPTIONS)}, in a tuple "
            "(docs/extending/schedule_of_rows.md)"
        )
    return tuple(named)


def cuts(schedule: ModuleType | None) -> bool:
    """Whether the file may run a part of a prompt in a pass."""
    return schedule is not None and knows_rows(schedule)


def in_blocks(schedule: ModuleType | None) -> bool:
    """Whether it hands out KV memory in blocks; else it is reserved for each sequence."""
    return "kv_blocks" in takes(schedule)


def room_of(
    asked: RoomAsked,
    name: str,
    schedule: ModuleType | None,
    sequences: int,
    context: int,
    microbatch: int,
    hw: Hardware,
    model: ModelShape,
) -> Room | None:
    """Of a schedule of that name, for so many sequences of `context` positions; None where it is not clock-driven. Raises UserError for an
    option that it does not take."""
    _refuse(asked, name, schedule)
    if schedule is None:
        return None
    batch, tokens = _usual(schedule, hw)
    batch = min(asked.max_batch or batch, sequences)
    tokens = asked.max_tokens or tokens if cuts(schedule) else MANY
    blocks = MANY
    if in_blocks(schedule):
        blocks = asked.kv_blocks or batch * -(-context // BLOCK)
        if asked.kv_memory is not None and block_bytes(model):
            blocks = _blocks_in(asked.kv_memory, model, batch)
    return Room(batch, tokens, blocks, asked.prefix_cache, max(microbatch, 1))


def _usual(schedule: ModuleType, hw: Hardware) -> tuple[int, int]:
    """Sequences, and rows of a pass, where nobody says how many. Raises UserError for a file that fails or answers something else."""
    if (usual := getattr(schedule, "usual", None)) is None:
        return MANY, USUAL_TOKENS
    try:
        answer = usual(hw.device_memory.capacity_bytes, hw.name)
    except (Exception, SystemExit) as error:  # a user's text may fail in any way
        raise failed(error, schedule, "usual") from error
    match answer:
        case [int(batch), int(tokens)] if batch > 0 and tokens > 0:
            return batch, tokens
    raise UserError(
        f"schedule {name_of(schedule)}: usual() returned {reprlib.repr(answer)}; return two whole numbers above 0, (max_batch, max_tokens)"
    )


def require_whole_steps(room: Room, schedule: ModuleType | None, trace: Trace) -> None:
    """Raises UserError where no pass has room for the rows that a request decodes together, as in a verify pass: it would never end."""
    if not cuts(schedule):
        return
    number = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))[trace.decodes]
    _, rows = np.unique(np.stack((number, trace.sequence[trace.decodes])), axis=1, return_counts=True)
    if (most := int(rows.max(initial=0))) > room.max_tokens:
        raise UserError(
            f"--max-tokens {room.max_tokens} has no room for the {most} rows that a request of this trace decodes in one pass, which are "
            f"not cut; give {most} or more"
        )


def _refuse(asked: RoomAsked, name: str, schedule: ModuleType | None) -> None:
    """Raises UserError for an option that the schedule would drop."""
    if schedule is None and asked.max_batch is not None:
        raise UserError(
            f"--max-batch {asked.max_batch} is for a clock-driven schedule, and the passes of --schedule {name} are known "
            "beforehand: name one, such as --schedule continuous, or use --batch for static batches"
        )
    given = (
        ("max_tokens", "--max-tokens", asked.max_tokens), ("kv_blocks", "--kv-blocks", asked.kv_blocks),
        ("kv_blocks", "--kv-memory", asked.kv_memory), ("prefix_cache", "--prefix-cache", asked.prefix_cache),
    )  # fmt: skip
    for what, flag, value in given:
        if value and what not in takes(schedule):
            said = "" if value is True else f" {value}"
            raise UserError(f"{flag}{said}: --schedule {name} has none; name one that does, such as --schedule vllm")
    if asked.kv_blocks is not None and asked.kv_memory is not None:
        raise UserError("give --kv-blocks (their number) or --kv-memory (their size), not both")


def block_bytes(model: ModelShape) -> int:
    """Of one block of KV cache: all layers keep all positions."""
    return BLOCK * model.kv_bytes_per_position


def blocks_bytes(model: ModelShape, blocks: int, sequences: int) -> int:
    """Of so many blocks, and of the recurrent state of so many sequences."""
    return blocks * block_bytes(model) + sequences * sum(layer.state_bytes for layer in model.layers)


def _blocks_in(size: int | str, model: ModelShape, sequences: int) -> int:
    """How many blocks a size has room for. Raises UserError for one that holds none."""
    count_bytes, least = bytes_of(size, None, "--kv-memory"), blocks_bytes(model, 1, sequences)
    if count_bytes < least:
        raise UserError(
            f"--kv-memory {size} holds no block of {BLOCK} positions of {model.name}, which takes {nbytes(least)}; raise it"
        )
    return (count_bytes - blocks_bytes(model, 0, sequences)) // block_bytes(model)


def said_of(room: Room, schedule: ModuleType | None) -> dict[str, Any]:
    """What of it a result names."""
    said: dict[str, Any] = {"max_batch": room.max_batch}
    if cuts(schedule):
        said["max_tokens"] = room.max_tokens
    if in_blocks(schedule):
        said |= {"kv_blocks": room.kv_blocks, "prefix_cache": room.prefix_cache}
    return said | ({"schedulers": room.ranks} if room.ranks > 1 else {})
