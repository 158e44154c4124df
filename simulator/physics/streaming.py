"""A pass that streams whole layers: layer l+1 is copied while layer l computes, as FlexGen-style offloading does.

With n layers of equal cost the first copy and the last computation stick out: copy + (n - 1) max(copy, compute) + compute.
"""

from __future__ import annotations

from collections.abc import Sequence


def streamed_ps(copy_ps: Sequence[int], compute_ps: Sequence[int]) -> int:
    """Time of a pass over layers that are all copied in, into two buffers in turn."""
    copied = done = 0
    before = 0  # when the buffer that a copy reuses is free
    for copy, compute in zip(copy_ps, compute_ps):
        copied = max(copied, before) + copy
        before, done = done, max(done, copied) + compute
    return done
