"""What a reader of a result must know beside its numbers: in `notes` of the JSON, and above every table."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simmoe import policies
from simmoe.hardware_profiles import doubts
from simmoe.play import arrival_file, asked, devices, popularity
from simmoe.play.engine_notes import of_engine
from simmoe.play.identity import foresees, sees_the_future
from simmoe.play.kinds import bytes_of
from simmoe.play.low import measured_bits, versioned
from simmoe.play.pinning import of_pinning
from simmoe.play.pipeline import copies, prompts
from simmoe.play.plan import UNITS, Plan, cached, counts_use, memory_of, placed, streamed
from simmoe.play.tokens import rows_at_once
from simmoe.policies import arguments
from simmoe.simulator.decide.decisions import FITTED
from simmoe.simulator.decide.missing import changes_output
from simmoe.simulator.errors import UserError
from simmoe.simulator.link_time import about_links
from simmoe.simulator.naming import named
from simmoe.simulator.nouns.trace import PREFILL
from simmoe.simulator.physics.kernels import FEW_ROWS
from simmoe.simulator.units import nbytes, text
from simmoe.workloads.format import plausible
from simmoe.workloads.format import trace as traces
from simmoe.workloads.offload import measured

if TYPE_CHECKING:
    from simmoe.play.workload import Workload
    from simmoe.simulator.nouns.hardware import Hardware

OF_WEIGHTS = ("model", "router", "recipe_digest")  # of a trace's meta: where two of them differ, so do the weights
LARGE_PASS = 32  # tokens: GGML_OP_OFFLOAD_MIN_BATCH of llama.cpp, below which it computes where the weights are


def cautions(workload: Workload, plan: Plan) -> list[str]:
    """One sentence each."""
    with suppress(UserError):  # what cannot be played says so itself
        workload = versioned(workload, plan)
    model = [workload.model.caution] * bool(workload.model.caution)
    return [
        *plan.asked, *workload.text.notes, *_leaves_lengths(workload, plan), *_leaves_arrivals(workload, plan),
        *_of_trace(workload), *_of_draft(workload), *model, *foresight(workload, plan), *_counts_other_experts(workload, plan),
        *_changes_output(workload, plan), *_leaves_none(workload, plan), *_asks_for_more(workload, plan), *_does_not_fit(workload, plan),
        *_prompts_on_the_cpu(workload, plan), *_prompts_overlap(workload, plan), *_idle_threads(workload),
        *_unrated_threads(workload, plan), *_no_clock(workload),
        *_full_page_cache(workload, plan), *of_pinning(workload, plan), *_withdraws(plan), *of_machine(workload, plan),
        *devices.of_heads(workload, plan),
    ]  # fmt: skip


def _of_trace(workload: Workload) -> list[str]:
    """What is implausible in a recorded trace, and which of its rows may be no tokens."""
    if workload.text.routing is not None:
        return []
    rows, said = rows_at_once(workload.recorded), plausible.notes(workload.recorded)
    if rows > 1:
        said.append(
            f"Decode passes hold up to {rows} rows of one sequence, and each row counts as a token; where they verify guesses, the array "
            "emitted of the trace says which were kept (docs/trace_format.md)"
        )
    return said


def _leaves_lengths(workload: Workload, plan: Plan) -> list[str]:
    """That requests with the sequences of a trace have their lengths, where the file of their arrivals says others."""
    file = plan.arrivals or ""
    if workload.lengths.asked or not arrival_file.is_file(file) or not arrival_file.says(file, "prompt"):
        return []
    name = arrival_file.named(file)
    return [
        f"The lengths in {name} are not played: requests are the sequences of the trace; --prompt {name} plays them"
    ]


def _leaves_arrivals(workload: Workload, plan: Plan) -> list[str]:
    """That fewer requests arrive than the file of their arrivals has."""
    file, played = plan.arrivals or "", len(np.unique(workload.begun.trace.sequence))
    if not arrival_file.is_file(file) or (there := arrival_file.count(file, "--arrivals")) <= played:
        return []
    may_be_more = workload.lengths.asked or workload.text.routing is not None
    more = f"; --requests {there} plays all" if may_be_more else ""
    return [f"Of {there:,} requests in {arrival_file.named(file)} {played:,} arrive, from the first on{more}"]


def _of_draft(workload: Workload) -> list[str]:
    """What of verify passes was made here, and where they come out too fast."""
    if workload.speculation is None:
        return []
    state = (
        f"{workload.model.name} has layers that keep a recurrent state, of which rejected rows cannot be cut off: where an engine does not "
        "keep the state behind every row, the rows that are kept run again (--rollback redecode, docs/speculation.md)"
    )
    recurrent = any(layer.state_bytes for layer in workload.model.layers)
    return [*workload.speculation.notes(), *[state] * (recurrent and workload.speculation.rollback == "cut")]


def _idle_threads(workload: Workload) -> list[str]:
    """Threads of a CPU that the machine does not have."""
    said = {"--threads": workload.knobs.threads, "--batch-threads": workload.knobs.batch_threads}
    named = " and ".join(f"{flag} {number}" for flag, number in said.items() if number)
    if not named or workload.hw.cpu is not None or workload.hw.device.name == "cpu":
        return []
    return [f"No time depends on {named}: {workload.hw.name} states no CPU beside the device"]


def _unrated_threads(workload: Workload, plan: Plan) -> list[str]:
    """Whether fewer threads than cores read no slower, because nobody states what one of them reads."""
    threads, engine, cpu = workload.knobs.threads, workload.runtime, workload.hw.cpu
    if engine is None or cpu is None or not _has_cpu_experts(workload, plan):
        return []
    rate = engine.of("cpu.per_thread") if cpu.quantised_bytes_per_s is None else cpu.thread_bytes_per_s
    if rate is not None or not threads or threads >= (cpu.processors or 0):
        return []
    said = f"--threads {threads} makes no decoded token slower: neither {engine.name} nor {workload.hw.name} states what one thread reads"
    return [f"{said}, so the CPU reads as with all {cpu.processors} cores"]


def of_machine(workload: Workload, plan: Plan) -> list[str]:
    """Those that are about the machine."""
    hw = workload.hw if workload.deciding > 1 else workload.hw.alone(0)  # an engine's cards load nothing at once
    return [*streamed(workload, plan), *of_engine(workload), *doubts(workload.hw), *about_links(hw)]


def about(hw: Hardware) -> list[str]:
    """Those of a machine, whatever it plays: figures that cannot be true, a link that is faster than the memory it reads."""
    return [*doubts(hw), *about_links(hw)]


def foresight(workload: Workload, plan: Plan) -> list[str]:
    """What the plan knows of the text that it is scored on, which no machine could know beforehand."""
    return [
        *sees_the_future(plan.eviction), *foresees(plan.prefetch), *_guesses_its_own_text(workload, plan), *_counts(workload, plan),
        *_fits(workload, plan),
    ]  # fmt: skip


def _fits(workload: Workload, plan: Plan) -> list[str]:
    """Whether quotas were fitted to the text that they are scored on, or to rows that are not played."""
    if named(plan.scope).name != FITTED:
        return []
    other = popularity.other_trace(plan.scope)
    if popularity.counts_first(plan.scope) and (counted := workload.counted) is not None:
        return [f"{plan.scope} counted the first {counted.rows:,} of {counted.of_rows:,} tokens, which are not played"]
    if other is not None and traces.digest(popularity.counted_trace(other, workload.recorded)) != workload.trace_digest:
        return []
    return [
        f"{FITTED} quotas are those of the very text that they are scored on: a bound. {FITTED}:TRACE counts another trace"
    ]


def _guesses_its_own_text(workload: Workload, plan: Plan) -> list[str]:
    """Whether the text that a prefetcher learns from is the one that it is scored on."""
    other = popularity.other_trace(plan.prefetch)
    if other is None or traces.digest(popularity.counted_trace(other, workload.recorded)) != workload.trace_digest:
        return []
    short = _short(str(plan.prefetch))
    return [
        f"{short} learns from the very text that it is scored on: a bound. {short}:first=20% learns from the first fifth and plays the rest"
    ]


def _counts(workload: Workload, plan: Plan) -> list[str]:
    """Whether the placement was chosen by the text that it is scored on."""
    name, counted = plan.placement, workload.counted
    if name is None:
        return []
    short, counts = _short(name), counts_use(workload, name, plan.seed)
    if counted is not None and (counts or popularity.counts_first(name)):
        did = "counted" if counts else "counts nothing of"
        return [
            f"{short}:{popularity.source(name)} {did} the first {counted.rows:,} of {counted.of_rows:,} tokens, which are not played"
        ]
    if not counts:
        return []
    other = popularity.other_trace(name)
    if other is not None and traces.digest(popularity.counted_trace(other, workload.recorded)) != workload.trace_digest:
        return []
    said = f"{short} counts the experts of the very text that it is scored on: a bound."
    return [
        f"{said} {short}:TRACE counts another trace, {short}:first=20% the first fifth of this one and plays the others"
    ]


def _short(policy: str) -> str:
    """Without folders, and without the trace that it counts: notes hold no paths."""
    path, values, _ = named(policy)
    return Path(path).stem + f"={values}" * bool(values)


def _counts_other_experts(workload: Workload, plan: Plan) -> list[str]:
    """Whether the placement counts a trace of other weights, whose expert 3 is another expert than the one that is played."""
    other = popularity.other_trace(plan.placement)
    if other is None:
        return []
    counted, played = popularity.counted_trace(other, workload.recorded).meta, workload.recorded.meta
    for key in OF_WEIGHTS:
        one, two = counted.get(key), played.get(key)
        if None not in (one, two) and one != two:
            said = f"{_short(str(plan.placement))}:{Path(other).name} counts the experts of another model"
            return [
                f"{said}, by its {key} {str(one)[:12]} in place of {str(two)[:12]}: equal numbers are not equal experts"
            ]
    return []


def _quality(workload: Workload, plan: Plan) -> str:
    """What the offload runtime has measured of such a run, or how it would."""
    rule = policies.load("miss", plan.miss)
    bundled = policies.find("miss", plan.miss).parent == policies.FOLDER / "miss"
    if plan.scope != "global" or plan.prefetch is not None or plan.placement is not None or not bundled:
        return "Quality is not simulated: the offload runtime measures it on trained models (docs/offload.md)"
    told = arguments.given("miss", plan.miss, rule)
    if not plan.budget_bytes:  # of several: each has slots, and so a quality, of its own
        return "Quality depends on the budget: of each, `simmoe run` says what was measured, or how to measure it"
    slots = (plan.budget_bytes - plan.pool_bytes) // int(workload.model.expert_bytes.max())
    name, bits = Path(named(plan.miss).name).stem, measured_bits(workload.model)
    return measured.said(workload.recorded.meta, name, told, plan.eviction, slots, bits)


def _changes_output(workload: Workload, plan: Plan) -> list[str]:
    """Whether the miss rule leaves experts out, or has others in their place; and whether it goes by weights that the trace has not."""
    rule, name = policies.load("miss", plan.miss), Path(named(plan.miss).name).stem
    notes = list[str]()
    if changes_output(rule):
        said = f"{name} changes what the model says, so its speed is not at equal quality"
        notes = [said, *_low_copies(workload, plan), _quality(workload, plan)]
    if "gate" in getattr(rule, "NEEDS", ()) and workload.trace.gate_weights is None:
        notes.append(f"The routing has no gate weights: --miss {name} takes all experts of a token as of equal weight")
    return notes


def _low_copies(workload: Workload, plan: Plan) -> list[str]:
    """Which copies may serve what is missing, and where they stay."""
    model = workload.model
    if not model.low:
        return []
    share = sum(part.bytes for part in model.low) / int(model.expert_bytes.sum())
    where = "are forgotten with their event"
    if plan.low_budget is not None:  # of a sweep, whose budgets vary, only a share is known
        said = str(plan.low_budget)
        room = said if said.endswith("%") else nbytes(plan.pool_bytes or bytes_of(plan.low_budget, 0, "--low-budget"))
        where = f"stay in a pool, {room} of the budget"
    return [f"Low copies in {model.low_format}, {share:.0%} of an expert's bytes, {where}"]


def _leaves_none(workload: Workload, plan: Plan) -> list[str]:
    """Whether a placement that may leave experts to the CPU leaves it none."""
    if plan.placement is None or plan.device_budgets or placed(workload, plan).any():
        return []
    said = f"{_short(plan.placement)} leaves no expert to the CPU"
    unit = asked.unit(policies.load("placement", named(plan.placement).name), UNITS)
    if unit in ("proportions", "devices"):  # of devices, of which there is one
        return []
    if unit == "blocks":
        said += f": the model's first block with experts is number {workload.model.moe_layers[0]}, counted from 0"
    return [said]


def _asks_for_more(workload: Workload, plan: Plan) -> list[str]:
    """Whether the budget was more than there is to hold."""
    if not plan.beyond_bytes:
        return []
    whose = " that the placement left to the device" * (plan.placement is not None)
    held = nbytes(plan.budget_bytes)
    return [f"The budget is {nbytes(plan.beyond_bytes)} more than all experts{whose}: the run holds them all, {held}"]


def _does_not_fit(workload: Workload, plan: Plan) -> list[str]:
    """Whether the bound everything holds more than the device has."""
    if plan.eviction != "everything" or plan.device_budgets:
        return []
    memory = memory_of(workload, plan)
    short = memory.short_by(plan.budget_bytes)
    said = f"The bound everything does not fit on {workload.hw.name}"
    return [f"{said}: {nbytes(short)} are missing beside the usable {nbytes(memory.usable_bytes)}"] * bool(short)


def _full_page_cache(workload: Workload, plan: Plan) -> list[str]:
    """Whether loads are answered by a page cache that was full before the run, though the slots start empty."""
    left = memory_of(workload, plan).left_bytes if plan.page_cache_bytes else 0
    if not left or plan.eviction == "everything" or plan.budget_bytes >= left or not len(cached(workload, plan)):
        return []
    said = f"The page cache holds all experts that may be loaded, {nbytes(left)}, before the run, so {workload.hw.home.name} is not read"
    return [f"{said}; with --start cold it starts empty"]


def _prompts_on_the_cpu(workload: Workload, plan: Plan) -> list[str]:
    """Whether the CPU computes experts in large passes, where engines do otherwise."""
    longest = _longest_prompt(workload)
    if longest < LARGE_PASS or workload.runtime is not None or not _has_cpu_experts(workload, plan):
        return []
    said = f"The CPU computes its experts in prompt passes too, of up to {longest:,} tokens; engines send those of large passes"
    return [f"{said} over the link (llama.cpp from {LARGE_PASS} tokens on): TTFT is too long here"]


def _prompts_overlap(workload: Workload, plan: Plan) -> list[str]:
    """Whether several passes of a prompt are on the cards at once, which not every build and driver has."""
    if (most := copies(workload, plan)) < 2 or not prompts(workload):
        return []
    said = f"Up to {most} passes of a prompt are on the cards at once, as {workload.runtime and workload.runtime.name} has them"
    return [
        f"{said} where nothing is the CPU's; at the slow end of the range there is one, as under some builds and drivers"
    ]


def _no_clock(workload: Workload) -> list[str]:
    """Whether prompts on a CPU are read at the FLOP rate of its profile, since an engine's own goes by a clock that is not known."""
    runtime, unit = workload.runtime, workload.hw.device
    if runtime is None or runtime.device != "cpu" or unit.clock_hz is not None or _longest_prompt(workload) <= FEW_ROWS:
        return []
    rate = text(workload.costs.flops_per_s, "compute")
    said = f"{workload.hw.name} states no units.{unit.name}.clock, by which {runtime.name} counts FLOPs: prompts are read at the rate of"
    return [f"{said} the profile, {rate} with all cores; --set units.{unit.name}.clock=4.5GHz says yours"]


def _longest_prompt(workload: Workload) -> int:
    """Tokens of the largest pass that reads a prompt."""
    return int(np.diff(workload.trace.pass_ptr)[workload.trace.phase == PREFILL].max(initial=0))


def _has_cpu_experts(workload: Workload, plan: Plan) -> bool:
    if plan.device_budgets:
        return False
    placed_there = plan.placement is not None and bool(placed(workload, plan).any())
    return placed_there or "cpu" in getattr(policies.load("miss", plan.miss), "NEEDS", ())


def _withdraws(plan: Plan) -> list[str]:
    """Whether bytes depend on time."""
    said = "Prefetches that have not started may leave the queue of the link (--cancel), so bytes and prefetches depend on time"
    return [f"{said}: a faster link loads more of them"] * plan.cancel
