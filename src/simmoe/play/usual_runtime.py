"""Which runtime of llama.cpp a machine usually has, where nobody names one: profiles say no vendor, so the machine's title tells."""

from __future__ import annotations

import re

from simmoe.simulator.nouns.hardware import Hardware

BY_TITLE = (
    ("apple", re.compile(r"\bApple M\d")),
    ("amd", re.compile(r"\b(Radeon|Instinct|Ryzen AI|RX \d{4}|R9700|MI\d{3})")),
    ("nvidia", re.compile(r"\b(GeForce|RTX|Quadro|Tesla|Jetson|DGX|A\d{2,3}|B200|GH200|H[12]00|L4|L40S)\b")),
)
LLAMA_CPP = {"apple": "llama_cpp_metal", "amd": "llama_cpp_rocm"}


def maker(hw: Hardware) -> str:
    """Of its device: nvidia, amd, apple; any, where the title does not tell, and of a CPU."""
    title = hw.title.partition(", in: ")[0]
    return "any" if _is_cpu(hw) else next((name for name, words in BY_TITLE if words.search(title)), "any")


def usual_runtime(hw: Hardware) -> str:
    return "llama_cpp_cpu" if _is_cpu(hw) else LLAMA_CPP.get(maker(hw), "llama_cpp_cuda")


def _is_cpu(hw: Hardware) -> bool:
    return hw.device.name == "cpu"
