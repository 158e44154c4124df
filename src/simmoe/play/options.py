"""How an option is declared, as a field of a data class, and what is made from the declaration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simmoe.play.kinds import OFF, Kind, Policy, Scope


@dataclass(frozen=True)
class Option:
    """One option of a run: what it takes, and how the command line and a space present it."""

    kind: Kind
    help: str
    group: str  # heading of --help
    metavar: str
    axis: bool  # a sweep space may vary it
    off: bool  # `none` is its word for being left out
    several: bool  # `compare` takes several of it


def option(
    kind: Kind,
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    group: str,
    metavar: str = "",
    axis: bool = True,
    off: bool = False,
    several: bool = False,
) -> Any:
    """A field of the scenario; one without a default is required."""
    about = Option(kind, help, group, metavar, axis, off, several)
    return dataclasses.field(default=default, metadata={"option": about})


@dataclass(frozen=True)
class Declared:
    """A field of the scenario with its option."""

    name: str
    default: Any
    about: Option

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING

    @property
    def is_policy(self) -> bool:
        """Whether it names a file of policies/, alone or with what it is told."""
        return isinstance(self.about.kind, Policy | Scope)

    def shown(self, value: Any) -> str:
        """The value as a sentence has it; an input that is loaded by its name."""
        return OFF if value is None else self.about.kind.word(getattr(value, "name", value))

    def checked(self, value: Any) -> Any:
        """None stands for an option without a value, where the default is one."""
        return None if value is None and self.default is None else self.about.kind.check(value, self.flag)

    def parsed(self, word: str) -> Any:
        """The value of a word of a command or of a point of a space."""
        return self.default if self.about.off and word == OFF else self.about.kind.parse(word, self.flag)


def declared(cls: Any) -> Mapping[str, Declared]:
    """The options of a data class by name, in their order."""
    return {
        f.name: Declared(f.name, f.default, f.metadata["option"])
        for f in dataclasses.fields(cls)
        if "option" in f.metadata
    }


def checked(options: Mapping[str, Declared], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name as their class holds them: a tuple where an option may be given several times. Raises UserError."""
    return {name: _checked(options[name], value) for name, value in values.items()}


def _checked(option: Declared, value: Any) -> Any:
    if not option.about.several:
        return option.checked(value)
    several = value if isinstance(value, list | tuple) else () if value is None else (value,)
    return tuple(option.checked(one) for one in several)
