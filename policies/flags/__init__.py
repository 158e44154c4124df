"""What an engine's own command line says: `read("llama.cpp", "-ngl 99 --n-cpu-moe 24 -ub 2048")` gives Flags, `written` the line again.

One file each engine, with the table of its flags and where that was read. A flag is honoured, ignored by name (sampling, logging,
ports: nothing in the simulation changes) or refused with the reason.
"""

from __future__ import annotations

import shlex

from simmoe.policies.flags import ik_llama_cpp, ktransformers, llama_cpp, mlx, sglang, transformers, vllm
from simmoe.policies.flags.reading import read_with, written_with
from simmoe.policies.flags.words import ALL, Flags
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among

__all__ = ["ALL", "ENGINES", "Flags", "read", "written"]
ENGINES = {
    table.engine: table
    for table in (
        llama_cpp.TABLE,
        ik_llama_cpp.TABLE,
        ktransformers.TABLE,
        vllm.TABLE,
        sglang.TABLE,
        mlx.TABLE,
        transformers.TABLE,
    )
}


def read(engine: str, text: str) -> Flags:
    """The flags of one command line; `text` may begin with variables, wrappers and the program's name."""
    if engine not in ENGINES:
        raise UserError(f"no flags are known of engine {engine!r}; {among(engine, ENGINES)}")
    return read_with(ENGINES[engine], text)


def written(flags: Flags) -> str:
    """A command line without the program's name, to paste."""
    return shlex.join(written_with(ENGINES[flags.engine], flags))
