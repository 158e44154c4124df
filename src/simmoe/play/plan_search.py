"""Which command line of an engine is the fastest on a machine: what fits is found first, how fast it is by playing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from simmoe import hardware_profiles
from simmoe.play import cards
from simmoe.play.confidence import around
from simmoe.play.lengths import Lengths, drawn
from simmoe.play.plan_cards import LlamaCards
from simmoe.play.plan_fails import nothing_fits
from simmoe.play.plan_llama import LlamaCpp
from simmoe.play.plan_served import KTransformers, Sglang, Vllm
from simmoe.play.plan_setup import Choice, Setup, Speed
from simmoe.play.plan_space import Space
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.scenario import Scenario
from simmoe.policies.flags import Flags
from simmoe.policies.runtime import LEAVES
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads import models

PROMPT, GENERATED = 4096, 512  # what "both" reads and writes
PLAYED = 16  # tokens that are decoded behind the prompt, for their speed
GOALS = ("decode", "prompt", "both")
SPACES: dict[str, type[Space]] = {
    "llama.cpp": LlamaCpp, "ik_llama.cpp": LlamaCpp, "ktransformers": KTransformers, "vllm": Vllm, "sglang": Sglang,
}  # fmt: skip
LEAST_CONTEXT = 256  # positions
BEST = 3
TIE = 0.01  # setups this close are equal: the one that leaves more memory free counts as better


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
        cards.check(self.hw, self.runtime, None)
        name = scenario.model
        if not isinstance(name, str):
            raise UserError("plan opens the model itself: name one")
        space = LlamaCards if len(self.hw.devices) > 1 else SPACES[self.runtime.engine]
        self.name, self.shapes = name, {kv: models.load(name, scenario.format, kv) for kv in space.kv_formats}
        self.space = space(self.shapes, self.hw, self.runtime, context, self.prompt, goal)
        self.scenario = replace(
            scenario, hw=self.hw, set=(), runtime=self.runtime, format=None, model=self.shapes[None], eviction="everything", context=context
        )  # fmt: skip
        self._runs: dict[tuple[Setup, bool], Run] = {}
        self._requests: dict[tuple[bool, int], Requests] = {}  # of the same rows, whatever else is chosen

    @property
    def file(self) -> str:
        """The model as the engine is told it: its GGUF file where it is one, else a name to put it in place of."""
        return str(models.find(self.name)) if self.is_file else self.space.yours

    @property
    def is_file(self) -> bool:
        return self.space.yours.endswith(".gguf") and models.find(self.name).suffix.lower() == ".gguf"

    @cached_property
    def found(self) -> list[Setup]:
        return self.space.candidates()

    def candidates(self) -> list[Setup]:
        """What fits, and could be worth playing. Raises DoesNotFit where nothing is."""
        if not self.found:
            raise nothing_fits(self.space, self.name)
        return self.found

    # --- how fast it is ---------------------------------------------------------------------------------------------

    def played(self, setup: Setup, decode: bool) -> Run:
        if (setup, decode) not in self._runs:
            self._runs[setup, decode] = self.play(setup, decode)
        return self._runs[setup, decode]

    def play(self, setup: Setup, decode: bool, hw: Hardware | None = None) -> Run:
        """The prompt, or tokens behind it, on this machine or on another one."""
        chosen = replace(
            self.scenario, hw=hw or self.hw, trace=self._rows(setup, decode), model=self.shapes[setup.kv_format],
            microbatch=setup.microbatch, **self.space.options(setup),
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
        """The tokens behind the prompt; or the pass in its middle, whose attention is that of the mean pass. Over several cards, where
        passes overlap, the whole prompt."""
        text, size = self._text, min(setup.microbatch, self.prompt)
        whole = len(self.hw.devices) > 1 and not decode
        first = self.prompt if decode else 0 if whole else (self.prompt - size) // 2
        rows = np.arange(first, first + (PLAYED if decode else self.prompt if whole else size))
        passes = np.arange(0, len(rows), 1 if decode else size)
        passes = np.append(passes, len(rows))
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

    def best(self) -> list[Setup]:
        """The best few; of those that are equal, the one that leaves most memory. What is beaten by one of them is left out."""
        left, chosen = self.candidates(), list[Setup]()
        while left and len(chosen) < BEST:
            least = min(self.score(one) for one in left)
            equal = [one for one in left if self.score(one) <= least * (1 + TIE)]
            unbeaten = [one for one in equal if not any(self.beats(other, one) for other in equal)]
            chosen.append(max(unbeaten, key=self.space.free))
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
        flags, bounds = self._flags(setup), (_bound(self.played(setup, which)) for which in (True, False))
        return Choice(
            setup, flags, self.space.command(flags), decode, prompt, seconds, ttft, self.space.device(setup), self.space.free(setup),
            self.space.host_left(setup), *bounds,
        )  # fmt: skip

    def line(self, setup: Setup) -> str:
        return self.space.command(self._flags(setup))

    def _flags(self, setup: Setup) -> Flags:
        return self.space.flags(setup, self.file)

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
    if runtime.engine not in SPACES:
        known = ", ".join(list(SPACES)[:-1])
        instead = f"`simmoe run --runtime {runtime.name}` plays one choice"
        cache = ", such as a size of its expert cache (--budget 8GB), and a sweep space many" * runtime.streams
        raise UserError(
            f"plan searches the options of {known} and {[*SPACES][-1]}; of those of {runtime.name} none are known to it: {instead}{cache}"
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
