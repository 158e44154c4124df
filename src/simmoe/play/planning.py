"""`simmoe.plan`: the fastest command lines of an engine for a model on a machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simmoe.play.calling import scenario_of, takes
from simmoe.play.cautions import of_machine
from simmoe.play.plan_fit import Fit
from simmoe.play.plan_gains import Gain, gains
from simmoe.play.plan_search import GENERATED, GOALS, Search
from simmoe.play.plan_setup import CONTEXT, TAKEN, Choice
from simmoe.play.scenario import OPTIONS, Scenario
from simmoe.play.tabular import Record, Tabular
from simmoe.policies.runtime import USUAL
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.runtime import Runtime


@dataclass(frozen=True, repr=False)
class CommandLines(Tabular):
    """The best few command lines, the best first, and what would help."""

    brief = ("command", "decode_tok_s", "prompt_tok_s", "ttft_s", "seconds", "device_left_bytes")
    search: Search
    scenario: Scenario  # as the caller gave it
    choices: tuple[Choice, ...]
    gains: tuple[Gain, ...]
    fit: Fit | None  # of llama-fit-params, beside the first
    notes: tuple[str, ...]  # what to know about the machine and the engine

    def title(self) -> str:
        search = self.search
        model = search.shapes[None]
        return f"Simulated: {model.name} at {model.format} on {search.hw.name} under {search.runtime.name}, best at {search.goal}"

    def records(self) -> list[Record]:
        return [
            {
                "command": one.command, **_options(one), "decode_tok_s": one.decode.value, "prompt_tok_s": one.prompt.value,
                "ttft_s": one.ttft_s.value, "seconds": one.seconds.value, "device_left_bytes": one.device_left_bytes,
                "host_left_bytes": one.host_left_bytes, "decode_bound": one.decode_bound, "prompt_bound": one.prompt_bound,
            }
            for one in self.choices
        ]  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        search = self.search
        helps = [
            {"what": one.what, "hardware": one.part or None, "decode": one.decode, "prompt": one.prompt}
            for one in self.gains
        ]
        return {
            "schema": 1, "goal": search.goal, "context": search.context, "prompt": search.prompt, "generated": GENERATED,
            "model": search.shapes[None].name, "format": search.shapes[None].format, "hardware": search.hw.name,
            "runtime": search.runtime.name, "engine": search.runtime.engine, "candidates": len(search.candidates()),
            "best": [_said(one) for one in self.choices], "gains": helps, "notes": list(self.notes),
            "llama_fit_params": None if self.fit is None else {"line": self.fit.line, "cpu_blocks": self.fit.blocks},
        }  # fmt: skip


def _options(choice: Choice) -> dict[str, Any]:
    """What is chosen, in the words of a run."""
    setup, flags = choice.setup, choice.flags
    return {
        "n_cpu_moe": flags.cpu_moe_blocks or 0, "tensor_split": setup.split, "gpu_experts": flags.gpu_experts,
        "cpu_offload_bytes": flags.cpu_offload_bytes, "threads": flags.threads, "gpu_memory_share": flags.gpu_memory_share,
        "microbatch": setup.microbatch, "kv_format": setup.kv_format or "f16", "op_offload": setup.op_offload,
    }  # fmt: skip


def _said(choice: Choice) -> dict[str, Any]:
    return {
        "command": choice.command, **_options(choice), "decode_tok_s": choice.decode._asdict(), "prompt_tok_s": choice.prompt._asdict(),
        "ttft_s": choice.ttft_s.value, "ttft_range_s": [choice.ttft_s.high, choice.ttft_s.low], "seconds": choice.seconds.value,
        "range_s": [choice.seconds.high, choice.seconds.low], "device_bytes": choice.device,
        "device_left_bytes": choice.device_left_bytes, "host_left_bytes": choice.host_left_bytes,
        "decode_bound": choice.decode_bound, "prompt_bound": choice.prompt_bound,
    }  # fmt: skip


@takes(*(name for name in OPTIONS if name not in TAKEN))
def plan(
    model: str | Path, hw: str | Path | Hardware | None = None, *, goal: str = "both", context: int | str = CONTEXT,
    runtime: str | Path | Runtime = USUAL, **options: Any,
) -> CommandLines:  # fmt: skip
    """The fastest command lines of an engine for a model on a machine: what fits is played, docs/plan.md says what is searched.

    model: a bundled name or a file. goal: what is best, decode (most tok/s), prompt (most tokens/s of a prompt of 4,096) or both (least
    time for 4,096 tokens in and 512 out). context: positions to have room for, 16k = 16,384. runtime: the engine, by default llama.cpp
    as the machine has it. Raises UserError.
    """
    if unknown := [name for name in options if name not in TAKEN]:
        raise UserError(f"unknown option {unknown[0]!r}; {among(unknown[0], TAKEN, listing='help(simmoe.plan)')}")
    return planned({"hw": hw, **options, "model": model, "context": context, "runtime": runtime}, goal)


def planned(options: dict[str, Any], goal: str) -> CommandLines:
    """The same of options of a run by name. Raises UserError."""
    if goal not in GOALS:
        raise UserError(f"--goal {goal}: {among(goal, GOALS)}")
    scenario = scenario_of({"runtime": USUAL, "context": CONTEXT, **options})
    assert scenario.context is not None
    search = Search(scenario, goal, scenario.context)
    best = search.best()
    run = search.played(best[0], decode=True)
    return CommandLines(
        search, scenario, tuple(search.choice(one) for one in best), tuple(gains(search, scenario, best[0])),
        search.space.fitted(best[0]), tuple(of_machine(run.workload, run.plan)),
    )  # fmt: skip
