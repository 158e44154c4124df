"""Which command line of llama.cpp is the fastest on a machine: what fits is found in closed form, how fast it is by playing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np

from simmoe import hardware_profiles
from simmoe.play.buffers import device_bytes, least_blocks
from simmoe.play.confidence import around
from simmoe.play.lengths import Lengths, drawn
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.scenario import Scenario
from simmoe.policies.flags import ALL, Flags
from simmoe.policies.runtime import LEAVES
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.errors import DoesNotFit, UserError
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.simulator.units import nbytes
from simmoe.workloads import models

PROMPT, GENERATED = 4096, 512  # what "both" reads and writes
PLAYED = 16  # tokens that are decoded behind the prompt, for their speed
GOALS = ("decode", "prompt", "both")
ENGINES = ("llama.cpp", "ik_llama.cpp")
MICROBATCHES = (512, 1024, 2048, 4096)
KV_FORMATS = (None, "q8_0")  # None: f16
YOURS = "YOUR.gguf"
LEAST_CONTEXT = 256  # positions
BEST = 3
TIE = 0.01  # setups this close are equal: the one that leaves more memory free counts as better


class Setup(NamedTuple):
    """What the search chooses."""

    microbatch: int
    blocks: int  # whose experts are on the CPU
    kv_format: str | None
    op_offload: bool


class Speed(NamedTuple):
    """Tokens per second (or a time), and at the slow and the fast end of the machine's and the engine's ranges."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """One command line, and what it gives."""

    setup: Setup
    flags: Flags
    decode: Speed
    prompt: Speed
    seconds: Speed  # for the prompt and GENERATED tokens, and at the slow and the fast end
    ttft_s: Speed
    device: dict[str, int]  # bytes by kind
    device_left_bytes: int
    host_left_bytes: int | None
    decode_bound: str
    prompt_bound: str


class Search:
    """Candidates of one machine, model and engine; each is played once."""

    def __init__(self, scenario: Scenario, goal: str, context: int) -> None:
        """scenario: machine, model, format and runtime; the search sets the rest. Raises UserError."""
        if context < LEAST_CONTEXT:
            raise UserError(
                f"--context {context}: plan plays a prompt and an answer in it; give {LEAST_CONTEXT} or more positions"
            )
        self.goal, self.context = goal, context
        self.prompt = min(PROMPT, context * PROMPT // (PROMPT + GENERATED))
        self.runtime = _searched(scenario)
        self.hw = scenario.machine()
        if len(self.hw.devices) > 1:
            raise UserError("plan searches one card, and the machine has several: name one")
        name = scenario.model
        if not isinstance(name, str):
            raise UserError("plan opens the model itself: name one")
        self.name, self.shapes = name, {kv: models.load(name, scenario.format, kv) for kv in KV_FORMATS}
        self.scenario = replace(
            scenario, hw=self.hw, set=(), runtime=self.runtime, format=None, model=self.shapes[None], eviction="everything", context=context
        )
        self._runs: dict[tuple[Setup, bool], Run] = {}
        self._requests: dict[tuple[bool, int], Requests] = {}  # of the same rows, whatever else is chosen

    @property
    def file(self) -> str:
        """What stands behind -m: the GGUF file where the model is one, else a name to put it in place of."""
        return str(models.find(self.name)) if models.find(self.name).suffix.lower() == ".gguf" else YOURS

    @property
    def room_bytes(self) -> int:
        return self.hw.device_memory.capacity_bytes - self.hw.reserved_bytes

    @property
    def host_bytes(self) -> int | None:
        """Memory in which the CPU's experts lie; None where there is no CPU beside the device, or both share one memory."""
        cpu = self.hw.cpu
        return None if cpu is None or self.hw.unified else self.hw.tiers[cpu.memory].capacity_bytes

    # --- what fits --------------------------------------------------------------------------------------------------

    def least(self, microbatch: int, kv: str | None, carries: bool, room_bytes: int) -> int | None:
        """The fewest blocks on the CPU that fit into the device and its host; None: no number does."""
        blocks = least_blocks(
            self.shapes[kv], room_bytes, self.context, microbatch, carries, self.host_bytes is not None
        )
        if blocks is None or (blocks and (self.host_bytes is None or self.host_left(kv, blocks) < 0)):
            return None
        return blocks

    def host_left(self, kv: str | None, blocks: int) -> int:
        model = self.shapes[kv]
        held = sum(layer.expert_bytes for layer in model.layers[:blocks]) + model.embedding.bytes
        return (self.host_bytes or 0) - held

    def carries(self, setup: Setup) -> bool:
        """Whether large passes copy the experts of CPU blocks to the device."""
        links = any(self.runtime.of(f"link.offload_{what}") is not None for what in ("tokens", "rows"))
        return setup.op_offload and links

    def candidates(self) -> list[Setup]:
        """For each KV format, and each number of blocks that is the least for some microbatch: one setup; 8 bits only where they let
        the device take a block more."""
        found = dict[tuple[int, str | None, bool, int], Setup]()
        smallest = self.goal == "decode"  # which decodes alike whatever the microbatch, and leaves more memory free
        for kv, size, offload in product(KV_FORMATS, self._microbatches, (True, False)):
            blocks = self.least(size, kv, offload, self.room_bytes)
            if blocks is None or not self._sensible(Setup(size, blocks, kv, offload)):
                continue
            key = (
                blocks,
                kv,
                offload,
                0 if blocks else size,
            )  # with everything on the device only the microbatch is left to choose
            if key not in found or not smallest:
                found[key] = Setup(size, blocks, kv, offload)
        if not found:
            raise self._nothing_fits()
        return list(found.values())

    @property
    def _microbatches(self) -> list[int]:
        """A pass larger than the prompt changes nothing."""
        return [size for size in MICROBATCHES if size <= max(self.prompt, MICROBATCHES[0])]

    def _sensible(self, setup: Setup) -> bool:
        """Without op offload the CPU computes prompts at its own rate, whatever the microbatch; and 8 bits cost precision."""
        if not setup.op_offload and (not setup.blocks or setup.microbatch != MICROBATCHES[0]):
            return False
        if (
            not setup.op_offload and self.goal == "decode"
        ):  # which decodes alike: only a block more on the device would help
            carrying = self.least(setup.microbatch, setup.kv_format, True, self.room_bytes)
            if carrying is not None and carrying <= setup.blocks:
                return False
        plain = self.least(setup.microbatch, None, setup.op_offload, self.room_bytes)
        return setup.kv_format is None or plain is None or setup.blocks < plain

    def _nothing_fits(self) -> DoesNotFit:
        model = self.shapes[KV_FORMATS[-1]]
        most = len(model.layers) if self.host_bytes is not None else 0
        needs = device_bytes(model, most, self.context, MICROBATCHES[0], False, self.host_bytes is not None)
        short = needs["total"] - self.room_bytes
        if short > 0:
            where = f"{nbytes(needs['total'])} are needed on the device and {nbytes(self.room_bytes)} are there"
        else:
            where = f"the experts of the CPU need {nbytes(-self.host_left(None, most))} more host memory"
        return DoesNotFit(
            f"{model.name} at {model.format} does not fit on {self.hw.name} with --context {self.context:,}: {where}; take a smaller "
            "--format or --context, or a machine with more memory"
        )

    # --- how fast it is ---------------------------------------------------------------------------------------------

    def played(self, setup: Setup, decode: bool) -> Run:
        if (setup, decode) not in self._runs:
            self._runs[setup, decode] = self.play(setup, decode, self.scenario)
        return self._runs[setup, decode]

    def play(self, setup: Setup, decode: bool, scenario: Scenario) -> Run:
        """The prompt, or tokens behind it."""
        chosen = replace(
            scenario,
            trace=self._rows(setup, decode), model=self.shapes[setup.kv_format], microbatch=setup.microbatch, op_offload=setup.op_offload,
            mmap=not setup.blocks,
            placement=f"n_cpu_moe={setup.blocks}" if setup.blocks else None,
        )  # fmt: skip
        workload, asked = chosen.workload(), (decode, setup.microbatch * (not decode))
        if asked in self._requests:
            workload.requests = self._requests[asked]
        self._requests[asked] = workload.requests
        return play(workload, chosen.plan(workload))

    @cached_property
    def _text(self) -> Trace:
        """Drawn once, so that every setup is asked for the same experts: a prompt, and tokens behind it."""
        lengths = Lengths(self.prompt, PLAYED, 1)
        return drawn(self.shapes[None], self.scenario.routing, lengths, self.scenario.seed).trace

    def _rows(self, setup: Setup, decode: bool) -> Trace:
        """The tokens behind the prompt; or the pass in its middle, whose attention is that of the mean pass."""
        text, size = self._text, min(setup.microbatch, self.prompt)
        first = self.prompt if decode else (self.prompt - size) // 2
        rows = np.arange(first, first + (PLAYED if decode else size))
        passes = np.arange(PLAYED + 1) if decode else np.array([0, size])
        taken = text.taken(rows, passes, np.full(len(passes) - 1, DECODE if decode else PREFILL, np.int8))
        return replace(taken, sequence=text.sequence[rows], position=text.position[rows])

    def score(self, setup: Setup) -> float:
        """Seconds: less is better."""
        decode, prompt = (
            1 / speed_of(self.played(setup, which)) if self._asks(which) else 0.0 for which in (True, False)
        )
        return prompt * self.prompt + decode * GENERATED

    def _asks(self, decode: bool) -> bool:
        return self.goal == "both" or (self.goal == "decode") == decode

    def free(self, setup: Setup) -> int:
        return self.room_bytes - self._device(setup)["total"]

    def _device(self, setup: Setup) -> dict[str, int]:
        carries = self.carries(setup)
        apart = self.host_bytes is not None
        return device_bytes(self.shapes[setup.kv_format], setup.blocks, self.context, setup.microbatch, carries, apart)

    def best(self) -> list[Setup]:
        """The best few; of those that are equal, the one that leaves most memory. What is beaten by one of them is left out."""
        left, chosen = self.candidates(), list[Setup]()
        while left and len(chosen) < BEST:
            least = min(self.score(one) for one in left)
            equal = [one for one in left if self.score(one) <= least * (1 + TIE)]
            unbeaten = [one for one in equal if not any(self.beats(other, one) for other in equal)]
            chosen.append(max(unbeaten, key=self.free))
            left = [one for one in left if one is not chosen[-1] and not self.beats(chosen[-1], one)]
        return chosen

    def plainest(self) -> Setup | None:
        """The best one whose KV cache is in f16; None: none fits."""
        return min((one for one in self.candidates() if one.kv_format is None), key=self.score, default=None)

    def beats(self, one: Setup, other: Setup) -> bool:
        """Whether it is faster at prompts and at decode, and not by a tie in both."""
        ratios = [speed_of(self.played(one, which)) / speed_of(self.played(other, which)) for which in (True, False)]
        return min(ratios) > 1 and max(ratios) > 1 + TIE

    def ties(self, chosen: Sequence[Setup]) -> int:
        """How many of them, from the first on, are equal to the fastest."""
        least = min(map(self.score, chosen))
        return next((i for i, one in enumerate(chosen) if self.score(one) > least * (1 + TIE)), len(chosen))

    def choice(self, setup: Setup) -> Choice:
        decode, prompt = (self._banded(self.played(setup, which)) for which in (True, False))
        ttft, seconds = (
            Speed(*(self.prompt / read + tokens / wrote for read, wrote in zip(prompt, decode, strict=True))) for tokens in (1, GENERATED)
        )  # fmt: skip
        return Choice(
            setup, self._flags(setup), decode, prompt, seconds, ttft, self._device(setup),
            self.free(setup), None if self.host_bytes is None else self.host_left(setup.kv_format, setup.blocks),
            _bound(self.played(setup, True)), _bound(self.played(setup, False)),
        )  # fmt: skip

    def _banded(self, run: Run) -> Speed:
        """At the ends of what machine and engine leave open."""
        ends = [speed_of(run)]
        for hw, engine in zip(
            hardware_profiles.bounds(run.workload.hw), (self._end("slowest"), self._end("fastest")), strict=True
        ):
            ends.append(speed_of(play(run.workload.on(hw, replace(engine, host_memory=_memory_of(run))), run.plan)))
        leaves = LEAVES["decode" if run.decode_passes.any() else "prompt"]
        return Speed(ends[0], *around(ends[0], ends, leaves))

    def _end(self, which: str) -> Runtime:
        found: Runtime = getattr(self.runtime, which)
        return found

    def _flags(self, setup: Setup) -> Flags:
        alone = self.hw.device.name == "cpu"  # nothing is offloaded
        cpu = self.hw.device if alone else self.hw.cpu if setup.blocks else None
        return Flags(
            self.runtime.engine, model=self.file, gpu_layers=0 if alone else ALL, cpu_moe_blocks=setup.blocks or None,
            mmap=False if setup.blocks else None, op_offload=None if setup.op_offload else False, batch=max(2048, setup.microbatch),
            microbatch=setup.microbatch, context=self.context, k_format=setup.kv_format, v_format=setup.kv_format, flash_attention=True,
            threads=cpu.processors if cpu else None,
        )  # fmt: skip


def _memory_of(run: Run) -> str:
    runtime = run.workload.runtime
    return "pinned" if runtime is None else runtime.host_memory


def _searched(scenario: Scenario) -> Runtime:
    """The engine, whose options are known. Raises UserError."""
    if scenario.runtime == "ideal":
        raise UserError(
            "plan searches the flags of an engine, and the ideal runtime has none: name one, such as --runtime llama_cpp_cuda"
        )
    runtime = scenario.engine_of_runtime()
    if runtime.engine not in ENGINES:
        raise UserError(
            f"plan searches the flags of {' and '.join(ENGINES)} so far, and {runtime.name} is {runtime.engine}"
        )
    return runtime


def speed_of(run: Run) -> float:
    found = run.tok_s if run.decode_passes.any() else run.prompt_tok_s
    assert found is not None
    return found


def _bound(run: Run) -> str:
    """What most of the time is spent on."""
    clocks = run.clocks
    waits = {"link": int(clocks.stall_ps.sum()), "CPU": int(clocks.cpu_ps.sum())}
    waits["device"] = int(run.pass_ps.sum()) - sum(waits.values())
    return max(waits, key=lambda name: waits[name])
