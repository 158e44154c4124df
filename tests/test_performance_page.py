"""The maker of the tables in docs/performance.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import page

FOUND = {
    "lru, short": 3.0, "a command, CPU s": 1.25, "text, lru at 16 sizes, ms": 1234.5, "text, lru, libcachesim ÷ curve": 18.21,
    "text, lru, events + clock, ns/access": 10.0, "text, lru, one-expert events, ns/access": 8.0, "text, lru, libcachesim, ns/access": 16.0,
    "other, lru, events + clock, ns/access": 20.0, "other, lru, one-expert events, ns/access": 8.0,
    "other, lru, libcachesim, ns/access": 24.0, "text, lru, libcachesim ÷ events + clock": 1.6,
}  # fmt: skip


def test_tables_say_what_was_measured() -> None:
    made = page.tables(FOUND, ["| a |", "|---|"], 3)
    assert made["peer"].splitlines()[2:] == ["| lru | 10, 16: **1.60** | 20, 24: **1.20** |"]
    assert made["peer one"].splitlines()[2:] == ["| lru | 8, 16: **2.00** | 8, 24: **3.00** |"]
    assert made["goals"].splitlines()[2:] == ["| lru | 1.5 | 1.20 – 1.60 | 1 of 2 |"]
    assert made["start"].splitlines()[2:] == ["| a command, CPU s | 1.25 |"]
    assert made["curves"].splitlines()[2:] == [
        "| text, lru at 16 sizes, ms | 1,234 |", "| text, lru, libcachesim ÷ curve | 18.2 |",
    ]  # fmt: skip
    assert made["engines"].splitlines()[2:] == ["| lru, short | 3 |"]


def test_each_table_has_its_place_on_the_page(tmp_path: Path) -> None:
    copy = tmp_path / "performance.md"
    copy.write_text(page.PAGE.read_text("utf-8"), "utf-8")
    made = page.tables(FOUND, ["| a lane |"], 3)
    page.write(made, copy)
    text = copy.read_text("utf-8")
    assert (
        "<!-- benchmark lanes -->\n| a lane |\n<!-- end -->" in text
        and "| lru | 10, 16: **1.60** | 20, 24: **1.20** |" in text
    )
    page.write(made, copy)
    assert copy.read_text("utf-8") == text
    with pytest.raises(ValueError, match=r"performance\.md has no place for the table 'more'"):
        page.write({"more": "x"}, copy)
