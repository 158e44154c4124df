"""The bundled text: seven openly licensed domains, split by document into training and held-out text.

`corpus.txt.xz` is one ASCII text; `documents.json` lists the documents in order with domain, name, split, start and
length in characters; `tokenizer.json` is a byte-level BPE (vocabulary 2048) trained on the training documents only.
build.py remakes all three; NOTICE and LICENSES/ say whose text it is.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from simmoe.simulator.errors import Missing

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = 2048


@dataclass(frozen=True)
class Document:
    """One chapter, book, page, module, speech or lexicographer file."""

    domain: str
    name: str
    split: str  # "train" or "held-out"
    text: str


@cache
def documents() -> tuple[Document, ...]:
    """Every document, in the order of documents.json."""
    here = files(__package__)
    text = lzma.decompress((here / "corpus.txt.xz").read_bytes()).decode("ascii")
    rows = json.loads((here / "documents.json").read_text(encoding="ascii"))["documents"]
    return tuple(
        Document(r["domain"], r["name"], r["split"], text[r["start"] : r["start"] + r["length"]]) for r in rows
    )


@cache
def domains() -> tuple[str, ...]:
    """Domain names in a fixed order; a domain's number is its index here."""
    return tuple(dict.fromkeys(d.domain for d in documents()))


@cache
def digest() -> str:
    """sha256 over every document and the tokenizer: the text that a recipe was trained on."""
    h = hashlib.sha256()
    for d in documents():
        h.update(f"{d.domain}|{d.name}|{d.split}|{len(d.text)}\n{d.text}".encode("ascii"))
    h.update((files(__package__) / "tokenizer.json").read_bytes())
    return h.hexdigest()


@cache
def tokenizer() -> Tokenizer:
    """The byte-level BPE tokenizer; needs the `tokenizers` package."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise Missing("the bundled text needs the package 'tokenizers': pip install 'simmoe[moe]'") from error
    return Tokenizer.from_str((files(__package__) / "tokenizer.json").read_text(encoding="utf-8"))


@cache
def encoded(split: str) -> tuple[tuple[tuple[str, npt.NDArray[np.int64]], ...], ...]:
    """Token ids of a split: for each domain, its documents as (name, int64 [tokens])."""
    rows: dict[str, list[tuple[str, npt.NDArray[np.int64]]]] = {domain: [] for domain in domains()}
    for d in documents():
        if d.split == split:
            rows[d.domain].append((d.name, np.array(tokenizer().encode(d.text).ids, np.int64)))
    return tuple(tuple(docs) for docs in rows.values())
