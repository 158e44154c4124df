"""Shared pieces of the tests."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

# Each process of the tests has a core of its own. The libraries below numpy and torch would start a thread on every core in each of them,
# and threads that wait for one another turn: training took three times the CPU time. What these tests start inherits it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time import compile as compiled

# How many examples a test draws for each 100 that it asks for, and which. On a person's machine each run draws others, so the
# search goes on and a failure is kept in .hypothesis/; in CI the same ones come every time, so that no change turns red by
# the chance of another, and however long a draw waits for a core; `make fuzz` searches long. --hypothesis-profile NAME chooses
# another than the usual one.
settings.register_profile("dev", max_examples=20, deadline=None, print_blob=True)
settings.register_profile(
    "ci", max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("versions", settings.get_profile("ci"), max_examples=10)  # other versions of packages
settings.register_profile("fuzz", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


# The files that take longest, first: xdist hands out those with most tests first, and the last core would wait for one of these.
LONG = (
    "test_engines",
    "test_schedule",
    "test_faults_files",
    "test_explain2",
    "test_training",
    "test_synthetic",
    "test_miss_answers",
    "test_faults_show",
)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


def make_trace(
    passes: list[list[list[list[int]]]], n_experts: int, *, phase: list[int] | None = None, **meta: Any
) -> Trace:
    """passes[pass][token][layer] = experts; short rows are filled with -1. One sequence, all decode unless told."""
    rows = [token for one in passes for token in one]
    k = max(len(experts) for token in rows for experts in token)
    ids = np.array([[experts + [-1] * (k - len(experts)) for experts in token] for token in rows], np.int16)
    tokens, layers, _ = ids.shape
    return Trace(
        expert_ids=ids, layer_index=np.arange(layers, dtype=np.int16),
        pass_ptr=np.cumsum([0] + [len(one) for one in passes]).astype(np.int64),
        phase=np.array(phase or [1] * len(passes), np.int8), sequence=np.zeros(tokens, np.int32),
        position=np.arange(tokens, dtype=np.int32),
        meta={"schema_version": 1, "n_experts": n_experts, "top_k": k, "model": "test", **meta},
    )  # fmt: skip


def one_layer(rows: list[Any], n_experts: int) -> Trace:
    """A one-layer trace: a row is one token's experts, or a list of tokens that form one pass."""
    passes = [[[token] for token in row] if isinstance(row[0], list) else [[row]] for row in rows]
    return make_trace(passes, n_experts)


def for_each(name: str, values: Sequence[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`pytest.mark.parametrize` for checks of data files: one test that goes through all values and shows each that failed."""

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @wraps(check)
        def test(**fixtures: Any) -> None:
            failed = [f"{value}: {why}" for value in values if (why := _why_it_fails(check, {**fixtures, name: value}))]
            if failed:
                pytest.fail(f"{len(failed)} of {len(values)} failed\n" + "\n".join(failed), pytrace=False)

        rest = [one for one in inspect.signature(check).parameters.values() if one.name != name]
        test.__signature__ = inspect.Signature(rest)  # type: ignore[attr-defined]
        return test

    return decorate


def _why_it_fails(check: Callable[..., None], arguments: dict[str, Any]) -> str | None:
    try:
        check(**arguments)
    except Exception as error:
        where = error.__traceback__.tb_next  # the line of the check itself
        return f"line {where.tb_lineno if where else '?'}, {type(error).__name__}: {error}"
    return None


COMPILED = pytest.mark.skipif(compiled.missing(), reason="numba is not installed: pip install 'simmoe[fast]'")
# Each policy, rule and clock is compiled, some seconds for each: in `make test`. `make check` compiles LRU in single scenarios of
# tests/test_engines.py.
FAST = pytest.param("fast", marks=[COMPILED, pytest.mark.slow])
# Engines that must agree on drawn scenarios.
PAIRS = [
    pytest.param(("simpy", "plain"), id="interpreted"),
    pytest.param(("plain", "fast"), id="compiled", marks=[COMPILED, pytest.mark.slow]),
]


@pytest.fixture
def tmp_trace(tmp_path):
    """Writes a trace to a file and returns its path."""
    from simmoe.workloads.format.trace import save

    def write(trace: Trace, name: str = "trace.npz"):
        save(trace, tmp_path / name)
        return tmp_path / name

    return write
