"""One scenario: every option of a run, each declared once. The command line, the functions of `simmoe` and the axes of a sweep
space are made from these fields, and a workload and a plan are built from them here and nowhere else.

Nothing at the head of this file imports numpy, so that --help starts at once.
"""
# ruff: noqa: RUF009  (option() makes a dataclasses.field)

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simmoe.play.box import PARTS, joined
from simmoe.play.kinds import (
    Acceptance,
    Changes,
    Count,
    Input,
    Policy,
    Positions,
    Scope,
    Size,
    Switch,
    Time,
    Words,
    changes,
)
from simmoe.play.kinds import Kind as Text
from simmoe.play.length_words import Tokens
from simmoe.play.load_words import Arrivals, Rate, joined_process
from simmoe.play.options import declared, option
from simmoe.simulator.errors import UserError

if TYPE_CHECKING:
    from simmoe.play.plan import Plan
    from simmoe.play.popularity import Unplayed
    from simmoe.play.workload import Workload
    from simmoe.simulator.nouns.hardware import Hardware
    from simmoe.simulator.nouns.model import ModelShape
    from simmoe.simulator.nouns.runtime import Runtime
    from simmoe.simulator.nouns.trace import Trace

BESIDE_BOUNDS = {  # options that would change nothing beside a bound
    "everything": {
        "scope": "has no quotas", "miss": "misses nothing", "page_cache": "loads nothing", "prefetch": "prefetches nothing",
        "low_budget": "misses nothing", "cold_per_sequence": "fills the slots for good",
    },
    "nothing": {
        **dict.fromkeys(("budget", "memory", "low_budget"), "keeps no expert"), "scope": "has no quotas", "prefetch": "prefetches nothing",
        "cold_per_sequence": "empties the slots at each event",
    },
}  # fmt: skip
LOW_FORMAT = "Q2_K"  # of low copies
MACHINE, WORKLOAD, MEMORY, POLICY, ENGINE = "machine", "model and trace", "memory", "policy", "engine's behaviour"
REQUESTS, DRAFT = "requests that arrive, under a clock-driven --schedule", "speculative decoding"
NAME = "NAME|FILE"


_OF_RUNTIME = {
    "threads": None,
    "batch_threads": None,
    "op_offload": True,
    "mmap": True,
    "gpu_layers": None,
    "kv_offload": True,
    "tensor_split": None,
}


def _hardware() -> type:
    from simmoe.simulator.nouns.hardware import Hardware

    return Hardware


def _trace() -> type:
    from simmoe.simulator.nouns.trace import Trace

    return Trace


def _model() -> type:
    from simmoe.simulator.nouns.model import ModelShape

    return ModelShape


def _scopes() -> tuple[str, ...]:
    from simmoe.simulator.decide.decisions import SCOPES

    return SCOPES


def _runtime() -> type:
    from simmoe.simulator.nouns.runtime import Runtime

    return Runtime


def _starts() -> tuple[str, ...]:
    from simmoe.simulator.decide.start import STARTS

    return STARTS


def _ways_to_prefetch() -> tuple[str, ...]:
    from simmoe.play.plan import PREFETCH_INTO

    return PREFETCH_INTO


def _rejected() -> tuple[str, ...]:
    from simmoe.play.speculation import REJECTED

    return REJECTED


def _rollback() -> tuple[str, ...]:
    from simmoe.play.speculation import ROLLBACK

    return ROLLBACK


def _engines() -> tuple[str, ...]:
    from simmoe.simulator.time.engines import ENGINES

    return ENGINES


