"""What it costs to start a kernel: from the host's stream, or inside a CUDA graph.

Fitted to small kernels back to back (RRZE-HPC/gpu-benches): stream 2.62 us on an A100, 2.44 on an H200, 1.59 on an L40;
in a graph 1.32, 1.24 and 0.96. No gain on the AMD cards measured there.
"""

from __future__ import annotations


def launch_ps(stream_ps: int, graph_ps: int | None, graphs: bool) -> int:
    """Fixed time of a launch; without a figure for graphs they gain nothing."""
    return graph_ps if graphs and graph_ps is not None else stream_ps
