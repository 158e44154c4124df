"""Sums over all devices, and rows gathered from all, where every device reaches every other: a switch.

One shot: each device sends all that it has to all others at once. Two shots: each sends every other the part that this one sums up, then
the sum of its own part to all (reduce-scatter and all-gather; Rabenseifner 2004): 2 (N - 1) / N of the bytes through each port, which is
the least (Patarasuk and Yuan, J. Parallel Distrib. Comput. 69, 2009), in two messages in place of the 2 (N - 1) of a ring. vLLM has both
(csrc/custom_all_reduce.cuh) and takes one shot below 512 KiB on up to 4 devices and 256 KiB on 8; here the quicker one is taken.
"""

from __future__ import annotations

from simmoe.simulator.physics.link import transfer_ps


def all_reduce(count_bytes: int, devices: int, bytes_per_s: int, latency_ps: int) -> tuple[int, int]:
    """Duration of a sum of so many bytes on each device, and bytes that all devices send for it."""
    others, part = devices - 1, -(-count_bytes // devices)
    one = transfer_ps(others * count_bytes, bytes_per_s, latency_ps), devices * others * count_bytes
    two = 2 * transfer_ps(others * part, bytes_per_s, latency_ps), 2 * devices * others * part
    return min(one, two)


def all_gather(count_bytes: int, devices: int, bytes_per_s: int, latency_ps: int) -> tuple[int, int]:
    """The same of so many bytes of which each device has a part, and gets the others."""
    sent = (devices - 1) * -(-count_bytes // devices)
    return transfer_ps(sent, bytes_per_s, latency_ps), devices * sent
