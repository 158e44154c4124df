"""Readers and printers of the flags that llama.cpp and its forks share."""

from __future__ import annotations

import re

from simmoe.policies.flags.table import Aside, NotSet
from simmoe.policies.flags.words import ALL
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among

CACHE_FORMATS = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
LOADING = {  # mode -> mmap, mlock
    "auto": (None, False),
    "none": (False, False),
    "mmap": (True, False),
    "mlock": (False, True),
    "mmap+mlock": (True, True),
    "dio": (False, False),
}


def gpu_layers(text: str) -> int:
    """A number of layers, all, or auto; -1 is auto and -2 all."""
    if text in ("auto", "-1"):
        raise NotSet
    if text in ("all", "-2"):
        return ALL
    if not re.fullmatch(r"\d{1,9}", text):
        raise UserError("must be a number of layers, all or auto")
    return int(text)


def overrides(text: str) -> tuple[tuple[str, str], ...]:
    """regex=buffer, several between , or ;"""
    found = []
    for one in re.split("[,;]", text):
        pattern, equals, buffer = one.partition("=")
        if not equals or not pattern or not buffer:
            raise UserError(f"must be regex=buffer, such as exps=CPU; {one!r} is not (a , or ; begins the next one)")
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as problem:
            raise UserError(f"{pattern!r} is not a regular expression: {problem}") from None
        found.append((pattern, buffer))
    return tuple(found)


def dense_on_cpu(text: str) -> tuple[tuple[str, str], ...]:
    """--n-cpu-ffn N as the overrides that llama.cpp makes of it."""
    if not re.fullmatch(r"\d{1,6}", text):
        raise UserError("must be a whole number from 0 on")
    return tuple((rf"blk\.{i}\.ffn_(up|down|gate)\.", "CPU") for i in range(min(int(text), ALL)))


def placement(patterns: tuple[tuple[str, str], ...], before: int, blocks: int | None) -> list[str]:
    """Overrides and experts on the CPU in the order in which they count."""
    words = [[f"{pattern}={buffer}"] for pattern, buffer in patterns]
    flags = [["-ot", *one] for one in words]
    if blocks is not None:
        flags.insert(before, ["-cmoe"] if blocks >= ALL else ["-ncmoe", str(blocks)])
    return [word for flag in flags for word in flag]


def loading(text: str) -> tuple[bool | None, bool]:
    if text not in LOADING:
        raise UserError(among(text, LOADING))
    return LOADING[text]


def loaded(mmap: bool | None, mlock: bool) -> list[str] | None:
    """-lm says both, except that --mlock alone leaves mmap to the engine."""
    names = {values: name for name, values in reversed(LOADING.items())}
    return [names[mmap, mlock]] if (mmap, mlock) in names else None


def prompt(text: str) -> int:
    """llama-bench's number of tokens; the text of a prompt changes nothing."""
    if re.fullmatch(r"\d{1,12}", text):
        return int(text)
    if re.fullmatch(r"\d+(,\d+)+|\d+-\d+([+*]\d+)?", text):
        raise UserError("several values are several tests, and a simulation runs one: give one of them")
    raise Aside


def pair(text: str) -> tuple[int, int]:
    """pp,tg"""
    found = re.fullmatch(r"(\d{1,12}),(\d{1,12})", text)
    if not found:
        raise UserError("must be two whole numbers, prompt,generated")
    return int(found[1]), int(found[2])


def fitting(text: str) -> bool:
    if text.lower() in ("off", "0", "false", "disabled"):
        raise Aside
    raise UserError(
        "llama.cpp would choose -ngl and the experts on the CPU itself, and its choice is not known here: give what it chose (it "
        "prints it), or let `simmoe plan` search"
    )


def device(text: str) -> int:
    """none: nothing is offloaded; one device changes nothing."""
    if text == "none":
        return 0
    if re.search("[,/]", text):
        raise UserError("several cards are those of the machine, such as --gpu rtx_3090+rtx_3090: leave it out")
    raise Aside


def metadata(text: str) -> str:
    if "expert" in text or "block_count" in text:
        raise UserError(
            "the model would compute with other numbers than its file says: give --model a shape file with them"
        )
    raise Aside
