"""Routed experts that vLLM returns with an answer (`--enable-return-routed-experts`): npy, npz or JSON.

https://github.com/vllm-project/vllm/pull/28284, 38939 and 51906: an integer array [tokens, layers, top_k], of the prompt as
`prompt_routed_experts`, of the answer as `routed_experts` of each choice; over HTTP each is an npy file in base64. Older releases
return one array over both, which the number of prompt tokens divides. The last generated token is never fed back: it has no row,
though some clients append one of zeros. Layers without experts may stand in the array as columns of zeros.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from simmoe.simulator.decide.blame import one_line
from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.foreign.building import Stated, prompt_rows, request, trace
from simmoe.workloads.foreign.file import Array, File

PROMPT, ANSWER = "prompt_routed_experts", "routed_experts"


def recognises(file: File) -> bool:
    if file.npy is not None:
        return file.npy.ndim == 3 and file.npy.dtype.kind in "iu"
    if file.names:
        return ANSWER in file.names or PROMPT in file.names
    return any(True for _, one in file.records for _ in _answers(one))


def read(file: File, stated: Stated) -> Trace:
    if file.npy is not None:
        parts = [(file.npy, *prompt_rows(file, stated, len(file.npy)))]
    elif file.names:
        parts = [
            _joined(file, stated, "the archive", {n: file.array(n) for n in (PROMPT, ANSWER) if n in file.names}, None)
        ]
    else:
        parts = [_of_json(file, stated, where, one, choice) for where, one in file.records for choice in _answers(one)]
    passes = [one for number, (ids, prompt, _) in enumerate(parts) for one in request(number, ids, prompt)]
    return trace(file, stated, passes, notes=sorted({note for _, _, notes in parts for note in notes}))


def _answers(record: Any) -> Iterator[Mapping[str, Any]]:
    """Each choice of a response, or the record itself, that holds routed experts."""
    if not isinstance(record, dict):
        return
    choices = record.get("choices") or record.get("outputs")
    for one in choices if isinstance(choices, list) else [record]:
        if isinstance(one, dict) and (one.get(ANSWER) is not None or (record.get(PROMPT) is not None)):
            yield one


def _of_json(
    file: File, stated: Stated, where: str, record: Mapping[str, Any], choice: Mapping[str, Any]
) -> tuple[Array, int, list[str]]:
    given = {PROMPT: record.get(PROMPT), ANSWER: choice.get(ANSWER)}
    arrays = {name: _array(file, f"{where}: {name}", value) for name, value in given.items() if value is not None}
    tokens = record.get("prompt_token_ids")
    usage = record.get("usage")
    told = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    said = len(tokens) if isinstance(tokens, list) else told
    return _joined(file, stated, where, arrays, said if type(said) is int else None)


def _joined(
    file: File, stated: Stated, where: str, arrays: Mapping[str, Array], said: int | None
) -> tuple[Array, int, list[str]]:
    """(rows of prompt and answer, rows of the prompt, notes)."""
    for name, array in arrays.items():
        if array.ndim != 3 or array.dtype.kind not in "iu":
            file.fail(
                f"{where}: {name} is {array.dtype} of shape {array.shape}; it must be whole numbers [tokens, layers, top_k]"
            )
    if PROMPT not in arrays:
        ids = _without_padding(arrays[ANSWER])
        return ids, *prompt_rows(file, stated, len(ids), said)
    prompt = arrays[PROMPT]
    if ANSWER not in arrays:
        return prompt, len(prompt), []
    answer = _without_padding(arrays[ANSWER])
    if answer.shape[1:] != prompt.shape[1:]:
        file.fail(f"{where}: {PROMPT} has [layers, top_k] {prompt.shape[1:]}, {ANSWER} {answer.shape[1:]}")
    return np.concatenate([prompt, answer]), len(prompt), []


def _without_padding(ids: Array) -> Array:
    """Without a last row of zeros; with one expert a token such a row could be true."""
    return ids[:-1] if ids.shape[2] > 1 and len(ids) > 1 and not ids[-1].any() else ids


def _array(file: File, where: str, value: Any) -> Array:
    """Of a list of lists, of an npy file in base64, or of {data, shape, dtype} in base64."""
    try:
        if isinstance(value, str):
            return np.asarray(np.load(io.BytesIO(base64.b64decode(value, validate=True)), allow_pickle=False))
        if isinstance(value, dict):
            return np.frombuffer(base64.b64decode(value["data"], validate=True), _dtype(value["dtype"])).reshape(
                value["shape"]
            )
        return np.array(value)
    except Exception as error:  # a damaged npy file may end in any error of tokenize, struct or numpy
        file.fail(f"{where} cannot be read: {one_line(error)}")


def _dtype(name: Any) -> np.dtype[Any]:
    if name not in ("uint8", "int16", "int32", "int64"):
        raise ValueError(f"dtype {name!r} is none of whole numbers")
    kind: np.dtype[Any] = np.dtype(name).newbyteorder("<")
    return kind
