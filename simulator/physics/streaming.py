"""Prefill that streams whole layers: layer l+1 is copied while layer l computes, as FlexGen-style offloading does.

With n layers of equal cost the first copy and the last computation stick out: copy + (n - 1) max(copy, compute) + compute.
"""

from __future__ import annotations

from collections.abc import Sequence


def streamed_ps(copy_ps: Sequence[int], compute_ps: Sequence[int], overlap: bool) -> int:
    """Time of a pass over layers that are all copied in: two buffers when overlapped, else one after the other."""
    if not overlap:
        return sum(copy_ps) + sum(compute_ps)
    copied = done = 0
    before = 0  # when the buffer that a copy reuses is free
    for copy, compute in zip(copy_ps, compute_ps):
        copied = max(copied, before) + copy
        before, done = done, max(done, copied) + compute
    return done
