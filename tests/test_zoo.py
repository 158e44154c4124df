"""The committed zoo: every trace and record is of the recipe that the zoo names, and the page's tables are made from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from simmoe.cli.main import main
from simmoe.workloads.format import trace
from simmoe.workloads.oracle_moe import routers, zoo, zoo_tables
from tests.conftest import for_each

pytest.importorskip("torch", reason="router files need PyTorch: pip install 'simmoe[moe]'")

RECORDS = zoo_tables.records()
TRACES = [name for name in RECORDS if (trace.BUNDLED / f"{name}.npz").exists()]
PAGES = [Path(__file__).parents[1] / "docs" / name for name in ("oracle_moe.md", "zoo.md")]
WITH_GUESSES = {"oracle", "switch", "oracle-12x64", "switch-12x64"}


def test_every_bundled_trace_is_of_the_zoo() -> None:
    assert {path.stem for path in trace.BUNDLED.glob("*.npz")} <= set(zoo.entries())
    assert {path.name.removesuffix(".training.json") for path in trace.BUNDLED.glob("*.json")} == set(RECORDS)
    assert [n for n in RECORDS if n not in TRACES] == [n for n in RECORDS if zoo.entry(n).router == "dense"]


@for_each("name", list(RECORDS))
def test_committed_record_is_of_the_present_recipe_and_text(name: str) -> None:
    from simmoe.workloads.oracle_moe import make

    record, expected = RECORDS[name], make.describe(zoo.entry(name))
    assert {key: record[key] for key in expected} == expected
    steps = zoo.entry(name).recipe.steps
    assert len(record["loss_nats_per_token"]) == -(-steps // record["steps_per_point"])
    assert record["warm_up_seconds"] > 0 and record["branch_seconds"] > 0


@pytest.mark.slow
@for_each("name", TRACES)
def test_committed_trace_belongs_to_its_record(name: str) -> None:
    loaded, record = trace.load(name), RECORDS[name]
    assert loaded.meta["recipe_digest"] == record["recipe_digest"]
    assert loaded.meta["quality"] == record["quality"]
    assert loaded.meta["proxy_ppl"] == record["quality"]["proxy_ppl"]
    assert loaded.n_tokens >= 8192
    assert len(set(loaded.sequence.tolist())) >= 7 and set(loaded.phase.tolist()) == {0, 1}
    assert (loaded.predicted_ids is not None) == (loaded.gate_weights is not None) == (name in WITH_GUESSES)


@pytest.mark.slow
@for_each("name", sorted(WITH_GUESSES & set(TRACES)))
def test_committed_guesses_know_more_than_chance(name: str) -> None:
    """Guesses of every lead name more of the experts used than the most popular ones would."""
    loaded = trace.load(name)
    assert loaded.predict_lead is not None and loaded.predicted_ids is not None
    assert loaded.predict_lead.tolist() == [0, 1, 2]
    count = loaded.predicted_ids.shape[-1]
    for lead, ids in zip(loaded.predict_lead.tolist(), loaded.predicted_ids):
        assert (ids[:, :lead] == -1).all()
        known = (ids >= 0).all(-1)  # (tokens, layers)
        found = (loaded.expert_ids[..., None] == ids[:, :, None, :]).any(-1)[known].mean()
        popular = [
            np.sort(np.bincount(e.ravel()))[::-1][:count].sum() / e.size for e in loaded.expert_ids.swapaxes(0, 1)
        ]
        assert found > np.mean(popular), lead


def test_the_zoo_fits_the_repository() -> None:
    assert sum(path.stat().st_size for path in trace.BUNDLED.iterdir()) <= 16 * 2**20


def test_the_pages_show_what_was_measured() -> None:
    pages, tables = [page.read_text("utf-8") for page in PAGES], zoo_tables.tables(RECORDS)
    assert all(sum(f"<!-- {title} -->" in page for page in pages) == 1 for title in tables)
    assert pages == [zoo_tables.filled(page, tables) for page in pages], (
        "run python -m simmoe.workloads.oracle_moe.zoo_tables docs/oracle_moe.md docs/zoo.md"
    )


def test_names_of_entries_and_their_routers_are_found() -> None:
    entries = zoo.entries()
    assert len(entries) == len(set(entries)) and all(name == entry.name for name, entry in entries.items())
    for entry in entries.values():
        known = routers.find(entry.router).SETTINGS
        assert set(entry.settings) <= set(known), entry.name


def test_zoo_list_shows_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(zoo.entries())
    assert main(["zoo", "list"]) == 0
    assert "oracle-groups" in capsys.readouterr().out


def test_an_unknown_model_of_the_zoo_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["zoo", "make", "swich", "--out", str(tmp_path)]) == 2
    assert "unknown zoo model 'swich': did you mean 'switch'?" in capsys.readouterr().err
