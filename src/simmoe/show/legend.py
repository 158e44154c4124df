"""What the columns of a table are: said below it, of those that a terminal had room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PERCENTILES = "TPOT p50, p95, p99"  # three columns with one word for all
MEANS = {  # column -> what is said of it
    "ratio": "ratio: tok/s relative to the first row that ran",
    "range": "range: tok/s at the ends of the profile's ranges, the runtime's constants and what its laws leave",
    "prompt tok/s": "prompt tok/s: tokens of prompts read a second",
    "TTFT first": "TTFT: time to the first token, of the first sequence",
    "TTFT later": "later: the median of the later sequences",
    "TPOT p50": f"{PERCENTILES}: percentiles of the time per output token",
    "TPOT p95": "TPOT p95: a percentile of the time per output token",
    "hit rate": "hit rate: share of the requests for experts in decode that find the expert resident",
    "loaded/token": "loaded/token: bytes of experts loaded for a decoded token",
    "waiting": "waiting: share of decode time in which the device waits, for loads, the CPU, the host or another device",
    "J/token": "J/token: estimated energy of the board for a decoded token",
    "over fabric": "over fabric: bytes that the devices send each other, by token, prompts included",
    "busiest": "busiest: token slots of the busiest device of a layer over the mean of all, mean of the layers",
    "fullest": "fullest: the largest share of a device's memory that is used",
    "goodput": "goodput: requests that meet --ttft and --tpot; meet it: which share of all does",
}

OF_PASSES = {  # where requests arrive
    "tok/s": "tok/s: tokens decoded a second of the passes that decode, waits left out",
    "TPOT p50": f"{PERCENTILES}: percentiles of the time per output token over passes, not over requests",
}


def legend(shown: Sequence[str], means: Mapping[str, str] = MEANS) -> str:
    """What each of these columns is that needs a word; empty where none does."""
    said = "; ".join(means[column] for column in dict.fromkeys(shown) if column in means)
    left = ", ".join(name for name in PERCENTILES.split(", ") if name in shown)
    return said.replace(PERCENTILES, left) + "." * bool(said)
