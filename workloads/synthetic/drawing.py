"""Draws routing from a twin: token by token, all layers of one diagonal (token + layer) at once, since a layer needs the one before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads.synthetic.twin import Ints, Twin

Weights = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


FARTHEST = 40.0  # a logarithm: with stickiness and lift of a file, 20 each at most, its exponential stays a float32
BLOCK = 64  # topics that are spread evenly together: bounds memory
FEWEST = 16  # that are spread together, used or not
NORMAL = np.linspace(-5, 5, 2001)  # a normal number, and the share of all that are below it
SHARES = np.array([NormalDist().cdf(number) for number in NORMAL])


@dataclass(frozen=True)
class Topic:
    """What begins with some token."""

    weight: Weights  # [layers, experts] exp(popularity + topic)
    stack: Ints | None  # [layers, experts] at the first token of a sequence; later the stack goes on


def draw(twin: Twin, prompts: Sequence[int], generated: Sequence[int], seed: int) -> Trace:
    """Sequences one after the other: the prompt in one prefill pass, then one decode pass for each generated token."""
    for number, (prompt, answer) in enumerate(zip(prompts, generated, strict=True)):
        if min(prompt, answer) < 0 or prompt + answer < 1:
            raise UserError(
                f"sequence {number} has {prompt} prompt and {answer} generated tokens; give at least one token in all"
            )
    lengths = [prompt + answer for prompt, answer in zip(prompts, generated)]
    passes = [
        (size, phase)
        for p, g in zip(prompts, generated)
        for size, phase in [(p, PREFILL)] * (p > 0) + [(1, DECODE)] * g
    ]
    sizes, phases = zip(*passes)
    return Trace(
        expert_ids=draw_ids(twin, lengths, seed),
        layer_index=twin.layer_index.astype(np.int16),
        pass_ptr=np.cumsum([0, *sizes]).astype(np.int64),
        phase=np.array(phases, np.int8),
        sequence=np.repeat(np.arange(len(lengths)), lengths).astype(np.int32),
        position=np.concatenate([np.arange(length) for length in lengths]).astype(np.int32),
        meta={
            "schema_version": 1, "n_experts": twin.n_experts, "top_k": twin.top_k, "router": f"synthetic, like {twin.name}",
            "synthetic": True, "source": twin.source, "seed": seed,
        },
    )  # fmt: skip


def draw_ids(twin: Twin, lengths: Sequence[int], seed: int) -> npt.NDArray[np.int16]:
    """int16 [tokens, layers, top_k]: sequences of these lengths, one after the other. Within a token the first drawn stands first."""
    assert twin.experts_known
    n_layers, n_experts, k, tokens = twin.n_layers, twin.n_experts, twin.top_k, sum(lengths)
    random = np.random.default_rng(seed)
    ids = np.empty((tokens, n_layers, k), np.int16)
    weight = np.empty((n_layers, n_experts), np.float32)
    stack = np.empty((n_layers, n_experts), np.int64)
    used = np.zeros((n_layers, n_experts), bool)  # by the token that the layer saw last
    by_depth = np.exp(twin.stickiness_by_depth).astype(np.float32)
    partner, lift = _partners(twin)
    begins, coming = dict[int, Topic](), _topics(twin, lengths, random)
    upcoming = next(coming, None)
    for step in range(tokens + n_layers - 1):
        if upcoming is not None and upcoming[0] == step:
            begins[step] = upcoming[1]
            upcoming = next(coming, None)
        begins.pop(step - n_layers, None)
        for token, topic in begins.items():
            weight[step - token] = topic.weight[step - token]
            if topic.stack is not None:
                stack[step - token] = topic.stack[step - token]
        here = slice(max(step - tokens + 1, 0), min(step + 1, n_layers))  # layers; layer l is at token step - l
        layers = np.arange(here.start, here.stop)
        raised = np.where(used[layers[:, None] - 1, partner[here]], lift[here], 1) if lift.size else np.float32(1)
        chances = np.take_along_axis(weight[here] * raised, stack[here], 1) * by_depth[here]
        depth, order = _first(random.standard_exponential(chances.shape, np.float32) / chances, k)
        chosen = np.take_along_axis(stack[here], depth, 1)
        ids[step - layers, layers] = chosen
        stack[here, :k], stack[here, k:] = chosen[:, ::-1], stack[here][order].reshape(len(layers), n_experts - k)
        used[here] = False
        used[layers[:, None], chosen] = True
    return ids


def _first(clock: Weights, k: int) -> tuple[Ints, Flags]:
    """([rows, k] the columns that ring first, in order; [rows, columns] the others). A draw without replacement by weight."""
    first = (
        np.argpartition(clock, k - 1, 1)[:, :k] if k < clock.shape[1] else np.broadcast_to(np.arange(k), clock.shape)
    )
    first = np.take_along_axis(first, np.argsort(np.take_along_axis(clock, first, 1), 1), 1)
    others = np.ones(clock.shape, bool)
    np.put_along_axis(others, first, False, 1)
    return first, others


def _partners(twin: Twin) -> tuple[Ints, Weights]:
    """[layers, experts] each: the expert of the layer before that raises this one, and the factor (1 = none does)."""
    shape = (twin.n_layers, twin.n_experts)
    partner, lift = np.zeros(shape, np.int64), np.ones(shape, np.float32)
    np.put_along_axis(partner, twin.targets, twin.partners, 1)
    np.put_along_axis(lift, twin.targets, np.exp(twin.lift).astype(np.float32), 1)
    lift[0] = 1  # the first layer has none before it
    return partner, lift if twin.targets.size else np.ones((twin.n_layers, 0), np.float32)


def _topics(twin: Twin, lengths: Sequence[int], random: np.random.Generator) -> Iterator[tuple[int, Topic]]:
    """(first token, topic) in order: one at each start of a sequence, others after random numbers of tokens."""
    begins = _begins(twin, lengths, random)
    tokens = np.diff([*(token for token, _ in begins), sum(lengths)])
    for at in range(0, len(begins), BLOCK):
        block = tokens[at : at + BLOCK]
        for (token, first), extra in zip(begins[at : at + BLOCK], spread_evenly(block, twin, random)):
            topic = twin.popularity + twin.topic_spread[:, None] * extra
            weight = np.exp(np.clip(topic, -FARTHEST, FARTHEST)).astype(np.float32)
            yield token, Topic(weight, _warm(weight, random) if first else None)


def _begins(twin: Twin, lengths: Sequence[int], random: np.random.Generator) -> list[tuple[int, bool]]:
    """(first token, whether a sequence begins) of each topic."""
    begins, begin = [], 0
    for length in lengths:
        at = 0
        while at < length:
            begins.append((begin + at, at == 0))
            at += int(random.geometric(1 / twin.topic_tokens))
        begin += length
    return begins


def spread_evenly(tokens: Ints, twin: Twin, random: np.random.Generator) -> Weights:
    """[topics, layers, experts] normal numbers, of topics that last so many tokens.

    Each is as if it were drawn alone. Over the tokens of all topics, every expert of every layer meets the whole distribution evenly, so
    that one text stands for the model: a systematic sample by length, in an order of the expert's own. Where a text has fewer topics than
    FEWEST, some that are not used stand beside them, so that its topics stay nearly independent.
    """
    shares = np.concatenate([tokens, np.full(max(FEWEST - len(tokens), 0), twin.topic_tokens)])
    shape = (len(shares), twin.popularity.size)
    order = np.argsort(random.random(shape, np.float32), 0)
    share = (shares / shares.sum())[order]
    place = np.empty(shape)
    np.put_along_axis(place, order, (np.cumsum(share, 0) - share / 2 + random.random(shape[1])) % 1, 0)
    normal = np.interp(place[: len(tokens)], SHARES, NORMAL)
    return normal.astype(np.float32).reshape(len(tokens), *twin.popularity.shape)


def _warm(weight: Weights, random: np.random.Generator) -> Ints:
    """A stack as it may stand in the middle of a text: experts of great weight near the top."""
    return np.argsort(random.standard_exponential(weight.shape, np.float32) / weight, 1)
