"""A computation and loads at the same time: how fast each still is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from simmoe.calibrate.sampling import repeat, timed


class Beside(NamedTuple):
    """Samples in bytes per second."""

    alone: list[float]  # the computation by itself, just before
    computing: list[float]  # while loads run
    loading: list[float]  # loads while it computes


def both(
    compute: Callable[[], float], read_bytes: int, load: Callable[[], object], load_bytes: int, seconds: float
) -> Beside:
    """compute: returns the seconds of one product over `read_bytes`. load: moves `load_bytes`, in a thread of its own."""
    alone = repeat(compute, seconds / 3)
    stop, loads, failed = threading.Event(), list[float](), list[BaseException]()

    def keep_loading() -> None:
        try:
            while not stop.is_set():
                loads.append(timed(load))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=keep_loading)
    thread.start()
    try:
        together = repeat(compute, seconds * 2 / 3)
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]
    return Beside(*([size / took for took in times] for size, times in
                    ((read_bytes, alone), (read_bytes, together), (load_bytes, loads))))  # fmt: skip
