"""Makes a model file from the tensors of a GGUF file, layer by layer, so that mixed quantisation keeps its real sizes.

Tensor names: gguf-py/gguf/constants.py of https://github.com/ggml-org/llama.cpp. A matrix that no pattern knows is named and refused:
counted as attention it would be read for every token.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers import attention_gguf
from simmoe.workloads.importers.config import name_of
from simmoe.workloads.importers.gguf_header import Header, TensorInfo, read_header
from simmoe.workloads.importers.metadata_gguf import Metadata
from simmoe.workloads.importers.tensors import Tensor, collect
from simmoe.workloads.models.roles import ROLES

LAYER = re.compile(r"blk\.(\d+)\.(.+)")
EXPERTS = re.compile(r"blk\.\d+\.ffn_(gate|up|down|gate_up)_exps\.weight")
SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
PART_OF = (  # the first pattern that matches decides
    (re.compile(r"ffn_(gate|up|down|gate_up)_exps\b"), "expert"),
    (re.compile(r"ffn_(gate|up|down|gate_up|gate_inp)_shexp\b"), "shared"),
    (
        re.compile(r"ffn_(gate_inp|latent_(up|down))\b|exp_probs_b"),
        "attention",
    ),  # the router, and a projection of every token
    (re.compile(r"ffn_(gate|up|down)\."), "ffn"),
    (
        re.compile(
            r"(attn|ssm|indexer|shortconv|time_mix|channel_mix|altup|laurel|hc)\w*(\.|$)|(inp_gate|proj|layer_out\w*)\."
        ),
        "attention",
    ),
)
SMALL_EXPERTS = re.compile(r"ffn_(gate|up|down)_chexps\.")  # a second bank of experts, understood for one family
SMALL_EXPERTS_OF = "grovemoe"
GROVE = "the small expert of each group is counted in equal shares with the experts of the group: the total is right, its reuse is not"
OUTSIDE = re.compile(
    r"(token_embd\w*|per_layer_\w+|output\w*|rope_\w+|position_embd|token_types|altup\w*|hc\w*|cls\w*)\.|rope_freqs"
)


def import_gguf(path: Path) -> dict[str, Any]:
    """A model file with parts."""
    header = _with_siblings(path)
    metadata = Metadata(header.metadata, path.name)
    if not metadata.number("expert_count", default=0):
        raise UserError(f"{path.name}: expert_count is 0 or missing; only Mixture-of-Experts models can be imported")
    _agree(metadata, header)
    tied = all(info.name != "output.weight" for info in header.tensors)
    tensors = [_tensor(info, tied, metadata) for info in header.tensors]
    match = SPLIT.fullmatch(path.name)
    stem, title = match[1] if match else path.stem, header.metadata.get("general.name")
    used, width = metadata.number("expert_used_count"), metadata.number("embedding_length")
    facts = attention_gguf.kept(metadata, header.tensors)
    said = {"caution": _caution(metadata, header), "notes": _notes(metadata, header)}
    return {
        "schema": 1,
        "name": name_of(stem),
        "title": title if isinstance(title, str) and title.strip() else stem,
        "sources": {"parts": f"tensor infos in the header of {path.name}"},
        "parts": collect(tensors, facts, used, width, path.name),
        **{key: text for key, text in said.items() if text},
    }


def _agree(metadata: Metadata, header: Header) -> None:
    """Raises UserError where tensors and metadata contradict each other: each answer would follow the one that is wrong."""
    where, experts = metadata.where, metadata.number("expert_count")
    blocks = metadata.layers + metadata.number("nextn_predict_layers", default=0)
    for name, times in Counter(info.name for info in header.tensors).items():
        if times > 1:
            raise UserError(
                f"{where}: tensor {name[:80]!r} is there {times} times; a model has each once: is a file here twice?"
            )
    for info in header.tensors:
        match = LAYER.fullmatch(info.name)
        if match and (len(match[1]) > 5 or int(match[1]) >= blocks):
            raise UserError(
                f"{where}: tensor {info.name[:80]!r} is beyond the {blocks} blocks that the metadata names (block_count)"
            )
    width, table = metadata.number("embedding_length"), [x for x in header.tensors if x.name == "token_embd.weight"]
    if table and table[0].dims[0] != width:
        raise UserError(
            f"{where}: embedding_length is {width}, but a row of token_embd.weight has {table[0].dims[0]} numbers; the two must agree"
        )
    held = max((info.dims[-1] for info in header.tensors if EXPERTS.fullmatch(info.name)), default=experts)
    if type(metadata.said("expert_count")) is int and held != experts:
        raise UserError(f"{where}: expert_count is {experts}, but its tensors hold {held} experts; the two must agree")


def _caution(metadata: Metadata, header: Header) -> str:
    second = GROVE if any(SMALL_EXPERTS.search(info.name) for info in header.tensors) else ""
    return "; ".join(text for text in (attention_gguf.caution(metadata, header.tensors), second) if text)


def _notes(metadata: Metadata, header: Header) -> str:
    found = []
    if further := metadata.number("nextn_predict_layers", default=0):
        found.append(f"{further} layers that predict further tokens left out.")
    if types := ", ".join(header.unknown):
        found.append(f"Bytes of {types} are the distances between tensors, up to 31 bytes more than the type has.")
    return " ".join(found)


def _with_siblings(path: Path) -> Header:
    """The header; for a split model, the tensors of all its files (the first one holds the metadata)."""
    match = SPLIT.fullmatch(path.name)
    if not match or not int(match[3]):
        header = read_header(path)
        count = header.metadata.get("split.count", 1)
        if count not in (0, 1):
            raise UserError(
                f"{path.name} is one of {count} files of a split model; give all of them names such as "
                "NAME-00001-of-00002.gguf"
            )
        return header
    paths = [path.with_name(f"{match[1]}-{i:05}-of-{match[3]}.gguf") for i in range(1, int(match[3]) + 1)]
    if missing := [p.name for p in paths if not p.is_file()]:
        raise UserError(f"{missing[0]} is not beside {path.name}; all {len(paths)} files of a split model are needed")
    headers = [read_header(p) for p in paths]
    return Header(headers[0].metadata, [info for header in headers for info in header.tensors])


def _tensor(info: TensorInfo, tied: bool, metadata: Metadata) -> Tensor:
    match, kind = LAYER.fullmatch(info.name), _kind(info)
    roles = _roles(info) if kind == "matrix_params" else {}
    if not match:
        if tied and info.name == "token_embd.weight":  # the quantiser treats it as the head that it is
            return Tensor("head", kind, info.params, info.nbytes, roles={"output": (info.dims[0], info.params)})
        if not OUTSIDE.match(info.name) and kind == "matrix_params":
            raise _unknown(info, metadata)
        return Tensor(
            "head" if info.name.startswith("output") else "embedding", kind, info.params, info.nbytes, roles=roles
        )
    if metadata.family == SMALL_EXPERTS_OF and SMALL_EXPERTS.match(match[2]):
        experts = metadata.number("expert_count")  # one for each group, in equal shares with its experts
        return Tensor("expert", kind, info.params, info.nbytes, int(match[1]), experts, roles=roles)
    part = next((part for pattern, part in PART_OF if pattern.match(match[2])), "")
    if not part and kind == "matrix_params" and not match[2].startswith("nextn."):
        raise _unknown(info, metadata)
    n_experts = info.dims[-1] if part == "expert" else 0
    return Tensor(part or "attention", kind, info.params, info.nbytes, int(match[1]), n_experts, roles=roles)


def _unknown(info: TensorInfo, metadata: Metadata) -> UserError:
    return UserError(
        f"{metadata.where}: no rule knows what {info.name} {list(info.dims)} is for (architecture {metadata.family!r}), and counted as "
        "something else it would change every answer; docs/extending/model.md says where to add the rule"
    )


def _kind(info: TensorInfo) -> str:
    if "ffn_gate_inp" in info.name and info.name.endswith(".weight"):
        return "router_params"
    vectors = (".bias", ".scale", ".input_scale", "ssm_a", "ssm_d")  # the biases of experts have two dimensions
    if (
        sum(n > 1 for n in info.dims) <= 1
        or info.name.endswith(vectors)
        or "conv1d" in info.name
        or "norm" in info.name
    ):
        return "vector_params"
    return "matrix_params"


def _roles(info: TensorInfo) -> dict[str, tuple[int, int]]:
    """What the matrix is for, in the words of llama.cpp's quantiser, with the length of its rows; empty = none of them."""
    name = info.name.removesuffix(".weight")
    if name.startswith("blk."):
        name = re.sub(r"_(ch|sh)?exps?$", "", name.split(".", 2)[-1])
    row = info.dims[0]
    if name == "ffn_gate_up":
        return dict.fromkeys(("ffn_gate", "ffn_up"), (row, info.params // 2))
    return {name: (row, info.params)} if name in ROLES else {}
