"""What is played, on what: a model and a trace on a machine, without a residency plan."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from simmoe import hardware_profiles
from simmoe.play import cards, extent, popularity, speculation
from simmoe.play.draft_model import draft_model_ps
from simmoe.play.engine_files import embeds_on_the_host
from simmoe.play.identity import policy_identity
from simmoe.play.lengths import Lengths, drawn, of_requests, recorded
from simmoe.play.memory import MICROBATCH, Memory, kv_bytes
from simmoe.play.passes import clock_driven, scheduled
from simmoe.play.popularity import Unplayed
from simmoe.play.room import RoomAsked, blocks_bytes, cuts, in_blocks, room_of, said_of, takes
from simmoe.play.speculation import Speculation
from simmoe.play.traced import traced
from simmoe.play.usual_runtime import usual_runtime
from simmoe.policies import runtime as runtimes
from simmoe.simulator.arrays import Ints
from simmoe.simulator.card_costs import CardCosts
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.fitted import Fitted
from simmoe.simulator.decide.gather import Requests, requests_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.simulator.nouns.serving import BLOCK
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.plain import plain
from simmoe.simulator.runtime_costs import RuntimeCosts
from simmoe.simulator.time.engines import Engine, engine, engine_of_passes
from simmoe.workloads import models
from simmoe.workloads.format import trace as traces
from simmoe.workloads.format.trace import first_tokens
from simmoe.workloads.models.formats import FORMATS, kv_default

SMALL = ("Q2_K", "IQ2_XXS")  # of low copies, the usual first


class Workload:
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
        prompt: int | None = None,
        generate: int | None = None,
        depth: int | None = None,
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
        takes, and what rejected ones ask for (play/speculation.py). unplayed: first rows that a policy such as popular=50%:first=20%
        counts, and that are not played. Raises UserError."""
        self.hw = hw if isinstance(hw, Hardware) else hardware_profiles.load(hw)
        self.runtime = runtimes.given(usual_runtime(self.hw) if runtime == runtimes.USUAL else runtime)
        if self.runtime is not None and not mmap:
            self.runtime = replace(self.runtime, host_memory="pinned")
        self.threads, self.op_offload, self.gpu_layers, self.kv_offload = threads, op_offload, gpu_layers, kv_offload
        self.mmap, self.batch_threads, self.tensor_split = mmap, batch_threads, tensor_split
        cards.check(self.hw, self.runtime, tensor_split)
        self.clock_driven = clock_driven(schedule)
        self.lengths = Lengths(prompt, generate, batch, depth)
        serving = self.clock_driven is not None
        self.lengths = of_requests(self.lengths, requests, max_batch, schedule, serving, trace is None)
        self.model, held = _opened(trace, model, format, kv_format, routing)
        self.low_format, self.model_name = low_format, _name_of(model, held)
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
        self.begun = self  # of a played workload: the one that a clock-driven schedule made passes of
        self.prefill_chunk, self.batch, self.schedule = prefill_chunk, batch, schedule
        self.draft_model = _draft_model(draft_model, draft_format)
        self.speculation = self._draft(draft, acceptance, draft_cost, rejected)
        if self.speculation is not None:
            self.trace = speculation.verified(self.trace, self.speculation, seed)
        self.context = int(whole.position.max()) + 1 if context is None else self._enough(context)
        self.microbatch = self._beside_windows(microbatch)
        self.room_asked = RoomAsked(max_batch, max_tokens, kv_blocks, kv_memory, prefix_cache)
        sequences = len(np.unique(self.trace.sequence))
        self.room = room_of(
            self.room_asked, schedule, self.clock_driven, sequences, self.context, self.microbatch, self.hw, self.model
        )
        self.max_batch = None if self.room is None else self.room.max_batch
        self.kv_bytes = kv_bytes(self.model, whole, self.context, self.max_batch, self.microbatch)
        if self.room is not None and in_blocks(self.clock_driven):
            self.kv_bytes = blocks_bytes(self.model, self.room.kv_blocks, self.room.max_batch)
        widest = max(int(np.diff(one.pass_ptr).max()) for one in (whole, self.trace))
        if self.room is not None and cuts(self.clock_driven):
            widest = min(self.room.max_tokens, whole.n_tokens)
        self.largest_pass = max(self.microbatch, widest)  # that an engine reserves buffers for
        self.memory = self._memory()
        self.graphs = graphs
        self.placements = dict[tuple[str, int], Ints]()  # of play/plan.py, so that each is asked once
        self.fits = dict[Any, str | Fitted]()  # scopes of play/plan.py, the same
        self._low: Workload | None = None

    def __repr__(self) -> str:
        return plain(f"<{self.named}>")

    @property
    def named(self) -> str:
        return f"{self.memory.what} on {self.hw.name}, {self.tokens:,} tokens"

    @property
    def tokens(self) -> int:
        """Rows that are played; of verify passes that were made here those that are kept, which are the recorded ones."""
        return self._tokens_of(self.trace)

    def _tokens_of(self, trace: Trace) -> int:
        return trace.n_tokens if self.speculation is None else int(trace.kept.sum())

    def choices(self) -> dict[str, Any]:
        """What was chosen of machine, engine and model, by column of a table (play/tabular.py)."""
        runtime = runtimes.IDEAL if self.runtime is None else self.runtime.name
        router = self.trace.meta.get("router") if self.text.routing is None else f"drawn: {self.text.routing}"
        return {
            "hw": self.hw.name, "runtime": runtime, "model": self.model.name, "format": self.model.format, "router": router,
            "trace": self.trace_digest, "tokens": self.tokens, "context": self.context, "batch": self.batch,
        }  # fmt: skip

    def _draft(self, draft: int | None, acceptance: str | None, cost: str | None, rejected: str) -> Speculation | None:
        """The draft that is asked for. Raises UserError under a schedule that forms passes while time goes on, and for a draft model on
        several cards."""
        found = speculation.asked(draft, acceptance, cost, rejected, self.draft_model)
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

    @property
    def owners(self) -> tuple[int, ...]:
        """Under an engine the card of each layer, and of the output; empty where there is one card."""
        if self.runtime is None or len(self.hw.devices) == 1:
            return ()
        return cards.dealt(self.hw, len(self.model.layers), self.cpu_blocks, self.tensor_split)

    @property
    def deciding(self) -> int:
        """Devices that decide for themselves: an engine's cards hold what they hold, as one."""
        return len(self.hw.devices) if self.runtime is None else 1

    def _memory(self) -> Memory:
        whole = self._of_engine(self.model, self.kv_bytes, self.cpu_blocks)
        if not (owners := self.owners):
            return Memory(self.hw, self.model, self.kv_bytes, **whole)
        each, sequences = [], self.kv_bytes // max(self.model.kv_bytes(self.context, self.microbatch), 1)
        for card, name in enumerate(self.hw.devices):
            part = cards.share_of(self.model, owners, card)
            kv = part.kv_bytes(self.context, self.microbatch) * sequences
            hw = replace(self.hw.alone(card), name=f"{name} of {self.hw.name}")
            each.append(Memory(hw, part, kv, **self._of_engine(part, kv, 0 if card else self.cpu_blocks)))
        return cards.CardsMemory(self.hw, self.model, self.kv_bytes, **whole, cards=tuple(each), owners=owners)

    def split(self, tensor_split: str | None) -> Workload:
        """The same workload with its layers dealt otherwise."""
        if tensor_split == self.tensor_split:
            return self
        other = copy.copy(self)
        other.tensor_split = tensor_split
        other.memory = other._memory()
        other.begun = other if self.begun is self else self.begun.split(tensor_split)
        for made in ("costs", "_behind", "ends"):
            other.__dict__.pop(made, None)
        return other

    def _of_engine(self, model: ModelShape, kv_bytes: int, blocks: int) -> dict[str, Any]:
        """What an engine holds in memory beside weights and caches of a model or a part of it; nothing without one. blocks: of how many
        of its first layers the CPU has all."""
        drafts = self.draft_model is not None and self.speculation is not None
        draft = {"draft_bytes": self._draft_bytes} if drafts else {}
        if self.runtime is None:
            return draft
        beside = self.runtime.of("buffers.beside")
        carries = self.op_offload and self.runtime.carries and not self.hw.unified
        layers = model.layers
        dense = sum(x.attention.bytes + x.ffn.bytes + x.shared.bytes for x in layers[:blocks])
        dense += model.head.bytes * (self.gpu_layers == 0) + model.embedding.bytes * embeds_on_the_host(self.runtime)
        apart = self.hw.cpu is not None and self.hw.cpu.memory != self.hw.device.memory
        if not apart:  # one memory has all of it
            dense, blocks = 0, 0
        one = [layer.kv_bytes(self.context, self.microbatch) for layer in layers]
        there = 0 if self.runtime.only_stores else blocks
        kv = kv_bytes * sum(one[: None if apart and not self.kv_offload else there]) // max(sum(one), 1)
        return {
            "pass_tokens": 0 if beside is None else self.largest_pass, "carries": carries, "beside_bytes_of_engine": int(beside or 0),
            "host_dense_bytes": dense, "host_kv_bytes": kv, **draft,
        }  # fmt: skip

    @property
    def _draft_bytes(self) -> int:
        """Weights of the draft, and its KV cache for one sequence."""
        model = self.draft_model
        assert model is not None
        return model.dense_bytes + model.all_expert_bytes + model.kv_bytes(self.context, self.microbatch)

    @property
    def cpu_blocks(self) -> int:
        """Of how many of the first layers the CPU has all: the output counts as one layer behind the last."""
        if self.gpu_layers is None:
            return 0
        layers = len(self.model.layers)
        return min(max(layers + 1 - self.gpu_layers, 0), layers)

    @cached_property
    def trace_digest(self) -> str:
        return self.recorded.meta.get("digest") or traces.digest(self.recorded)

    @cached_property
    def requests(self) -> Requests:
        return requests_of(self.trace)

    @cached_property
    def costs(self) -> Costs:
        found = self._costs(self.model, self.trace)
        if self.speculation is None:
            return found
        if self.draft_model is None:
            found.draft(self.speculation.draft_ps(self.trace))
        else:
            found.draft(draft_model_ps(self._draft_costs, self.draft_model, self.trace))
        return found

    def _draft_costs(self, model: ModelShape, trace: Trace) -> Costs:
        """Of a draft, of which the CPU has nothing where there is a GPU."""
        if self.runtime is None:
            return Costs(self.hw, model, trace, graphs=self.graphs)
        return RuntimeCosts(self.hw, model, trace, self.runtime, threads=self.threads, batch_threads=self.batch_threads)

    def _costs(self, model: ModelShape, trace: Trace) -> Costs:
        if self.runtime is None:
            return Costs(self.hw, model, trace, graphs=self.graphs)
        how: dict[str, Any] = {"threads": self.threads, "batch_threads": self.batch_threads, "offload": self.op_offload}
        how |= {"cpu_blocks": self.cpu_blocks, "kv_on_cpu": not self.kv_offload, "head_on_cpu": self.gpu_layers == 0}
        if owners := self.owners:
            return CardCosts(self.hw, model, trace, self.runtime, owners, **how)
        return RuntimeCosts(self.hw, model, trace, self.runtime, **how)

    def engine(self, wish: str = "auto", *, spans: bool = False, runs: int = 1) -> Engine:
        """The engine that plays `runs` runs of this workload; see simulator/time/engines.py."""
        if self.clock_driven is not None:  # what its passes will ask for is not known
            return engine_of_passes(wish, self.trace.expert_ids.size * runs, spans=spans)
        return engine(wish, self.costs, self.requests, spans=spans, runs=runs)

    def on(self, hw: Hardware, runtime: Runtime | None = None) -> Workload:
        """The same workload on another machine; under a runtime with other constants, where it is given."""
        other = self._again(hw, self.begun.trace)
        other.runtime = runtime or self.runtime
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
        return self._again(self.hw, first_tokens(self.begun.trace, tokens))

    def played(self, trace: Trace, requests: Requests) -> Workload:
        """The same workload with the passes that a clock-driven schedule has made of its trace, and what they ask for."""
        other = copy.copy(self)
        for made in ("costs", "_behind", "ends"):
            other.__dict__.pop(made, None)
        other.trace, other.requests = trace, requests
        return other

    def behind(self, passes: int) -> Workload:
        """The same workload without its first passes, which only warm it up; its memory is still that of all of them."""
        if passes not in self._behind:
            trace, begin = self.trace, int(self.trace.pass_ptr[passes])
            other = copy.copy(self)
            other.trace = trace.taken(slice(begin, None), trace.pass_ptr[passes:] - begin, trace.phase[passes:])
            for made in ("requests", "costs", "_behind", "ends"):
                other.__dict__.pop(made, None)
            self._behind[passes] = other
        return self._behind[passes]

    def with_low(self) -> Workload:
        """The same workload with low copies of all experts beside them. Raises UserError where there are none that are smaller."""
        if self.model.low:
            return self
        if self._low is None:
            other = copy.copy(self)
            other.model = self._in_two_formats()
            other.memory = replace(self.memory, model=other.model)
            other.begun = other if self.begun is self else self.begun.with_low()
            for made in ("costs", "_behind"):
                other.__dict__.pop(made, None)
            self._low = other
        return self._low

    def _in_two_formats(self) -> ModelShape:
        """The model with a low copy of one expert of each MoE layer."""
        if self.model_name is None:
            raise UserError(
                f"--low-format {self.low_format}: a loaded model has its own formats; name the model or its file, or give it `low`"
            )
        other = models.load(self.model_name, self.low_format)
        if not self._smaller(other):
            raise UserError(
                f"--low-format {self.low_format}: a copy of an expert is as large as the expert, {self.model.name} at "
                f"{self.model.format}; {self._smaller_format()}"
            )
        return replace(self.model, low=tuple(other.layers[i].expert for i in other.moe_layers), low_format=other.format)

    def _smaller(self, other: ModelShape) -> bool:
        """Whether each of its experts has fewer bytes than here."""
        here, there = ([model.layers[i].expert.bytes for i in model.moe_layers] for model in (self.model, other))
        return all(low < full for low, full in zip(there, here))

    def _smaller_format(self) -> str:
        """A format to name, if there is one. Where a row holds no whole blocks of a format, a file keeps it in a larger one."""
        assert self.model_name is not None  # a loaded model is refused
        for name in (*SMALL, *FORMATS):
            with suppress(UserError):
                if self._smaller(models.load(self.model_name, name)):
                    return f"name a smaller format, such as {name}"
        return "no format that is known makes one smaller"

    @cached_property
    def _behind(self) -> dict[int, Workload]:
        return {}

    @property
    def warm_up_tokens(self) -> int:
        """Tokens of the passes that were cut off."""
        if self.clock_driven is not None:  # it plays rows again, and refuses some
            return 0
        return self.begun.trace.n_tokens - self.trace.n_tokens

    def _again(self, hw: Hardware, trace: Trace) -> Workload:
        same: dict[str, Any] = (
            {} if self.clock_driven is None else {"schedule": self.schedule, **self.room_asked._asdict()}
        )
        if self.model.has_windows:
            same["microbatch"] = self.microbatch
        other = Workload(hw, trace, self.model, context=self.context, graphs=self.graphs, **same)
        for name in (
            "low_format",
            "model_name",
            "runtime",
            "threads",
            "batch_threads",
            "op_offload",
            "gpu_layers",
            "kv_offload",
            "mmap",
            "tensor_split",
            "speculation",
            "draft_model",
        ):
            setattr(other, name, getattr(self, name))
        other.microbatch, other.largest_pass = self.microbatch, self.largest_pass
        other.memory = other._memory()
        other.counted, other.text, other.lengths = self.counted, self.text, self.lengths
        return other

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
            return f"KV{stored} in {self.room.kv_blocks:,} blocks of {BLOCK} positions"
        return f"KV{stored} for {self.context:,} positions{beside}"

    def facts(self) -> dict[str, Any]:
        """What was played, by name and digest."""
        meta = self.trace.meta
        said: dict[str, Any] = (
            {} if self.schedule == "recorded" else {"schedule": policy_identity("schedule", self.schedule)}
        )
        if self.room is not None:
            said |= said_of(self.room, self.clock_driven)
        if self.model.has_windows or self.runtime is not None:
            said["microbatch"] = self.microbatch
        if self.runtime is not None:
            said["runtime"] = {"name": self.runtime.name, "digest": self.runtime.digest}
            said |= {
                name: getattr(self, name) for name in ("threads", "op_offload", "gpu_layers", "kv_offload", "mmap")
            }
            said |= {} if self.batch_threads is None else {"batch_threads": self.batch_threads}
            said |= {} if self.tensor_split is None else {"tensor_split": self.tensor_split}
        lengths = {name: getattr(self.lengths, name) for name in ("prompt", "generate", "depth")}
        if self.clock_driven is not None:
            lengths["requests"] = self.lengths.sequences
        said |= {name: tokens for name, tokens in lengths.items() if tokens is not None}
        if self.speculation is not None:
            said["speculation"] = self.speculation.facts()
            if self.draft_model is not None:
                said["speculation"]["model_digest"] = self.draft_model.digest
        if self.text.routing is not None:
            said["routing"] = self.text.routing
        kv = {"kv_format": self.kv_format} if self.kv_format else {}
        kv |= {"low_format": self.model.low_format} if self.model.low else {}
        return {
            "hardware": {"name": self.hw.name, "digest": self.hw.digest},
            "model": {"name": self.model.name, "format": self.model.format, **kv, "digest": self.model.digest},
            "trace": {"model": meta.get("model"), "router": meta.get("router"), "digest": self.trace_digest,
                      "tokens": self._tokens_of(self.begun.trace), "of_tokens": self.all_tokens,
                      "prefill_chunk": self.prefill_chunk, "batch": self.batch},
            "context": self.context, "graphs": self.graphs, **said,
        }  # fmt: skip


