"""Where the tests keep studies: a journal, SQLite, and PostgreSQL where SIMMOE_POSTGRES gives the address of a server."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import pytest

POSTGRES = os.environ.get("SIMMOE_POSTGRES")
NO_POSTGRES = "no PostgreSQL server: SIMMOE_POSTGRES names none (.ci/postgres starts one)"
needs_postgres = pytest.mark.skipif(not POSTGRES, reason=NO_POSTGRES)
DATABASES = ["sqlite", pytest.param("postgresql", marks=needs_postgres)]
SPACE: dict[str, Any] = {
    "schema": 1, "name": "kept", "trace": ["oracle", "switch"], "hw": ["jetson_orin", "a100"], "eviction": ["fifo", "lru"],
    "budget": {"low": "10%", "high": "40%", "step": "10%"}, "tokens": 128,
    "objectives": {"tok_s": "maximize", "memory_bytes": "minimize"},
}  # fmt: skip
SIZE = 2 * 2 * 2 * 4


def address(kind: str, folder: Path) -> dict[str, Any]:
    """A study that is not there yet, as `sweep` and `opened` take it."""
    if kind == "journal":
        return {"study": folder / "kept.journal"}
    storage = f"sqlite:///{folder}/kept.db" if kind == "sqlite" else POSTGRES
    return {"study": f"kept-{secrets.token_hex(8)}", "storage": storage}
