"""The parameters of a config.json as transformers' own class of the family has them (extra `hf`).

The class is built on PyTorch's meta device: shapes without memory, in a second or two even for models of a trillion parameters. Nothing
is downloaded, and no code that comes with a model is run (`trust_remote_code` is never given).
"""

from __future__ import annotations

import contextlib
import logging
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers.config import SAME_AS, Config
from simmoe.workloads.importers.places import ELSEWHERE, Named

NEEDS = "needs the packages transformers and torch; install them with: pip install 'simmoe[hf]'"


@dataclass(frozen=True)
class Built:
    """A model class: its configuration with all defaults, its parameters, and what was left out."""

    config: Config
    tensors: tuple[Named, ...]
    elsewhere: int  # parameters of vision towers and of multi-token prediction


def available() -> bool:
    from importlib.util import find_spec

    return bool(find_spec("transformers") and find_spec("torch"))


def build(content: Mapping[str, Any], where: str) -> Built:
    """The class that the model_type of `content` names, with its fields."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    said = str(content.get("model_type"))
    family = said if said in CONFIG_MAPPING else SAME_AS.get(said, said)
    if family not in CONFIG_MAPPING:
        here = f"transformers {_version()} has no class for model_type {reprlib.repr(said)}"
        raise UserError(f"{where}: {here}; a newer one may have it")
    with _quiet():
        try:
            config, model = _on_meta({**content, "model_type": family})
        except Exception as error:  # whatever a class raises for fields that do not fit it
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise UserError(f"{where}: the class of {family} in transformers cannot be built from it: {why}") from None
    tensors = tuple(_tensors(model))
    out = sum(one.count for one in tensors if ELSEWHERE.search(one.name))
    return Built(Config(config.get_text_config(decoder=True).to_dict(), where), tensors, out)


def _version() -> str:
    import transformers

    return str(transformers.__version__)


def _on_meta(fields: dict[str, Any]) -> tuple[Any, Any]:
    import torch
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = CONFIG_MAPPING[fields["model_type"]].from_dict(fields)
    with torch.device("meta"):
        return config, _class_of(config)._from_config(config)


def _class_of(config: Any) -> Any:
    """The class with a head that writes text; of a multimodal model the whole, so that its tower can be told apart."""
    import transformers
    from transformers.models.auto import modeling_auto as auto

    tables = (
        auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )
    for table in tables:
        if name := table.get(config.model_type):
            return getattr(transformers, name if isinstance(name, str) else name[0])
    raise ValueError("it has no class that writes text")


def _tensors(model: Any) -> Iterator[Named]:
    """Each once: what is tied to another has the same storage object, and is named first there."""
    seen: set[int] = set()
    buffers = {name for name, _ in model.named_buffers()}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if id(tensor) not in seen and (name not in buffers or name.endswith(("correction_bias", "expert_bias"))):
            seen.add(id(tensor))
            yield Named(name, tuple(tensor.shape))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of classes about fields that do not matter here."""
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