def _opened(
    trace: str | Path | Trace | None,
    model: str | Path | ModelShape | None,
    format: str | None,
    kv_format: str | None,
    routing: str | None,
) -> tuple[ModelShape, Trace | None]:
    """The model, and the trace if there is one. Raises UserError where neither a trace nor a model is named."""
    if trace is not None:
        if routing is not None:
            raise UserError(f"--routing {routing} is drawn where there is no trace: leave --routing or --trace out")
        whole = traced(trace, model)
        shape = model if isinstance(model, ModelShape) else _model_of(whole, model, format, kv_format)
        return shape, whole
    if model is None:
        raise TypeError("a workload needs a trace or a model")
    shape = model if isinstance(model, ModelShape) else models.load(model, format, kv_format)
    return shape, None


def _draft_model(model: str | Path | ModelShape | None, format: str | None) -> ModelShape | None:
    """The draft, where it is a model. Raises UserError."""
    if model is None or isinstance(model, ModelShape):
        if format is not None:
            raise UserError(f"--draft-format {format} is for a draft by name or file: name it with --draft-model")
        return model
    return models.load(model, format)


def _name_of(model: str | Path | ModelShape | None, trace: Trace | None) -> str | Path | None:
    """Of the model, where it is not a loaded one."""
    if isinstance(model, ModelShape):
        return None
    said: str | Path | None = model or (trace.meta.get("model") if trace else None)
    return said


def _model_of(trace: Trace, model: str | Path | None, format: str | None, kv_format: str | None) -> ModelShape:
    name = model or trace.meta.get("model")
    if not name:
        raise UserError(
            f"the trace does not say its model; name a shape with --model, a file or one of the {len(models.available())} that "
            "`simmoe model list` lists"
        )
    return models.load(name, format, kv_format)
