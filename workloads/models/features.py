"""The words of a layer (FEATURES) as a model file says them."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import FEATURES, MIXERS

OF_EXPERTS = ("expert_bias", "shared_gate", "router_bias", "dense_beside")  # words of layers with routed experts only


def features(value: object, where: str) -> tuple[str, ...]:
    """From a list of words, sorted; raises UserError."""
    if not isinstance(value, list):
        raise UserError(f"{where} is {reprlib.repr(value)}; it must be a list of words such as [qk_norm], [] for none")
    for word in value:
        if not isinstance(word, str) or word not in FEATURES:
            near = difflib.get_close_matches(str(word), FEATURES, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"{where}: unknown word {reprlib.repr(word)}; {hint}known: {', '.join(FEATURES)}")
    return ordered(value)


def ordered(words: Iterable[str]) -> tuple[str, ...]:
    """Each once, as a layer holds them."""
    return tuple(sorted({*words}))


def contradiction(words: tuple[str, ...], n_experts: int) -> str:
    """What in the words of a layer cannot be; empty = nothing."""
    if "no_mixer" in words and (mixer := next((word for word in words if word in MIXERS), "")):
        return f"features names no_mixer and {mixer}; a layer has something that mixes positions or nothing, so drop one of them"
    if not n_experts and (word := next((word for word in words if word in OF_EXPERTS), "")):
        return f"features names {word} but n_experts is 0; drop the word, or give the experts"
    return ""