@dataclass(frozen=True)
class Scenario:
    """What is played, on what, and how. Inputs are names of bundled ones, files, or the loaded things themselves."""

    hw: str | Path | Hardware = option(
        Input(_hardware), group=MACHINE, metavar="NAME|FILE[@MODE]", several=True,
        help="hardware profile: bundled name (`simmoe hw list`) or YAML file, and power mode; GPU+HOST puts a card into a host, and "
        "8xh100:nvlink4 is eight devices on a fabric (docs/devices.md)",
    )  # fmt: skip
    trace: str | Path | Trace | None = option(
        Input(_trace), None, group=WORKLOAD, metavar=NAME, several=True,
        help="routing trace: bundled name (`simmoe zoo list`), npz file or, beside --model, the file of another program "
        "(docs/foreign_traces.md) (default: none, and routing is drawn in the geometry of --model)",
    )  # fmt: skip
    _: KW_ONLY
    gpu: str | None = option(
        Text(), None, group=MACHINE, metavar="NAME|FILE[@MODE]", axis=False, several=True,
        help="a profile whose GPU is put into --host, both in place of --hw (docs/hardware_format.md); several under llama.cpp: "
        "rtx_5090+rtx_5090",
    )  # fmt: skip
    host: str | None = option(
        Text(), None, group=MACHINE, metavar=NAME, axis=False, several=True,
        help="what the GPU is plugged into: memory, CPU and slot, such as ddr4_3200_2ch; simmoe hw list --hosts lists them. Without --gpu "
        "its CPU computes",
    )  # fmt: skip
    set: tuple[str, ...] = option(
        Changes(), (), group=MACHINE, metavar="PATH=VALUE", off=True,
        help="change a figure of the hardware, such as link.bandwidth=12GB/s; may be given again",
    )  # fmt: skip
    model: str | Path | ModelShape | None = option(
        Input(_model), None, group=WORKLOAD, metavar=NAME,
        help="model: bundled name (`simmoe model list`), a shape's YAML file, or what a model is published as: GGUF, safetensors, "
        "config.json or their folder (default: as the trace says)",
    )  # fmt: skip
    format: str | None = option(
        Text(), None, group=WORKLOAD, metavar="FORMAT",
        help="storage format of the weights: fp16, Q4_K_M, MXFP4_MOE, fp8_block, awq, … or stored (docs/models.md); default: as released",
    )  # fmt: skip
    low_format: str = option(
        Text(), LOW_FORMAT, group=WORKLOAD, metavar="FORMAT",
        help="storage format of the low copies that a miss rule such as hobbit has serve (default Q2_K; docs/changed_output.md)",
    )  # fmt: skip
    tokens: int | None = option(
        Count("number of tokens", all=True), None, group=WORKLOAD, metavar="N|all", axis=False,
        help="play the first N tokens (default: all, but for the ladder of `simmoe run`)",
    )  # fmt: skip
    kv_format: str | None = option(
        Text(), None, group=MEMORY, metavar="FORMAT",
        help="storage format of the KV cache: f16 (default), bf16, f32, fp8, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl",
    )  # fmt: skip
    prompt: int | str | None = option(
        Tokens("number of tokens", 0), None, group=WORKLOAD, metavar="N|DISTRIBUTION|FILE", off=True,
        help="tokens of each prompt, 1k = 1,024; of a trace its rows are taken; where requests arrive also uniform:100..300, "
        "lognormal:800,cv=1.2 or trace.jsonl, of which each has its own (default: as recorded, or in the file of --arrivals; else 512)",
    )  # fmt: skip
    generate: int | str | None = option(
        Tokens("number of tokens", 0), None, group=WORKLOAD, metavar="N|DISTRIBUTION|FILE", off=True,
        help="tokens that are generated after each prompt, written as those of --prompt (default: the same; else 128)",
    )  # fmt: skip
    depth: int | str | None = option(
        Tokens("number of positions", 0, least=0, files=False), None, group=WORKLOAD, metavar="N|DISTRIBUTION", off=True,
        help="positions that each sequence holds before its first token, 8k = 8,192 (default: none)",
    )  # fmt: skip
    routing: str | None = option(
        Text(), None, group=WORKLOAD, metavar="CLASS|FILE",
        help="without a trace: what routing is drawn from: uniform, typical, a class such as like:qwen3-30b, or the file of a twin that "
        "`simmoe trace fit` wrote (default: the model's own class, else typical)",
    )  # fmt: skip
    context: int | None = option(
        Positions("number of positions"), None, group=MEMORY, metavar="N", off=True,
        help="positions to reserve KV memory for, 32k = 32,768 (default: as the trace needs)",
    )  # fmt: skip
    microbatch: int | None = option(
        Count("number of tokens", 0), None, group=MEMORY, metavar="N", off=True,
        help="the most tokens that an engine reads at a time, which a window of attention keeps beside its own positions (default: 512, as "
        "llama.cpp; 0: none); rows of a pass of --schedule llama_cpp (-ub)",
    )  # fmt: skip
    batch: int | None = option(
        Count("number of sequences"), None, group=WORKLOAD, metavar="N", off=True,
        help="decode N sequences together (default: as recorded; without a trace 1)",
    )  # fmt: skip
    prefill_chunk: int | None = option(
        Count("number of tokens"), None, group=WORKLOAD, metavar="N", off=True,
        help="read prompts in passes of at most N tokens (default: as recorded)",
    )  # fmt: skip
    schedule: str = option(
        Policy(), "recorded", group=WORKLOAD, metavar=NAME,
        help="which rows run in which pass: recorded (default), chunks or batches (with --prefill-chunk or --batch); clock-driven, where "
        "requests arrive: continuous (continuous batching), vllm (the same with prompts in chunks and KV memory in blocks), llama_cpp "
        "(llama-server's slots); or a file (docs/serving.md)",
    )  # fmt: skip
    arrivals: str | None = option(
        Arrivals(), None, group=REQUESTS, metavar="PROCESS|FILE", off=True,
        help="when the sequences arrive, under a clock-driven schedule: poisson:2/s, gamma:2/s,burstiness=0.5, "
        "onoff:2/s,on=10s,off=30s, every:500ms, or a file of timestamps such as trace.jsonl (default: all at 0)",
    )  # fmt: skip
    rate: str | None = option(
        Rate(), None, group=REQUESTS, metavar="N/s", off=True,
        help="how many arrive a second, such as 2/s, where --arrivals does not say it (alone: poisson)",
    )  # fmt: skip
    ttft: str | None = option(
        Time(), None, group=REQUESTS, metavar="TIME", off=True,
        help="goodput, under a clock-driven schedule: the requests a second whose first token comes within this time, such as 2s, after "
        "they arrive (default: any time)",
    )  # fmt: skip
    tpot: str | None = option(
        Time(), None, group=REQUESTS, metavar="TIME", off=True,
        help="goodput: and whose other tokens take this time each, such as 100ms, on average or less (default: any time)",
    )  # fmt: skip
    max_batch: int | None = option(
        Count("number of sequences"), None, group=REQUESTS, metavar="N", off=True,
        help="most sequences that may run together, under a clock-driven schedule (default: continuous all that have arrived, llama_cpp 4 "
        "slots, vllm 256, or 1,024 on a large device)",
    )  # fmt: skip
    max_tokens: int | None = option(
        Count("number of tokens"), None, group=REQUESTS, metavar="N", off=True,
        help="most rows of a pass, prompts and decoding together, of vllm (max_num_batched_tokens) and llama_cpp (-b; default: as the "
        "engine has it, 2,048 or 8,192)",
    )  # fmt: skip
    kv_blocks: int | None = option(
        Count("number of blocks"), None, group=REQUESTS, metavar="N", off=True,
        help="blocks of 16 positions of KV cache for all sequences together, under a schedule such as vllm (default: the context of all "
        "that may run together); under expert_parallel on each device",
    )  # fmt: skip
    kv_memory: int | str | None = option(
        Size(), None, group=REQUESTS, metavar="SIZE", off=True, help="the same as a size, such as 4GB: as many blocks as it has room for"
    )  # fmt: skip
    prefix_cache: bool = option(
        Switch(), False, group=REQUESTS, off=True,
        help="full blocks stay until their room is needed, and a sequence that comes again, with its next turn or after it was preempted, "
        "finds them",
    )  # fmt: skip
    requests: int | None = option(
        Count("number of requests"), None, group=REQUESTS, metavar="N", off=True,
        help="how many sequences of --prompt and --generate arrive, under a clock-driven schedule (default: as many as the trace has; "
        "without a trace --max-batch, else 1; serve-curve: 100)",
    )  # fmt: skip
    draft: int | None = option(
        Count("number of guesses", 0, 256), None, group=DRAFT, metavar="N", off=True,
        help="speculative decoding: each decode pass verifies N guesses of a draft (docs/speculation.md; default: as recorded)",
    )  # fmt: skip
    acceptance: str | None = option(
        Acceptance(), None, group=DRAFT, metavar="SHARE", off=True,
        help="which guesses of --draft are right: 60% of all, as engines print it; each=80%: the chance of a guess behind right ones; by "
        "position, 80%,60%,40%; or counted:TRACE, as the verify passes of a trace kept them",
    )  # fmt: skip
    draft_cost: str | None = option(
        Time(), None, group=DRAFT, metavar="TIME", off=True,
        help="what one guess of --draft takes, such as 3ms: of a small model, of a head (MTP, EAGLE) (default: nothing)",
    )  # fmt: skip
    draft_model: str | Path | ModelShape | None = option(
        Input(_model), None, group=DRAFT, metavar=NAME, off=True,
        help="the model that guesses for --draft, in place of --draft-cost: as --model says it; it runs on the same device, all resident",
    )  # fmt: skip
    draft_format: str | None = option(
        Text(), None, group=DRAFT, metavar="FORMAT", off=True,
        help="storage format of the weights of --draft-model (default: as released)",
    )  # fmt: skip
    rejected: str = option(
        Words(_rejected), "following", group=DRAFT, metavar="following|drawn",
        help="a rejected guess asks for the experts of the recorded token at its position (following, default), or of one drawn from the "
        "same answer",
    )  # fmt: skip
    rollback: str = option(
        Words(_rollback), "cut", group=ENGINE, metavar="cut|redecode",
        help="rejected guesses are cut off the KV cache (cut, default); or the state from before is restored and the kept rows run again "
        "(redecode), as ik_llama.cpp does with recurrent layers under --spec-ckpt-mode gpu-fallback",
    )  # fmt: skip
    runtime: str | Path | Runtime = option(
        Input(_runtime), "ideal", group=ENGINE, metavar=NAME,
        help="the engine whose kernels, prompts and CPU experts are timed, such as llama_cpp_cuda (`simmoe runtime list`), or a YAML file; "
        "usual: llama.cpp as each machine has it; ideal (default): each launch costs its bytes or its FLOPs alone",
    )  # fmt: skip
    flags: str | None = option(
        Text(), None, group=ENGINE, metavar="'FLAGS'", axis=False,
        help="the engine's own command line, such as '-ngl 99 -ncmoe 24 -ub 2048 -c 32768 -t 16'; each flag becomes the option that "
        "means the same",
    )  # fmt: skip
    threads: int | None = option(
        Count("number of threads", 1, 4096), None, group=ENGINE, metavar="N", off=True,
        help="threads with which a runtime computes experts on the CPU (default: one for each core)",
    )  # fmt: skip
    batch_threads: int | None = option(
        Count("number of threads", 1, 4096), None, group=ENGINE, metavar="N", off=True,
        help="the same for prompts and other passes of many tokens (default: as --threads)",
    )  # fmt: skip
    op_offload: bool = option(
        Switch(), True, group=ENGINE, metavar="on|none",
        help="a runtime such as llama.cpp carries what the CPU has over the link in large passes (on, default), or leaves it there (none)",
    )  # fmt: skip
    system: str | Path | None = option(
        Text(), None, group=POLICY, metavar=NAME, axis=False,
        help="a published system, such as mixtral_offloading (`simmoe system list`), or a YAML file: its runtime and policies are set "
        "where no option says otherwise",
    )  # fmt: skip
    eviction: str = option(
        Policy(told=True), "lru", group=POLICY, metavar=NAME, several=True,
        help="policy: lru (default), fifo, lfu, belady, … or a bound: nothing, everything. Numbers may stand behind the name and, behind a "
        "colon, the text that it counts (docs/extending/eviction.md)",
    )  # fmt: skip
    scope: str = option(
        Scope(_scopes, names="fitted"), "global", group=POLICY, metavar="global|layer|fitted:TRACE",
        help="one budget for all layers (global, default), a quota for each (layer), or quotas that would have had the most hits in "
        "another trace (fitted:TRACE) or in the first rows, which are not played (fitted:first=20%)",
    )  # fmt: skip
    timeline: str = option(
        Policy(), "overlapped", group=ENGINE, metavar=NAME,
        help="which operation waits for which: overlapped (loads beside computing, default), serial (each load, then its expert), "
        "sync (as overlapped, but the host waits host_wait for the router first), distributed, expert_parallel, tensor_parallel or "
        "tensor_expert_parallel (several devices) or a file",
    )  # fmt: skip
    overlap: bool = option(Switch(), True, group=ENGINE, metavar="on|none", help="none: the same as --timeline serial")
    prefetch: str | None = option(
        Policy(told=True), None, group=POLICY, metavar=NAME, off=True,
        help="load early: last_token, affinity, expertflow, moe_infinity, recorded=LEAD or next_layer (guesses of the trace), whole_layer, "
        "pregated=LEAD, the bounds perfect and dial=80%, or a file; docs/policies.md (default: no)",
    )  # fmt: skip
    prefetch_into: str = option(
        Words(_ways_to_prefetch), "cache", group=POLICY, metavar="cache|buffers",
        help="where a guess lands: in the cache (default), or in buffers beside it until it is used",
    )  # fmt: skip
    cancel: bool = option(
        Switch(), False, group=ENGINE, off=True,
        help="prefetches that have not started when the layer that they are for is decided, and that it does not use, leave the link's "
        "queue",
    )  # fmt: skip
    miss: str = option(
        Policy(told=True), "fetch", group=POLICY, metavar=NAME,
        help="a missing expert: fetch (load it, default), cpu (compute it there), idle_cheaper (the quicker of both for each "
        "expert alone), balanced (the missing experts of a layer are split so that link and CPU end together); or, which "
        "changes the output, drop=10% (left out below that share of gate weight), substitute or cache_aware=50% (a resident expert in its "
        "place), hobbit=50% (below that share a low copy serves); or a file",
    )  # fmt: skip
    placement: str | None = option(
        Policy(told=True), None, group=POLICY, metavar="NAME=N", off=True,
        help="experts left to the CPU for good: n_cpu_moe=4 (of the first 4 blocks), or all but popular=50% (by use; popular=50%:TRACE: by "
        "use in another trace; popular=50%:first=20%: in the first rows, which are not played) or random=50% of each layer; or to each of "
        "several devices: layer_split=3/1, expert_split=1/1, round_robin, balanced:first=50% (by use), affinity:first=50% (what tokens use "
        "together)",
    )  # fmt: skip
    gpu_layers: int | None = option(
        Count("number of layers", 0), None, group=POLICY, metavar="N", off=True,
        help="of a runtime: the last N of the model's layers, its output as one more, are the GPU's; the CPU has the others whole, with "
        "their experts (-ngl; default: all are the GPU's)",
    )  # fmt: skip
    kv_offload: bool = option(
        Switch(), True, group=POLICY, metavar="on|none",
        help="of a runtime: the KV cache is in the GPU's memory (on, default), or in the host's, where the CPU computes attention (none)",
    )  # fmt: skip
    tensor_split: str | None = option(
        Text(), None, group=POLICY, metavar="N/N", off=True,
        help="of a runtime on several cards: in which proportions whole layers are dealt to them, such as 3/1 (llama.cpp: -ts; default: by "
        "their free memory)",
    )  # fmt: skip
    mmap: bool = option(
        Switch(), True, group=ENGINE, metavar="on|none",
        help="a runtime maps the model's file (on, default), or reads what the CPU has into pinned memory, from which copies over the link "
        "are faster (none; llama.cpp: -lm none)",
    )  # fmt: skip
    write_back: bool = option(
        Switch(), False, group=ENGINE, off=True, help="an evicted expert is copied back over the link"
    )
    cold_per_sequence: bool = option(
        Switch(), False, group=ENGINE, off=True, help="empty the slots when a new sequence starts"
    )
    start: str = option(
        Words(_starts), "auto", group=MEMORY, metavar="auto|warm|cold",
        help="before the run all experts that the device has are resident (warm), none are (cold), or all where they fit, as engines load "
        "them (auto, default). The rungs of a ladder start alike: cold, and without warm-up when cold is said",
    )  # fmt: skip
    warm_up: int | None = option(
        Count("number of tokens"), None, group=WORKLOAD, metavar="N", off=True,
        help="the first N of the tokens only warm the slots up; time and counts begin behind them (default: none; a ladder: a tenth of the "
        "passes)",
    )  # fmt: skip
    graphs: bool = option(Switch(), False, group=ENGINE, off=True, help="launches come from CUDA graphs")
    page_cache: int | str | None = option(
        Size(), None, group=MEMORY, metavar="SIZE", off=True,
        help="host memory that keeps what was read from the store behind it (default: none)",
    )  # fmt: skip
    budget: int | str | None = option(
        Size(percent=True), None, group=MEMORY, metavar="SIZE",
        help="memory for routed experts alone, such as 2GB, or 25% of those that the placement leaves to the device",
    )  # fmt: skip
    low_budget: int | str | None = option(
        Size(percent=True), None, group=MEMORY, metavar="SIZE", off=True,
        help="what of the budget keeps low copies, such as 1GB or 20% of it (default: none, they are forgotten with their event)",
    )  # fmt: skip
    memory: int | str | None = option(
        Size(), None, group=MEMORY, metavar="SIZE", help="memory for dense weights + KV cache + experts"
    )
    engine: str = option(
        Words(_engines), "auto", group=ENGINE, metavar="NAME", axis=False,
        help="what plays: simpy (a process for each resource), plain (the recurrence), fast (the same compiled, needs numba) or auto "
        "(default); the numbers are the same",
    )  # fmt: skip
    seed: int = option(
        Count("seed", 0, 2**32 - 1),
        0,
        group=POLICY,
        metavar="N",
        help="of what is drawn: routing, a policy, a placement, arrivals (default 0)",
    )

    filled: bool = field(default=False, repr=False)  # what the system sets stands in the other options

    def __post_init__(self) -> None:
        for name, value in joined({name: getattr(self, name) for name in ("hw", *PARTS)}).items():
            object.__setattr__(self, name, value)
        for name in PARTS:
            object.__setattr__(self, name, None)
        for name, one in OPTIONS.items():
            object.__setattr__(self, name, _bare(name, one.checked(getattr(self, name))))
        self._ask_the_system()
        self._read_flags()
        self._read_lengths()
        if not self.overlap:
            if self.timeline not in ("overlapped", "serial"):
                raise UserError(
                    f"--overlap none means --timeline serial, but --timeline is {self.timeline}: leave one of them out"
                )
            object.__setattr__(self, "timeline", "serial")
            object.__setattr__(self, "overlap", True)
        for name, beside in (("chunks", "prefill_chunk"), ("batches", "batch")):
            if self.schedule == name:
                if getattr(self, beside) is None:
                    raise UserError(
                        f"--schedule {name} needs a number: give {OPTIONS[beside].flag} N, which is enough alone"
                    )
                object.__setattr__(self, "schedule", "recorded")
        if self.trace is None and self.model is None:
            raise UserError(
                "--trace and --model are missing: name a model, for which routing is drawn, or a routing trace, which says its model"
            )
        if self.budget is not None and self.memory is not None:
            raise UserError("give --budget (experts only) or --memory (dense weights + KV cache + experts), not both")
        if self.prefetch is None and self.prefetch_into != "cache":
            raise UserError(f"--prefetch-into {self.prefetch_into} says where guesses land: name them with --prefetch")
        if self.prefetch is None and self.cancel:
            raise UserError("--cancel says what becomes of prefetches: name who guesses them with --prefetch")
        joined_process(self.arrivals, self.rate)
        self._refuse_beside_a_bound()
        self._check_runtime()
        self._check_start()
        if self.set and not isinstance(self.hw, str):
            raise UserError(
                "set changes a profile by name or file; change the loaded hardware with dataclasses.replace"
            )
        for name in ("format", "kv_format"):
            if getattr(self, name) is not None and not isinstance(self.model, str | None):
                raise UserError(f"{name} is for a model by name or file; a loaded model has its formats")

    def _ask_the_system(self) -> None:
        """Puts what the system sets into the options that are still as they are by default. Raises UserError."""
        if self.system is None or self.filled:
            return
        from simmoe.play import systems

        given = {name: value for name in OPTIONS if (value := getattr(self, name)) != OPTIONS[name].default}
        for name, value in systems.filled(given, OPTIONS, BESIDE_BOUNDS).items():
            object.__setattr__(self, name, OPTIONS[name].checked(value))
        object.__setattr__(self, "filled", True)

    def _read_lengths(self) -> None:
        """A file of requests says the lengths that no option does, where they are not those of a trace's own sequences."""
        from simmoe.play import arrival_file

        said = {name: getattr(self, name) for name in arrival_file.KEYS}
        absent = [name for name, value in said.items() if value is None]
        if self.schedule == OPTIONS["schedule"].default or (self.trace is not None and len(absent) == len(said)):
            return
        files = [one for one in (self.arrivals, *said.values()) if isinstance(one, str) and arrival_file.is_file(one)]
        for name in absent:
            object.__setattr__(self, name, next((one for one in files if arrival_file.says(one, name)), None))

    def _read_flags(self) -> None:
        """Puts what the engine's own flags say into the other options. Raises UserError."""
        if self.flags is None:
            return
        if self.runtime == "ideal":
            raise UserError("--flags are an engine's own: name it, such as --runtime llama_cpp_cuda")
        from simmoe.play import flagged
        from simmoe.policies import flags

        engine, now = self.engine_of_runtime(), {name: getattr(self, name) for name in OPTIONS}
        said = flags.read(engine.engine, self.flags)
        flagged.refuse_one_of_several(said, self.machine)
        name = said.model
        said, of_model = flagged.of_layers(said, engine, lambda: self._shape(name))
        defaults = {name: o.default for name, o in OPTIONS.items()}
        named = flagged.options_of(said, self.schedule) | of_model
        now |= {name: defaults[name] for name in self._of_the_system() if name in named}
        for name, value in flagged.merged(now, defaults, said, of_model).items():
            object.__setattr__(self, name, OPTIONS[name].checked(value))
        object.__setattr__(self, "flags", None)

    def _of_the_system(self) -> list[str]:
        """Options that are as the system sets them."""
        from simmoe.play import systems

        said = {} if self.system is None else systems.values_of(self.system, OPTIONS)
        return [name for name, value in said.items() if getattr(self, name) == value]

    def _shape(self, said: str | None) -> ModelShape:
        """The model of --model, or else of the flags. Raises UserError where neither names one."""
        from simmoe.workloads import models

        name = said if self.model is None else self.model
        if name is None:
            raise UserError("--flags: how many layers are offloaded depends on the model: name it with --model")
        return name if not isinstance(name, str | Path) else models.load(name, self.format, self.kv_format)

    def _check_runtime(self) -> None:
        """Raises UserError for an option that has no meaning with this runtime."""
        if self.runtime == "ideal":
            for name, off in _OF_RUNTIME.items():
                if getattr(self, name) != off:
                    raise UserError(
                        f"{OPTIONS[name].flag} {OPTIONS[name].about.kind.word(getattr(self, name))}: the ideal runtime has none; name an "
                        "engine, such as --runtime llama_cpp_cuda"
                    )
            return
        for path in changes(self.set):
            if instead := unread(path):
                raise UserError(f"--set {path}: a runtime goes by {instead}, and not by that figure; change that one")
        if self.graphs:
            raise UserError(
                "--graphs is for the ideal runtime: an engine's constants hold whether it replays graphs; leave it out"
            )
        engine = self.engine_of_runtime()
        if self.timeline == OPTIONS["timeline"].default:
            object.__setattr__(self, "timeline", engine.timeline)
        if engine.device == "cpu":
            self._pass_over_what_a_gpu_has(engine.name)

    def _pass_over_what_a_gpu_has(self, name: str) -> None:
        """An engine without a GPU ignores how many layers a GPU has and what else is a GPU's. Raises UserError for experts that are left
        to the CPU, which has them all."""
        for of_a_gpu, off in (("gpu_layers", None), ("op_offload", True), ("kv_offload", True)):
            object.__setattr__(self, of_a_gpu, off)
        if self.placement is not None:
            raise UserError(
                f"--placement {self.placement}: the runtime {name} computes all on the CPU, so nothing is left to it; leave it out"
            )

    def _refuse_beside_a_bound(self) -> None:
        """Raises UserError for an option that a bound would drop: it has no budget and no slots that anything is decided about."""
        for name, why in BESIDE_BOUNDS.get(self.eviction, {}).items():
            value = getattr(self, name)
            if value not in (OPTIONS[name].default, 0):
                said = "" if value is True else f" {value}"
                raise UserError(f"{OPTIONS[name].flag}{said}: the bound {self.eviction} {why}; leave one of them out")

    def _unused(self) -> list[str]:
        """What is said of low copies where the miss rule asks for none: beside rules that do, in a table of several, that is no mistake."""
        from simmoe import policies
        from simmoe.simulator.decide.missing import loads_low

        given = [
            OPTIONS[name].flag for name in ("low_format", "low_budget") if getattr(self, name) != OPTIONS[name].default
        ]
        if not given or loads_low(policies.load("miss", self.miss)):
            return []
        return [
            f"No low copy serves under --miss {self.miss}: {' and '.join(given)} change{'s' * (len(given) == 1)} nothing"
        ]

    def _refuse_sync_without_a_wait(self, hw: Hardware) -> None:
        """Raises UserError for a timeline that waits for the host of a machine that states no such wait: it would change nothing."""
        from simmoe import policies

        needs = getattr(policies.load("timeline", self.timeline), "NEEDS", ())
        if "host_wait" in needs and not any(hw.units[name].host_wait_ps for name in hw.devices):
            raise UserError(
                f"--timeline {self.timeline}: {hw.name} states no host_wait, so it would play overlapped; leave it out, or add the "
                f"figure, such as --set units.{hw.devices[0]}.host_wait=20us"
            )

    def _check_start(self) -> None:
        """Raises UserError for a start that the other options deny."""
        if self.start == "warm" and self.cold_per_sequence:
            raise UserError(
                "--start warm fills the slots, and --cold-per-sequence empties them when a sequence starts: leave one of them out"
            )
        denied = {"everything": ("cold", "starts full"), "nothing": ("warm", "empties the slots at every event")}
        start, how = denied.get(self.eviction, ("", ""))
        if self.start == start:
            raise UserError(f"--start {start}: the bound {self.eviction} {how}; leave --start out, or name a policy")

    def engine_of_runtime(self) -> Runtime:
        """The runtime, opened; not the ideal one."""
        from simmoe.play.usual_runtime import usual_runtime
        from simmoe.policies import runtime as runtimes

        named = usual_runtime(self.machine()) if self.runtime == runtimes.USUAL else self.runtime
        return named if not isinstance(named, str | Path) else runtimes.load(named)

    def machine(self) -> Hardware:
        """The hardware, with the changes of `set`."""
        from simmoe import hardware_profiles

        return hardware_profiles.load(self.hw, changes(self.set)) if isinstance(self.hw, str | Path) else self.hw

    def workload(self, cut: Unplayed | None = None) -> Workload:
        """The inputs, opened. cut: first rows that another scenario counts, and that are not played here either. Raises UserError."""
        from simmoe.play.popularity import unplayed
        from simmoe.play.workload import Workload

        return Workload(**{**self._of(Workload), "hw": self.machine(), "unplayed": cut or unplayed(vars(self))})

    def plan(self, workload: Workload) -> Plan:
        """What may stay resident on the machine of `workload`. Raises UserError for what that machine cannot do."""
        from simmoe.play import cards_fit, devices, systems
        from simmoe.play.memory import beyond_of, bound_of, budget_of, page_cache_of
        from simmoe.play.plan import Plan, placed_memory, refuse_streaming, whole_layers
        from simmoe.simulator.decide.decisions import BOUNDS

        self._refuse_sync_without_a_wait(workload.hw)
        asked = (*systems.notes(vars(self), OPTIONS), *self._unused())
        without = [name for name in workload.hw.devices if workload.hw.units[name].graph_launch_ps is None]
        if self.graphs and without:
            of = f" of {without[0]}" * (len(workload.hw.devices) > 1)
            raise UserError(
                f"--graphs: {workload.hw.name} states no graph_launch{of}, so nothing would change there; leave it out, or add the "
                "figure to the profile"
            )
        if workload.deciding > 1:
            devices.refuse_what_one_device_has({name: getattr(self, name) for name in OPTIONS}, workload)
            layout = devices.layout_of(workload, self.placement, self.seed, self.timeline)
            budgets = devices.budgets_of(workload, layout, self.budget)
            return Plan(budget_bytes=sum(budgets), device_budgets=budgets, asked=asked, **self._of(Plan))
        if workload.owners:
            cards_fit.refuse(workload, self.placement, self.timeline)
        placement = whole_layers(workload, self.placement)
        memory = placed_memory(workload, placement, self.seed)
        made = Plan(
            budget_bytes=bound_of(memory, self.eviction, self.budget, self.memory)
            if self.eviction in BOUNDS
            else budget_of(memory, self.budget, self.memory),
            beyond_bytes=beyond_of(memory, self.budget),
            asked=asked,
            page_cache_bytes=page_cache_of(workload.hw, self.page_cache or 0, int(workload.model.expert_bytes.min())),
            **{**self._of(Plan), "placement": placement},
        )
        refuse_streaming(workload, made)
        return made

    def digests(self) -> dict[str, str]:
        """sha256 of what each input says: a profile and a model after all that they extend, a trace's arrays, a policy's text."""
        import hashlib

        from simmoe.play import inputs

        facts = self.workload().facts()
        found = {"hw": facts["hardware"], "trace": facts["trace"], "model": facts["model"]}
        texts = [(o, inputs.content(o, value)) for o, value in inputs.named(OPTIONS, vars(self)) if o.name not in found]
        if self.runtime == "usual":  # no file has that name: that of the machine's engine stands for it
            texts.append((OPTIONS["runtime"], inputs.content(OPTIONS["runtime"], self.engine_of_runtime().name)))
        return {name: fact["digest"] for name, fact in found.items()} | {
            o.name: hashlib.sha256(text).hexdigest() for o, text in texts
        }

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write a file that `simmoe run` and `simmoe.load_scenario` play again. Raises UserError."""
        from simmoe.play import saved

        saved.writable(Path(path), force)
        saved.write(Path(path), OPTIONS, {name: getattr(self, name) for name in OPTIONS}, self.digests(), force)

    def _of(self, cls: type) -> dict[str, Any]:
        """The options that `cls` takes under the same name."""
        return {name: getattr(self, name) for name in signature(cls).parameters if name in OPTIONS}


def unread(path: str) -> str:
    """Which figure an engine's constants multiply in place of a figure of units; empty for those that it reads."""
    head, _, name = path.partition(".")
    unit, _, figure = name.partition(".")
    if head != "units" or not (
        figure in ("bandwidth", "launch", "graph_launch", "softness") or figure.startswith("grouped_")
    ):
        return ""
    if figure not in ("bandwidth", "grouped_bandwidth"):
        return "its own constants (`simmoe runtime show`; a file of yours may change them)"
    return (
        "units.cpu.quantised_bandwidth, or tiers.….peak_bandwidth of its memory"
        if unit == "cpu"
        else "peak.memory_bandwidth"
    )


def _bare(option: str, value: Any) -> Any:
    """A bundled policy by its bare name: lru.py is lru, so that what is asked of a name holds for both."""
    kind = OPTIONS[option].about.kind
    if not isinstance(kind, Policy) or not isinstance(value, str) or not (head := kind.name(value)).endswith(".py"):
        return value
    from simmoe import policies

    bundled = Path(head).name == head and not Path(head).is_file() and (policies.FOLDER / option / head).is_file()
    return head.removesuffix(".py") + value.removeprefix(head) if bundled else value


OPTIONS = declared(Scenario)


def workload_options() -> tuple[str, ...]:
    """What a workload depends on; the plan has the others."""
    from simmoe.play.workload import Workload

    return ("set", *(name for name in signature(Workload).parameters if name in OPTIONS))
