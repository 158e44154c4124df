"""Throttling: in a steady state the chip is warmer than the air by power x thermal resistance.

An Orin NX held 29 W for 45 minutes at 92 C without throttling (third-party soak test): about 2.3 K/W with an assumed 25 C.
Above the limit the clock falls until the power fits; what is bound by compute slows down in proportion.
"""

from __future__ import annotations


def sustained_w(limit_c: float, ambient_c: float, kelvin_per_watt: float) -> float:
    """Power that can be drawn for ever."""
    return (limit_c - ambient_c) / kelvin_per_watt


def clock_share(wanted_w: float, idle_w: float, allowed_w: float) -> float:
    """Share of the clock that fits: dynamic power is taken as proportional to the clock, idle power as fixed."""
    if wanted_w <= allowed_w:
        return 1.0
    return max(0.0, (allowed_w - idle_w) / (wanted_w - idle_w))
