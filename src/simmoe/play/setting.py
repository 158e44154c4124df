"""What a run is of: a model and rows on a machine, under an engine or without one. play/workload.py makes it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import ModuleType

from simmoe.play import cards
from simmoe.play.knobs import Knobs
from simmoe.play.lengths import Lengths, Text
from simmoe.play.memory import Memory
from simmoe.play.room import RoomAsked, in_blocks
from simmoe.play.speculation import Speculation
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.simulator.nouns.serving import BLOCK, Room
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.plain import plain
from simmoe.workloads.format import trace as traces
from simmoe.workloads.models.formats import kv_default


class Setting:
    """A model and its rows on a machine."""

    hw: Hardware
    runtime: Runtime | None  # None: the ideal one
    knobs: Knobs
    model: ModelShape
    model_name: str | Path | None  # None of a loaded model
    draft_model: ModelShape | None
    speculation: Speculation | None
    lengths: Lengths
    text: Text  # that the rows are of
    recorded: Trace  # its rows, in the passes that it was recorded in
    trace: Trace  # that is played
    all_tokens: int  # before --tokens
    reserved_for: Trace  # KV memory is that of the whole text, however little of it is played
    schedule: str
    clock_driven: ModuleType | None  # the schedule, where passes are formed while time goes on
    prefill_chunk: int | None
    batch: int | None
    room_asked: RoomAsked
    room: Room | None
    context: int
    microbatch: int
    largest_pass: int  # tokens that an engine reserves buffers for
    kv_bytes: int
    graphs: bool
    alike: int = 1  # devices that all do the same, as the work of one of which it is played
    memory: Memory
    begun: Setting  # of rows in passes that a clock-driven schedule made: what it made them of; else the same

    def __repr__(self) -> str:
        return plain(f"<{self.named}>")

    @property
    def named(self) -> str:
        return f"{self.memory.what} on {self.hw.name}, {self.tokens:,} tokens"

    @property
    def tokens(self) -> int:
        """Rows that are played; of verify passes that were made here those that are kept, which are the recorded ones."""
        return self.trace.n_tokens if self.speculation is None else int(self.trace.kept.sum())

    @property
    def cpu_blocks(self) -> int:
        """Of how many of the first layers the CPU has all."""
        return self.knobs.cpu_blocks(self.model)

    @property
    def owners(self) -> tuple[int, ...]:
        """Under an engine the card of each layer, and of the output; empty where there is one card."""
        if self.runtime is None or len(self.hw.devices) == 1:
            return ()
        return cards.dealt(self.hw, len(self.model.layers), self.cpu_blocks, self.knobs.tensor_split)

    @property
    def deciding(self) -> int:
        """Devices that decide for themselves: an engine's cards hold what they hold, as one."""
        return len(self.hw.devices) if self.runtime is None else 1

    @cached_property
    def trace_digest(self) -> str:
        return self.recorded.meta.get("digest") or traces.digest(self.recorded)

    @property
    def kv_format(self) -> str:
        """The storage format of the KV cache; empty where it is the usual one beside these weights."""
        return "" if self.model.kv_format == kv_default(self.model.format) else self.model.kv_format

    @property
    def kv_for(self) -> str:
        """What the KV cache is reserved for, in words."""
        beside = f", windows with {self.microbatch:,} more" if self.model.has_windows else ""
        stored = f" in {self.kv_format}" if self.kv_format else ""
        if self.room is not None and in_blocks(self.clock_driven):
            each = " on each device" * (self.room.ranks > 1)
            return f"KV{stored} in {self.room.kv_blocks:,} blocks of {BLOCK} positions{each}"
        return f"KV{stored} for {self.context:,} positions{beside}"
