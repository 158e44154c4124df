"""What a miss rule costs in quality: the text of a bundled trace through the model that made it, with the rule and without."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from simmoe.workloads.offload.layout import Ids
from simmoe.workloads.offload.missing import Rule
from simmoe.workloads.offload.play import play_text
from simmoe.workloads.offload.record import Played
from simmoe.workloads.offload.runtime import Options
from simmoe.workloads.oracle_moe import training, zoo
from simmoe.workloads.oracle_moe.backbone import GPT
from simmoe.workloads.oracle_moe.make import describe
from simmoe.workloads.oracle_moe.recipe import TINY
from simmoe.workloads.oracle_moe.text.windows import held_out_pure
from simmoe.workloads.oracle_moe.zoo import Entry

QUICK = Entry(
    "tiny", replace(TINY, n_experts=8, top_k=2), "switch"
)  # trains in about a minute; the zoo has no trace of it
Losses = npt.NDArray[np.float64]
Report = Callable[[str, int, int, float], None]


@dataclass(frozen=True)
class Setting:
    """One run: a miss rule, behind so many slots."""

    name: str  # of the rule
    argument: Mapping[str, float]  # what stands behind it
    slots: int
    rule: Rule


@dataclass(frozen=True)
class Text:
    """Held-out text, and how it is played: one prefill pass of each sequence, then a pass for every token."""

    tokens: Ids  # int64 [sequences, T]
    prefill: int


@dataclass(frozen=True)
class Measured:
    """A run beside that of the model with every expert resident, on the same text."""

    model: str
    recipe_digest: str  # of the trace that the model made, too
    rule: str
    argument: dict[str, float]
    low_bits: int | None  # of the copies of low precision, where any was computed
    eviction: str
    slots: int
    experts: int
    sequences: int
    tokens: int
    proxy_ppl: float
    proxy_ppl_resident: float
    ratio: float
    ratio_error: float  # standard error of the ratio, over sequences
    requests: int
    hits: int
    misses: int
    on_cpu: int
    substituted: int
    dropped: int
    low: int
    bytes: int
    expert_bytes: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"hit_rate": round(self.hits / self.requests, 5)}


def entry_of(name: str) -> Entry:
    """A model of the zoo, or the one that trains in a minute. Raises UserError."""
    return QUICK if name == QUICK.name else zoo.entry(name)


def text_of(entry: Entry, sequences: int) -> Text:
    """The first sequences of the text of that model's trace."""
    recipe = entry.recipe
    return Text(held_out_pure(recipe.trace_sequences, recipe.length).tokens[:sequences], recipe.prefill)


def measure(
    model: GPT, entry: Entry, text: Text, eviction: str, settings: Sequence[Setting], report: Report
) -> Iterator[Measured]:
    """One result after the other."""
    resident = played(model, text, Options())
    base = losses(resident, text)
    report(entry.name, 1, len(settings) + 1, float(base.mean()))
    for number, setting in enumerate(settings):
        run = played(model, text, Options(setting.slots * resident.expert_bytes, eviction, rule=setting.rule))
        mine = losses(run, text)
        report(entry.name, number + 2, len(settings) + 1, float(mine.mean()))
        yield compared(entry, setting, eviction, run, mine, base)


def compared(entry: Entry, setting: Setting, eviction: str, run: Played, mine: Losses, base: Losses) -> Measured:
    """mine, base: mean loss of each sequence, with the rule and with every expert resident."""
    more = mine - base
    ratio = math.exp(more.mean())
    error = ratio * float(more.std(ddof=1)) / math.sqrt(len(more))
    return Measured(
        model=entry.name,
        recipe_digest=describe(entry)["recipe_digest"],
        rule=setting.name,
        argument=dict(setting.argument),
        low_bits=setting.rule.low_bits if run.low else None,
        eviction=eviction,
        slots=setting.slots,
        experts=run.trace.n_layers * run.trace.n_experts,
        sequences=len(mine),
        tokens=run.trace.n_tokens,
        proxy_ppl=round(math.exp(mine.mean()), 3),
        proxy_ppl_resident=round(math.exp(base.mean()), 3),
        ratio=round(ratio, 5),
        ratio_error=round(error, 5),
        requests=run.hits + run.misses + run.on_cpu + run.substituted + run.dropped,
        hits=run.hits,
        misses=run.misses,
        on_cpu=run.on_cpu,
        substituted=run.substituted,
        dropped=run.dropped,
        low=run.low,
        bytes=run.bytes,
        expert_bytes=run.expert_bytes,
    )


def played(model: GPT, text: Text, options: Options) -> Played:
    return play_text(model, text.tokens, text.prefill, options)


def losses(run: Played, text: Text) -> Losses:
    """Mean next-token loss of each sequence in nats; its mean's exponential is proxy_ppl as the zoo has it."""
    length = text.tokens.shape[1]
    logits = torch.cat(run.logits).view(len(text.tokens), length, -1)[:, :-1]  # (sequences, T - 1, V)
    targets = torch.from_numpy(text.tokens)[:, 1:]
    each = F.cross_entropy(logits.flatten(0, 1).double(), targets.flatten(), reduction="none")
    found: Losses = each.view(targets.shape).mean(1).numpy()
    return found


def trained(entry: Entry, work: Path, report: training.Progress) -> GPT:
    """The model of the zoo, from its checkpoint in `work` or trained anew."""
    return training.train(entry.recipe, entry.router, work, report, entry.settings).model
