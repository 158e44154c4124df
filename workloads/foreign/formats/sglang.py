"""Routed experts that SGLang returns with an answer (`--enable-return-routed-experts`), JSON.

https://github.com/sgl-project/sglang/pull/12162 and 17434, python/sglang/srt/state_capturer/routed_experts.py:
`meta_info.routed_experts` of /generate, `sgl_ext.routed_experts` of a choice of /v1/completions: int32 in base64, flat, of shape
[tokens, layers, top_k]; tokens = prompt + answer − 1, as the last token is never fed back. Neither layers nor top-k stand in the file;
`layers` counts all layers of the model.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.foreign.building import TELL, Stated, prompt_rows, request, trace
from simmoe.workloads.foreign.file import Array, File

KEY = "routed_experts"


def recognises(file: File) -> bool:
    return any(True for _, one in file.records for _ in _answers(one))


def read(file: File, stated: Stated) -> Trace:
    answers = [(where, text, about) for where, one in file.records for text, about in _answers(one)]
    parts = [_rows(file, stated, where, text, about) for where, text, about in answers]
    passes = [one for number, (ids, prompt, _) in enumerate(parts) for one in request(number, ids, prompt)]
    return trace(file, stated, passes, notes=sorted({note for _, _, notes in parts for note in notes}))


def _answers(record: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(base64 text, what counts its tokens) of each answer in a response."""
    if not isinstance(record, dict):
        return
    about = record.get("meta_info")
    if isinstance(about, dict) and isinstance(about.get(KEY), str):
        yield about[KEY], about
    choices = record.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        extra = (
            (choice.get("sgl_ext") or choice.get("sglext") or choice.get("meta_info"))
            if isinstance(choice, dict)
            else None
        )
        if isinstance(extra, dict) and isinstance(extra.get(KEY), str):
            yield extra[KEY], usage if isinstance(usage := record.get("usage"), dict) else {}


def _rows(file: File, stated: Stated, where: str, text: str, about: Mapping[str, Any]) -> tuple[Array, int, list[str]]:
    """(rows, rows of the prompt, notes)."""
    try:
        flat = np.frombuffer(base64.b64decode(text, validate=True), "<i4")
    except (ValueError, binascii.Error) as error:
        file.fail(f"{where}: {KEY} is no int32 in base64: {error}")
    prompt, answer = about.get("prompt_tokens"), about.get("completion_tokens")
    if type(prompt) is not int or type(answer) is not int or min(prompt, answer) < 0 or prompt + answer < 2:
        file.fail(
            f"{where}: prompt_tokens and completion_tokens must stand beside {KEY}: they tell how many rows it has"
        )
    if stated.top_k is None:
        file.fail(f"{where}: {KEY} is flat and does not say top-k; {TELL} --top-k K")
    tokens = prompt + answer - 1
    if not flat.size or flat.size % (tokens * stated.top_k):
        file.fail(f"{where}: {KEY} has {flat.size} numbers, no multiple of {tokens} rows × top-{stated.top_k}")
    ids = flat.reshape(tokens, -1, stated.top_k)
    return ids, *prompt_rows(file, stated, tokens, min(prompt, tokens))
