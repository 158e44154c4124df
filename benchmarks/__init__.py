"""Benchmarks: `python -m benchmarks` checks the results first, then times, interleaved, on the CPU clock."""
