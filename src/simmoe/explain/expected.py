"""What a measured row should have been: the same flags on the same machine, played."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from simmoe import hardware_profiles
from simmoe.explain.rows import BOTH, DECODE, PROMPT, Row
from simmoe.play.confidence import around
from simmoe.play.flagged import of_layers, options_of, pass_tokens
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.scenario import Scenario
from simmoe.policies.flags import Flags
from simmoe.policies.runtime import LEAVES
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.workloads import models

PLAYED = 16  # tokens of a decode, in the middle of those that were measured
REPEATED = 0.01  # by which two runs of one benchmark on one machine differ
LONGEST = 8192  # tokens of a pass
OWN = ("engine", "model", "prompt", "generate", "depth", "context", "batch", "ignored")


@dataclass(frozen=True)
class Expected:
    """A row beside its simulation."""

    row: Row
    runs: tuple[Run, ...]  # of the prompt, of decoding, or of both; empty: it cannot be simulated
    why_not: str = ""
    low: float = 0.0  # tokens per second at the ends of the machine's and the engine's ranges
    high: float = 0.0

    @property
    def tok_s(self) -> float:
        return self.on(None, None)

    @property
    def ratio(self) -> float:
        """Simulated over measured."""
        return self.tok_s / self.row.tok_s

    def on(self, hw: Hardware | None, runtime: Runtime | None) -> float:
        """Tokens per second; on another machine or under an engine with other constants, where they are given."""
        runs = self.runs if hw is None and runtime is None else tuple(_again(run, hw, runtime) for run in self.runs)
        tokens = [self.row.flags.prompt or 0, self.row.flags.generate or 0] if self.row.phase == BOTH else [1]
        return sum(tokens) / sum(count / speed_of(run) for count, run in zip(tokens, runs, strict=True))

    @property
    def inside(self) -> bool:
        """Whether the measured speed lies between the ends of the simulated one, as closely as it can be measured."""
        return self.low * (1 - REPEATED) <= self.row.tok_s <= self.high * (1 + REPEATED)

    @property
    def on_cpu(self) -> bool:
        """Whether experts are on the CPU."""
        return any(run.plan.placement is not None for run in self.runs)


def expected(base: Scenario, row: Row, said: Flags | None = None) -> Expected:
    """base: machine, model and runtime. said: flags of the whole command line, for what the output does not say."""
    flags = filled(row.flags, said)
    flags = replace(flags, microbatch=pass_tokens(flags))
    try:
        options = _options(base, flags)
        runs = tuple(_played(base, options, flags, phase) for phase in (PROMPT, DECODE) if row.phase in (phase, BOTH))
    except UserError as problem:
        return Expected(row, (), str(problem))
    return _banded(Expected(replace(row, flags=flags), runs))


def speed_with(base: Scenario, flags: Flags, row: Row) -> float | None:
    """Tokens per second of another command line, at the lengths of a row; None: it cannot be simulated."""
    own = {name: getattr(row.flags, name) for name in ("prompt", "generate", "depth", "parallel")}
    other = replace(flags, **own)
    try:
        options = _options(base, other)
        phases = [phase for phase in (PROMPT, DECODE) if row.phase in (phase, BOTH)]
        return Expected(row, tuple(_played(base, options, other, phase) for phase in phases)).tok_s
    except UserError:
        return None


def _banded(one: Expected) -> Expected:
    """With its speed at the ends of what the machine, the engine and its laws leave open, as a run prints it."""
    run = one.runs[0]
    engine = run.workload.runtime
    if engine is None:
        return one
    ends = zip(hardware_profiles.bounds(run.workload.hw), (engine.slowest, engine.fastest), strict=True)
    speeds = [one.tok_s, *(one.on(hw, runtime) for hw, runtime in ends)]
    low, high = around(one.tok_s, speeds, LEAVES["prompt" if one.row.phase == PROMPT else "decode"])
    return replace(one, low=low, high=high)


def filled(flags: Flags, said: Flags | None) -> Flags:
    """What the output says, and else what the caller says."""
    if said is None:
        return flags
    defaults = Flags(flags.engine)
    mine = {one.name: getattr(flags, one.name) for one in fields(Flags)}
    unsaid = {name for name, value in mine.items() if value == getattr(defaults, name) and name != "engine"}
    return replace(flags, **{name: getattr(said, name) for name in unsaid})


def _options(base: Scenario, flags: Flags) -> dict[str, Any]:
    bare = replace(flags, **{name: getattr(Flags(flags.engine), name) for name in OWN if name != "engine"})
    bare, of_model = of_layers(bare, base.engine_of_runtime(), lambda: _shape(base))
    options = {**options_of(bare), **of_model}
    if flags.parallel not in (None, 1):
        raise UserError("several sequences at once are not explained yet")
    return options


def _shape(base: Scenario) -> ModelShape:
    return base.model if isinstance(base.model, ModelShape) else models.load(str(base.model), base.format)


def _played(base: Scenario, options: dict[str, Any], flags: Flags, phase: str) -> Run:
    depth = flags.depth or 0
    if phase == PROMPT:  # the pass in its middle, whose attention is that of the mean pass
        prompt = flags.prompt or 512
        size = min(prompt, flags.microbatch or base.engine_of_runtime().microbatch or prompt, LONGEST)
        before = depth + (prompt - size) // 2
        lengths: dict[str, Any] = {"prompt": size, "generate": 0, "depth": before or None}
    else:
        before = depth + (flags.prompt or 0) + max((flags.generate or PLAYED) - PLAYED, 0) // 2
        lengths = {"prompt": 0, "generate": PLAYED, "depth": before or None}
    chosen = replace(base, eviction="everything", **options, **lengths)
    workload = chosen.workload()
    return play(workload, chosen.plan(workload))


def _again(run: Run, hw: Hardware | None, runtime: Runtime | None) -> Run:
    was = run.workload.runtime
    kept = runtime and was and replace(runtime, host_memory=was.host_memory)
    return play(run.workload.on(hw or run.workload.hw, kept or was), run.plan)


def speed_of(run: Run) -> float:
    found = run.tok_s if run.decode_passes.any() else run.prompt_tok_s
    assert found is not None
    return found
