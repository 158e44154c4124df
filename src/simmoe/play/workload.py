"""What is played, on what: a model and a trace on a machine, without a residency plan."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from simmoe import hardware_profiles
from simmoe.play import cards, extent, facts, popularity, speculation
from simmoe.play.engine_costs import costs_of
from simmoe.play.engine_memory import memory_of
from simmoe.play.knobs import Knobs
from simmoe.play.lengths import Lengths, drawn, of_requests, recorded
from simmoe.play.low_copies import in_two_formats
from simmoe.play.memory import MICROBATCH, kv_bytes
from simmoe.play.opened import opened, opened_draft
from simmoe.play.passes import clock_driven, scheduled
from simmoe.play.popularity import Unplayed
from simmoe.play.room import RoomAsked, blocks_bytes, cuts, in_blocks, require_whole_steps, room_of, takes
from simmoe.play.setting import Setting
from simmoe.play.speculation import Speculation
from simmoe.play.usual_runtime import usual_runtime
from simmoe.policies import runtime as runtimes
from simmoe.simulator.arrays import Ints
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.fitted import Fitted
from simmoe.simulator.decide.gather import Requests, requests_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.tensor_parallel import padded
from simmoe.simulator.time.engines import Engine, engine, engine_of_passes
from simmoe.workloads.format.trace import first_tokens

MADE = (
    "requests",
    "costs",
    "ends",
    "_behind",
    "_with_low",
)  # once, of what a workload has: not of a changed copy of it


class Workload(Setting):
    """A model and a trace on a machine: everything that does not depend on the residency plan, computed once."""

    def __init__(
        self,
        hw: str | Path | Hardware,
        trace: str | Path | Trace | None = None,
        model: str | Path | ModelShape | None = None,
        *,
        format: str | None = None,
        low_format: str = "Q2_K",
        kv_format: str | None = None,
        tokens: int | None = None,
        context: int | None = None,
        microbatch: int | None = None,
        graphs: bool = False,
        prefill_chunk: int | None = None,
        batch: int | None = None,
        schedule: str = "recorded",
        max_batch: int | None = None,
        max_tokens: int | None = None,
        kv_blocks: int | None = None,
        kv_memory: int | str | None = None,
        prefix_cache: bool = False,
        unplayed: Unplayed | None = None,
        prompt: int | str | None = None,
        generate: int | str | None = None,
        depth: int | str | None = None,
        requests: int | None = None,
        routing: str | None = None,
        runtime: str | Path | Runtime = runtimes.IDEAL,
        threads: int | None = None,
        batch_threads: int | None = None,
        op_offload: bool = True,
        gpu_layers: int | None = None,
        kv_offload: bool = True,
        mmap: bool = True,
        tensor_split: str | None = None,
        draft: int | None = None,
        acceptance: str | None = None,
        draft_cost: str | None = None,
        draft_model: str | Path | ModelShape | None = None,
        draft_format: str | None = None,
        rejected: str = speculation.REJECTED[0],
        rollback: str = speculation.ROLLBACK[0],
        seed: int = 0,
    ) -> None:
        """trace: None draws routing of the class `routing` with `seed`, in the geometry of `model`. prompt, generate, depth: lengths of
        each sequence in tokens, and positions that it holds before them (play/lengths.py). tokens: play the first so many (whole
        passes). context: positions to reserve KV memory for. microbatch: what a window keeps beside its own (default 512). graphs:
        launches come from CUDA graphs. prefill_chunk, batch, schedule: other passes than recorded (policies/schedule). max_batch: how
        many sequences a clock-driven schedule may run together (default: all). max_tokens, kv_blocks, kv_memory, prefix_cache: what else
        it may use (play/room.py). requests: how many sequences of the asked lengths
        arrive under it. runtime: the engine whose costs these are; its threads on the CPU, batch_threads those of
        prompts; op_offload: whether it may carry the CPU's
        experts over the link in large passes; gpu_layers, kv_offload: what of the model and of the KV cache the GPU has; mmap:
        whether its file is mapped, else what the CPU has lies in pinned memory; tensor_split: in which proportions it deals layers to
        several cards (default: by their memories). draft … rejected: guesses that each decode pass verifies, which are right, what one
        takes, what rejected ones ask for and how they are forgotten (play/speculation.py). unplayed: first rows that a policy such as
        popular=50%:first=20% counts, and that are not played. Raises UserError."""
        self.hw = hw if isinstance(hw, Hardware) else hardware_profiles.load(hw)
        self.runtime = runtimes.given(usual_runtime(self.hw) if runtime == runtimes.USUAL else runtime)
        if self.runtime is not None and not mmap:
            self.runtime = replace(self.runtime, host_memory="pinned")
        self.knobs = Knobs(threads, batch_threads, op_offload, gpu_layers, kv_offload, mmap, tensor_split)
        cards.check(self.hw, self.runtime, tensor_split)
        self.clock_driven = clock_driven(schedule)
        serving = self.clock_driven is not None
        asked = Lengths(prompt, generate, batch, depth, seed=seed)
        self.lengths = of_requests(asked, requests, max_batch, schedule, serving, trace is None)
        self.model, held, self.model_name = opened(trace, model, format, kv_format, routing)
        self.low_format = low_format
        extent.require(extent.of(self.lengths, held or self.model, together=batch is not None, tokens=tokens))
        self.text = recorded(held, self.lengths) if held else drawn(self.model, routing, self.lengths, seed)
        self.recorded = self.text.trace
        if self.runtime is not None and prefill_chunk is None and self.clock_driven is None:
            prefill_chunk = microbatch or self.runtime.microbatch or None
        whole = scheduled(self.recorded, schedule, prefill_chunk, batch)
        if unplayed is not None and self.clock_driven is not None:
            raise UserError(
                f"{unplayed.said} counts the first passes, and which come first under --schedule {schedule} is not known "
                "beforehand: count another trace"
            )
        self.counted, whole = popularity.parted(whole, unplayed)
        self.trace, self.all_tokens = first_tokens(whole, tokens), whole.n_tokens
        self.reserved_for = whole
        self.prefill_chunk, self.batch, self.schedule = prefill_chunk, batch, schedule
        self.draft_model = opened_draft(draft_model, draft_format)
        self.speculation = self._draft(draft, acceptance, draft_cost, rejected, rollback)
        if self.speculation is not None:
            self.trace = speculation.verified(self.trace, self.speculation, seed)
        self.context = int(whole.position.max()) + 1 if context is None else self._enough(context)
        self.microbatch = self._beside_windows(microbatch)
        self.room_asked = RoomAsked(max_batch, max_tokens, kv_blocks, kv_memory, prefix_cache)
        self.graphs = graphs
        self._begin(whole)
        self.largest_pass = self._largest_pass(whole)  # that an engine reserves buffers for
        self.memory = memory_of(self)

    def _begin(self, whole: Trace) -> None:
        """What follows from the machine and from the rows that are there."""
        self.begun: Workload = self
        sequences = len(np.unique(self.trace.sequence))
        self.room = room_of(
            self.room_asked,
            self.schedule,
            self.clock_driven,
            sequences,
            self.context,
            self.microbatch,
            self.hw,
            self.model,
        )
        if self.room is not None:
            require_whole_steps(self.room, self.clock_driven, self.trace)
        self.max_batch = None if self.room is None else self.room.max_batch
        self.kv_bytes = kv_bytes(self.model, whole, self.context, self.max_batch, self.microbatch)
        if self.room is not None and in_blocks(self.clock_driven):
            self.kv_bytes = blocks_bytes(self.model, self.room.kv_blocks, self.room.max_batch)
        self.placements = dict[tuple[str, int], Ints]()  # of play/plan.py, so that each is asked once
        self.fits = dict[Any, str | Fitted]()  # scopes of play/plan.py, the same

    def _largest_pass(self, whole: Trace) -> int:
        widest = max(int(np.diff(one.pass_ptr).max()) for one in (whole, self.trace))
        if self.room is not None and cuts(self.clock_driven):
            widest = min(self.room.max_tokens, whole.n_tokens)
        return max(self.microbatch, widest)

    def choices(self) -> dict[str, Any]:
        """What was chosen of machine, engine and model, by column of a table."""
        return facts.choices(self)

    def facts(self) -> dict[str, Any]:
        """What was played, by name and digest."""
        return facts.facts(self)

    def _draft(
        self, draft: int | None, acceptance: str | None, cost: str | None, rejected: str, rollback: str
    ) -> Speculation | None:
        """The draft that is asked for. Raises UserError under a schedule that forms passes while time goes on, and for a draft model on
        several cards."""
        found = speculation.asked(draft, acceptance, cost, rejected, rollback, self.draft_model)
        if found is not None and self.draft_model is not None and len(self.hw.devices) > 1:
            raise UserError(
                f"--draft-model is simulated on one device, and {self.hw.name} has several: say what a guess takes with --draft-cost"
            )
        if found is not None and self.clock_driven is not None:
            raise UserError(
                f"--draft {draft} makes verify passes beforehand, and --schedule {self.schedule} forms its passes while time goes on: "
                "leave one of them out"
            )
        return found

    def _enough(self, context: int) -> int:
        """A context that has room for every position that is played. Raises UserError."""
        needed = int(self.trace.position.max()) + 1
        if 1 <= context < needed:
            raise UserError(
                f"--context {context} reserves KV memory for fewer positions than are played, {needed:,}; give at least so many, or play "
                "less with --tokens"
            )
        return context

    def _beside_windows(self, microbatch: int | None) -> int:
        """Positions that a window keeps beside its own: the tokens that an engine reads in a pass. Raises UserError where nothing reads
        so many: a model without windows, under no engine."""
        if (
            microbatch is not None
            and not self.model.has_windows
            and self.runtime is None
            and "microbatch" not in takes(self.clock_driven)
        ):
            raise UserError(
                f"--microbatch {microbatch}: no layer of {self.model.name} has a window or chunks, so nothing would change; leave it out, "
                "or name a --runtime, which reads prompts so many tokens at a time"
            )
        if microbatch == 0 and self.runtime is not None:
            raise UserError("--microbatch 0: an engine reads a prompt in passes of 1 token or more; give how many")
        usual = (self.runtime and self.runtime.microbatch) or MICROBATCH
        return usual if microbatch is None else microbatch

    @cached_property
    def requests(self) -> Requests:
        return requests_of(self.trace)

    @cached_property
    def costs(self) -> Costs:
        return costs_of(self)

    def engine(self, wish: str = "auto", *, spans: bool = False, runs: int = 1) -> Engine:
        """The engine that plays `runs` runs of this workload; see simulator/time/engines.py."""
        if self.clock_driven is not None:  # what its passes will ask for is not known
            return engine_of_passes(wish, self.trace.expert_ids.size * runs, spans=spans)
        return engine(wish, self.costs, self.requests, spans=spans, runs=runs)

    def on(self, hw: Hardware, runtime: Runtime | None = None) -> Workload:
        """The same workload on another machine; under a runtime with other constants, where it is given."""
        other = self._again(hw, self.begun.trace, runtime or self.runtime)
        if "requests" in self.__dict__ and self.begun is self:  # of the same rows
            other.requests = self.requests
        return other

    @cached_property
    def ends(self) -> tuple[Workload, Workload]:
        """The same workload at the slow and at the fast end of every figure of the machine, and of every constant of the runtime."""
        slow, fast = hardware_profiles.bounds(self.hw)
        engine = self.runtime
        return self.on(slow, engine and engine.slowest), self.on(fast, engine and engine.fastest)

    def first(self, tokens: int) -> Workload:
        """The same workload, but only the first tokens of its trace."""
        return self._again(self.hw, first_tokens(self.begun.trace, tokens), self.runtime)

    def split(self, tensor_split: str | None) -> Workload:
        """The same workload with its layers dealt otherwise."""
        if tensor_split == self.knobs.tensor_split:
            return self
        other = self._copy()
        other.knobs = self.knobs._replace(tensor_split=tensor_split)
        other.memory = memory_of(other)
        other.begun = other if self.begun is self else self.begun.split(tensor_split)
        if "requests" in self.__dict__:
            other.requests = self.requests
        return other

    def played(self, trace: Trace, requests: Requests) -> Workload:
        """The same workload with the passes that a clock-driven schedule has made of its trace, and what they ask for."""
        other = self._copy()
        other.trace, other.requests = trace, requests
        return other

    def behind(self, passes: int) -> Workload:
        """The same workload without its first passes, which only warm it up; its memory is still that of all of them."""
        if passes not in self._behind:
            trace, begin = self.trace, int(self.trace.pass_ptr[passes])
            other = self._copy()
            other.trace = trace.taken(slice(begin, None), trace.pass_ptr[passes:] - begin, trace.phase[passes:])
            self._behind[passes] = other
        return self._behind[passes]

    @cached_property
    def _behind(self) -> dict[int, Workload]:
        return {}

    @property
    def warm_up_tokens(self) -> int:
        """Tokens of the passes that were cut off."""
        if self.clock_driven is not None:  # it plays rows again, and refuses some
            return 0
        return self.begun.trace.n_tokens - self.trace.n_tokens

    def with_low(self) -> Workload:
        """The same workload with low copies of all experts beside them. Raises UserError where there are none that are smaller."""
        return self if self.model.low else self._with_low

    @cached_property
    def _with_low(self) -> Workload:
        other = self._copy()
        other.model = in_two_formats(self.model, self.model_name, self.low_format)
        other.memory = replace(self.memory, model=other.model)
        other.begun = other if self.begun is self else self.begun.with_low()
        if "requests" in self.__dict__:
            other.requests = self.requests
        return other

    def as_one_of(self, devices: int) -> Workload:
        """The same workload as the work of one of so many devices, which divide every layer and all do the same."""
        other = self._copy()
        other.alike, other.model = devices, padded(self.model, devices)
        if "requests" in self.__dict__:
            other.requests = self.requests
        return other

    def _copy(self) -> Workload:
        """The same without what was made of it."""
        other = copy.copy(self)
        for made in MADE:
            other.__dict__.pop(made, None)
        return other

    def _again(self, hw: Hardware, trace: Trace, runtime: Runtime | None) -> Workload:
        """The same before any pass is formed, with these rows on that machine; its largest pass is still that of all of them."""
        other = self._copy()
        other.hw, other.trace, other.runtime = hw, trace, runtime
        other._begin(trace)
        other.memory = memory_of(other)
        return other
