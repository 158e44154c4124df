"""One minute of damaged inputs, the same ones each time; `make fuzz` searches for 20 minutes."""

from __future__ import annotations

import pytest

from tests.fuzz import fuzz, nonsense


@pytest.mark.slow
def test_damaged_inputs_are_played_or_refused_in_one_line():
    found = fuzz(seconds=60, seed=20261128)
    assert not found.wrong, found.wrong[:3]
    assert found.accepted == []
    assert found.tried.total() > len(list(nonsense())) + 100 and {0, 2} <= found.codes.keys()
