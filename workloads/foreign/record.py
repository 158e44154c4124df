"""Records the routing of a transformers model while it reads prompts and generates: what its experts are called with.

In transformers 5 every Mixture-of-Experts block hands its choice to a module of experts, `forward(hidden_states, INDEX, WEIGHTS)`. A hook
in front of these modules sees what is really computed, whatever rule the router has: logits, a bias, groups, a capacity.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simmoe.simulator.errors import Missing, UserError
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.simulator.reading import parse_json
from simmoe.workloads.foreign.building import Pass, Stated, trace
from simmoe.workloads.foreign.file import Array, File

INDEX = {"top_k_index", "router_indices", "selected_experts"}  # how the families call the argument
LAYER = re.compile(r"(?:^|\.)(?:layers|block|blocks|h)\.(\d+)\.")
MOST_NEW = 1_000_000


def load(name: str) -> Any:
    """The model of a hub id or a folder; code that comes with it is never run. Raises UserError."""
    try:
        import torch
        import transformers as hub
    except ImportError as error:
        raise Missing(f"recording needs {error.name or 'transformers'}: pip install 'simmoe[hf]'") from None
    transformers: Any = hub
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        kind = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
        model = kind.from_pretrained(name, trust_remote_code=False, dtype="auto")
    except Exception as error:  # of the hub, the network, the config or the weights; they share no base class
        raise UserError(
            f"--model {name} cannot be loaded by transformers: {' '.join(str(error).split())[:300]}"
        ) from None
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def prompts(path: Path, name: str) -> list[list[int]]:
    """A prompt for each line: a text, or a JSON list of token ids."""
    found, tokenizer = [], None
    for number, line in File(path).lines():
        if line.startswith("["):
            ids = parse_json(line, f"{path}: line {number}")
            if not ids or any(type(one) is not int or one < 0 for one in ids):
                raise UserError(f"{path}: line {number}: token ids are whole numbers from 0, at least one")
        else:
            tokenizer = tokenizer or _tokenizer(name)
            ids = tokenizer(line)["input_ids"]
        found.append(ids)
    if not found:
        raise UserError(f"{path}: holds no prompt; write one in each line")
    return found


def _tokenizer(name: str) -> Any:
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:
        raise UserError(
            f"the tokenizer of {name} cannot be loaded: {' '.join(str(error).split())[:200]}; prompts may be lists of token ids too"
        ) from None


def record(model: Any, prompts: Sequence[Sequence[int]], generate: int, source: Path) -> Trace:
    """Each prompt in one pass, then `generate` tokens, greedily; the last one is never fed back. source: the file of the prompts."""
    import torch

    if not 1 <= generate <= MOST_NEW:
        raise UserError(f"--generate {generate} tokens cannot be; give 1 to {MOST_NEW:,}")
    calls, modules = _Calls(), dict(_experts(model))
    if not modules:
        raise UserError(
            f"{type(model).__name__} has no module of experts that is called with their ids; it needs transformers 5 or later"
        )
    hooks = [model.register_forward_pre_hook(lambda *_: calls.begin())]
    hooks += [
        module.register_forward_pre_hook(calls.of(layer, module), with_kwargs=True) for layer, module in modules.items()
    ]
    passes = []
    try:
        for number, prompt in enumerate(prompts):
            calls.passes.clear()
            with torch.no_grad():
                ids = torch.tensor([list(prompt)], device=model.device)
                model.generate(
                    ids, attention_mask=torch.ones_like(ids), max_new_tokens=generate, do_sample=False, pad_token_id=0
                )
            passes += _passes(number, calls, sorted(modules))
    finally:
        for hook in hooks:
            hook.remove()
    name = model.config.name_or_path or type(model).__name__
    return trace(
        File(source), Stated(), passes, layers=sorted(modules), experts=_count(modules), recorded_model=name,
        router=type(model).__name__, recorder="transformers",
    )  # fmt: skip


def _experts(model: Any) -> Iterator[tuple[int, Any]]:
    """(layer, module) of each module of experts; of an encoder-decoder those of the decoder."""
    for name, module in model.named_modules():
        takes = INDEX & set(inspect.signature(type(module).forward).parameters)
        layer = LAYER.search(name)
        if takes and layer and not name.startswith("encoder."):
            yield int(layer[1]), module


def _count(modules: dict[int, Any]) -> int:
    counts = {int(getattr(module, "num_experts", 0) or len(module)) for module in modules.values()}
    if len(counts) != 1:
        raise UserError(f"layers have {sorted(counts)} experts; a trace holds one number for all layers")
    return counts.pop()


class _Calls:
    """What the modules of experts were called with, pass by pass."""

    def __init__(self) -> None:
        self.passes: list[dict[int, tuple[Array, Array]]] = []

    def begin(self) -> None:
        self.passes.append({})

    def of(self, layer: int, module: Any) -> Any:
        names = list(inspect.signature(type(module).forward).parameters)[1:]  # without self
        place = next(i for i, name in enumerate(names) if name in INDEX)

        def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = [args[i] if i < len(args) else kwargs[names[i]] for i in (place, place + 1)]
            ids, weights = (one.detach().float().cpu().numpy() for one in given)
            self.passes[-1][layer] = _chosen(ids) if ids.ndim == 3 else (ids.astype(np.int64), weights)

        return hook


def _chosen(mask: Array) -> tuple[Array, Array]:
    """Of [tokens, 1, experts] ones and zeros (Switch): the one expert, −1 where capacity left none."""
    flat = mask.reshape(len(mask), -1)
    return np.where(flat.any(1), flat.argmax(1), -1)[:, None], np.full((len(mask), 1), np.nan)


def _passes(number: int, calls: _Calls, layers: list[int]) -> list[Pass]:
    found, position = list[Pass](), 0
    for one in calls.passes:
        if not one:
            continue
        ids = np.stack([one[layer][0] for layer in layers], 1)
        weights = np.stack([one[layer][1].reshape(len(ids), -1) for layer in layers], 1)
        rows = position + np.arange(len(ids))
        fits = weights.shape == ids.shape and np.isfinite(weights).all()
        found.append(
            Pass(DECODE if found else PREFILL, np.full(len(ids), number), rows, ids, weights if fits else None)
        )
        position += len(ids)
    return found
