"""What `simmoe plan` chooses, and what one choice gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from simmoe.policies.flags import Flags

TAKEN = ("hw", "gpu", "host", "set", "format", "runtime", "context", "routing", "seed")  # of the options of a run
CONTEXT = 8192  # positions, where nobody says how many


class Setup(NamedTuple):
    """What the search chooses."""

    microbatch: int  # tokens of one pass of a prompt
    away: int  # what is not on the card: blocks whose experts the CPU has, experts of each layer, or whole layers (Space.unit)
    kv_format: str | None  # None: f16
    op_offload: bool
    split: str | None = None  # of the layers over several cards, such as 23/14; None: by their memories


class Speed(NamedTuple):
    """Tokens per second (or a time), and at the slow and the fast end of the machine's and the engine's ranges."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """One command line, and what it gives."""

    setup: Setup
    flags: Flags
    command: str
    decode: Speed
    prompt: Speed
    seconds: Speed  # for the prompt and what is generated, and at the slow and the fast end
    ttft_s: Speed
    device: dict[str, int]  # bytes by kind
    device_left_bytes: int
    host_left_bytes: int | None
    decode_bound: str
    prompt_bound: str
