"""A speed that is typed in: tok_s=12.3, with depth, generate, prompt_tok_s and prompt where they are known."""

from __future__ import annotations

from simmoe.explain.rows import DECODE, PROMPT, Row, flags_of, number
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among

SPEEDS = {"tok_s": DECODE, "prompt_tok_s": PROMPT}
WORDS = {"depth": "-d", "generate": "-n", "prompt": "-p", "parallel": "-np"}
OF = {DECODE: ("depth", "generate", "parallel"), PROMPT: ("prompt", "parallel")}


def rows(text: str) -> list[Row]:
    said: dict[str, str] = {}
    for part in text.replace(",", " ").split():
        name, _, value = part.partition("=")
        if name not in (*SPEEDS, *WORDS) or not value:
            raise UserError(
                f"{part!r} is not a speed or a length; {among(name, (*SPEEDS, *WORDS))}, such as tok_s=12.3 depth=4096"
            )
        if name in said:
            raise UserError(f"{name} is said twice, {said[name]} and {value}")
        said[name] = value
    if not said.keys() & SPEEDS.keys():
        raise UserError(f"{text!r} names no speed: say tok_s=… or prompt_tok_s=…")
    return [
        Row(
            1,
            phase,
            number(said[name], name),
            flags_of("llama.cpp", [(WORDS[one], said[one]) for one in OF[phase] if one in said], text),
        )
        for name, phase in SPEEDS.items()
        if name in said
    ]
