"""How the table of an engine's flags is written down: one Setting for each flag that a simulation honours, and lists of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

ONE, NOTHING, MAYBE, MANY = (
    "one",
    "nothing",
    "maybe",
    "many",
)  # words that follow a flag; MAYBE: a yes or no, where one follows

DRAFT = (  # why an engine's speculative decoding is not read
    "how many guesses of a draft are right is no flag: leave it out, and give --draft, --acceptance and --draft-model or --draft-cost"
)


@dataclass(frozen=True)
class Setting:
    """A flag that sets fields of Flags."""

    names: str  # spellings; the first is printed; empty: `show` gives the flags too, and nothing is read
    fields: str  # fields of Flags that it sets
    read: Callable[[str], Any]  # text -> value of the field (a tuple of values for several)
    show: Callable[..., Sequence[str] | None] | None = (
        None  # values of the fields -> words behind the flag; None: not printed
    )
    takes: str = ONE
    implied: str = "1"  # the value of a flag that stands alone
    adds: bool = False  # the flag may be repeated, its values are strung together


class NotSet(Exception):
    """The value leaves the choice to the engine: as if the flag were not there."""


class Aside(Exception):
    """The value is known and changes nothing in the simulation."""


@dataclass(frozen=True)
class Table:
    """What one engine's command line knows."""

    engine: str
    source: str  # where the table was read: repository, commit or version, files
    programs: Mapping[str, frozenset[str]]  # its programs, and the sub-commands that may follow each
    settings: tuple[Setting, ...]
    refused: Mapping[str, str]  # reason -> flags that a simulation cannot honour
    switches: str = ""  # flags without a value that change nothing in the simulation
    values: str = ""  # the same with one value
    many: str = ""  # the same with any number of values
    maybe: str = ""  # the same with a yes or no, or nothing
    positional_model: bool = False  # the first word without a flag is the model
    negations: bool = False  # --no-NAME for each switch
    underscores: bool = False  # --a_b is --a-b
    tests: str = field(default="")  # the program that runs several values of one flag as several tests

    @cached_property
    def known(self) -> dict[str, Setting | str]:
        """Name -> its Setting, or what follows a flag that is ignored or refused."""
        found: dict[str, Setting | str] = {}
        for takes, names in ((NOTHING, self.switches), (ONE, self.values), (MANY, self.many), (MAYBE, self.maybe)):
            found |= dict.fromkeys(names.split(), takes)
        for names in self.refused.values():
            found |= dict.fromkeys(names.split(), ONE)
        for one in self.settings:
            found |= dict.fromkeys(one.names.split(), one)
        return found

    @cached_property
    def reasons(self) -> dict[str, str]:
        """Name of a refused flag -> the reason."""
        return {name: reason for reason, names in self.refused.items() for name in names.split()}
