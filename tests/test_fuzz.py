"""1,000 damaged inputs, the same ones each time; `make fuzz` searches for 20 minutes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import nonsense


@pytest.mark.slow
def test_damaged_inputs_are_played_or_refused_in_one_line():
    """In a process of its own: memory is told by the most that a process has ever had."""
    words = [sys.executable, "-m", "tests.fuzz", "--most", "1000", "--seed", "20261128"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    tried, codes = re.search(r"([\d,]+) inputs, statuses \{(.+?)\}", done.stdout).groups()
    assert tried == "1,000" and len(list(nonsense())) < 50
    assert {"0", "2"} <= set(re.findall(r"(\d+):", codes))
