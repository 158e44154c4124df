"""Which runtime of llama.cpp a machine usually has, where nobody names one: profiles say no vendor, so the device's name tells."""

from __future__ import annotations

import re

from simmoe.simulator.nouns.hardware import Hardware

BY_NAME = (  # of the machine's title
    ("llama_cpp_metal", re.compile(r"\bApple M\d")),
    ("llama_cpp_rocm", re.compile(r"\b(Radeon|Instinct|Ryzen AI|RX \d{4}|R9700|MI\d{3})")),
)


def usual_runtime(hw: Hardware) -> str:
    if hw.device.name == "cpu":
        return "llama_cpp_cpu"
    return next((name for name, pattern in BY_NAME if pattern.search(hw.title)), "llama_cpp_cuda")
