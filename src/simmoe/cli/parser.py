"""The parser of every command: a mistake is one line with the nearest option, and the options of a scenario come from its fields."""

from __future__ import annotations

import argparse
import difflib
import re
import reprlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from simmoe.cli import elsewhere
from simmoe.play.kinds import Changes, Switch
from simmoe.play.options import Declared
from simmoe.play.scenario import OPTIONS
from simmoe.show.wrap import wrapped
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among

if TYPE_CHECKING:
    from typing import TypeAlias

    Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


class Help(argparse.HelpFormatter):
    """The help of argparse, in lines that break between words only."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrapped(" ".join(text.split()), width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(f"{indent}{line}" for line in self._split_lines(text, width - len(indent)))


class Once(argparse._StoreAction):
    """An option with one value: given twice, one of the two would be dropped without a word."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if option_string is not None and self in parser.seen:
            raise UserError(f"{'/'.join(self.option_strings)} is given more than once; give it once")
        parser.seen.append(self)
        super().__call__(parser, namespace, values, option_string)


class Parser(argparse.ArgumentParser):
    """argparse, but for what a mistake prints."""

    _words: Sequence[str] = ()  # what this parser was given

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": Help, **options})
        self.inner = dict[str, Parser]()  # commands of a command that else takes a name at that place
        self.seen = list[argparse.Action]()  # while the words are read
        for name in (None, "store"):
            self.register("action", name, Once)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._words, self.seen = list(sys.argv[1:] if args is None else args), []
        if self._words and self._words[0] in self.inner:
            return self.inner[self._words[0]].parse_known_args(self._words[1:], namespace)
        return super().parse_known_args(self._glued(), namespace)

    def _glued(self) -> list[str]:
        """The words, in which a flag of an engine that stands alone behind --flags is its value, --flags -cmoe is --flags=-cmoe, and any
        word behind --row its options."""
        words = list[str]()
        for word in self._words:
            if words[-1:] == ["--row"] and "--row" in self._option_string_actions:
                words[-1] += f"={word}"
                continue
            behind = words[-1:] == ["--flags"] and "--flags" in self._option_string_actions
            if behind and word.startswith("-") and word.partition("=")[0] not in self._option_string_actions:
                words[-1] += f"={word}"
            else:
                words.append(word)
        return words

    def error(self, message: str) -> NoReturn:
        """An option that is not known comes first: what argparse misses may be a consequence of it."""
        for word in self._words:
            name = word.partition("=")[0]
            if re.match(r"--?[a-zA-Z]", name) and not any(
                known.startswith(name) for known in self._option_string_actions
            ):
                self.unknown([word])
        raise UserError(f"{message}; {self.prog} --help lists what it takes")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = action.metavar if isinstance(action.metavar, str) else "/".join(action.option_strings)
            raise UserError(f"unknown {name} {value!r}; {among(value, action.choices, 'choose one of')}")

    def unknown(self, words: Sequence[str]) -> NoReturn:
        """Refuse the first word that no option of this command takes."""
        word = words[0].partition("=")[0]
        if not word.startswith("-"):
            self.error(f"{word!r} belongs to no option")
        like = elsewhere.hint(word, self._value_of(words[0])) if "--placement" in self._option_string_actions else ""
        close = difflib.get_close_matches(word, self._option_string_actions, n=1)
        like = like or self._positional(word, self._value_of(words[0]))
        hint = f"here: {like}; " if like else f"did you mean {close[0]}? " if close else ""
        raise UserError(f"unknown option {word}; {hint}{self.prog} --help lists what it takes")

    def _positional(self, word: str, value: str) -> str:
        """What an option of that name is here, if it is a word that stands without one; else empty."""
        metavars = [str(action.metavar) for action in self._actions if not action.option_strings]
        found = next((one for one in metavars if one == word.lstrip("-").upper()), "")
        return found and f"{found} stands without an option, {self.prog} {value or found} …"

    def _value_of(self, word: str) -> str:
        """What stands behind an option that is not known, in its word or in the next."""
        follows = self._words[self._words.index(word) + 1 :] if word in self._words else []
        value = word.partition("=")[2] or next(iter(follows), "")
        return "" if value.startswith("-") else value

    def runs(self, name: str, module: str) -> None:
        """The function of simmoe.cli.MODULE that is this command, imported when it runs."""

        def command(arguments: argparse.Namespace) -> int | None:
            code: int | None = getattr(import_module(f"simmoe.cli.{module}"), name)(arguments)
            return code

        self.set_defaults(command=command, parser=self)


def integer(word: str) -> int:
    """What `type=int` reads, but for the digits of other scripts, underscores and numbers without an end."""
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", word):
        raise argparse.ArgumentTypeError(f"{reprlib.repr(word)} is no whole number")
    return int(word)


def add_scenario(parser: Parser, several: bool = False) -> None:
    """Every option of a scenario under the heading of its group. several: those that `compare` takes several of may come again."""
    add_options(parser, OPTIONS, several)


def add_options(parser: Parser, declared: Mapping[str, Declared], several: bool = False) -> None:
    """Options under the headings of their groups."""
    groups: dict[str, Any] = {}
    for option in declared.values():
        group = groups.get(option.about.group) or parser.add_argument_group(option.about.group)
        groups[option.about.group] = group
        again = "; may be given again" * (several and option.about.several)
        text = (option.about.help + again).replace("%", "%%")
        if isinstance(option.about.kind, Switch) and option.default is False:
            group.add_argument(option.flag, action="append_const", const="on", help=text)
        else:
            group.add_argument(option.flag, action="append", metavar=option.about.metavar, help=text)


def given(a: argparse.Namespace, declared: Mapping[str, Declared] = OPTIONS) -> list[Declared]:
    """The options of a scenario that the command line names."""
    return [option for name, option in declared.items() if getattr(a, name, None)]


def options_of(
    a: argparse.Namespace, several: bool = False, declared: Mapping[str, Declared] = OPTIONS
) -> dict[str, Any]:
    """Their values. Raises UserError for a value that cannot be, and for one that would push out another."""
    return {option.name: _value(option, getattr(a, option.name), several) for option in given(a, declared)}


def _value(option: Declared, words: list[str], several: bool) -> Any:
    if isinstance(option.about.kind, Changes):
        return option.checked(words)
    values = [option.parsed(word) for word in words]
    if several and option.about.several:
        return values
    if len(set(words)) > 1:
        raise UserError(f"{option.flag} is given {len(words)} times ({', '.join(words)}); give it once")
    return values[0]


def options_in(text: str, where: str) -> dict[str, Any]:
    """The options of a run that a text says as the command line would. Raises UserError."""
    try:
        parser, words = Parser(prog="simmoe run", add_help=False), shlex.split(text)
    except ValueError as error:
        raise UserError(f"{where} {text!r}: {error}; write options as on the command line") from None
    add_scenario(parser)
    try:
        arguments, rest = parser.parse_known_args(words)
        if rest:
            parser.unknown(rest)
        found = options_of(arguments)
    except UserError as error:
        raise UserError(f"{where} {text!r}: {error}") from None
    if not found:
        raise UserError(f"{where} {text!r} says no option; write them as on the command line, such as '--hw m4_max'")
    return found
