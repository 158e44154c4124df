"""The words of a command line, one after the other, against the table of its engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from simmoe.policies.flags.splitting import split
from simmoe.policies.flags.table import MANY, MAYBE, NOTHING, ONE, Aside, NotSet, Setting, Table
from simmoe.policies.flags.values import NO, YES
from simmoe.policies.flags.words import Flags
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among

NUMBER = re.compile(r"-\d")


def read_with(table: Table, text: str) -> Flags:
    line = split(table, text)
    found: dict[str, Any] = {}
    ignored = list(line.aside)
    unknown = []
    bench = bool(table.tests) and line.program == table.tests
    for name, value in _pairs(table, line.words):
        known = table.known.get(name) if name else None
        if name in table.reasons:
            raise UserError(f"{table.engine} flag {name} cannot be honoured: {table.reasons[name]}")
        if not name:
            _positional(table, found, str(value))
        elif known is None:
            unknown.append(name)
        elif isinstance(known, str) or not _apply(table, found, known, name, value):
            ignored.append(name)
    if unknown:
        raise UserError(_unknown(table, unknown))
    if bench and "cpu_moe_blocks" in found:  # llama-bench puts -ncmoe behind every -ot
        found["overrides_before_cpu_moe"] = len(found.get("tensor_overrides", ()))
    return Flags(table.engine, **found, ignored=tuple(dict.fromkeys(ignored)))


def _unknown(table: Table, names: list[str]) -> str:
    which = f"the flag {names[0]}" if len(names) == 1 else f"the flags {', '.join(names)}"
    hints = "; ".join(among(one, table.known, listing=table.source.partition(",")[0]) for one in names[:3])
    return f"{table.engine} does not know {which}; {hints}"


def _pairs(table: Table, words: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    """(flag, value or None) in order; a word that belongs to no flag comes as ("", word)."""
    at = 0
    while at < len(words):
        name, value = _name(table, words[at])
        at += 1
        if not name:
            yield "", words[at - 1]
            continue
        known = table.known.get(name)
        takes = known.takes if isinstance(known, Setting) else known
        if value is None:
            end = _end(words, at, takes)
            if takes == ONE and end == at and name not in table.reasons:
                raise UserError(f"{table.engine} flag {name} needs a value behind it")
            value = " ".join(words[at:end]) if end > at else None
            at = end
        yield name, value


def _end(words: tuple[str, ...], at: int, takes: str | None) -> int:
    """Where the values of a flag end that begin at `at`. Behind an unknown flag stands what does not look like a flag."""
    if takes == NOTHING or at == len(words):
        return at
    if takes == ONE:
        return at + 1
    if takes == MAYBE:
        return at + (words[at].lower() in (*YES, *NO, "auto"))
    end = at
    while (
        end < len(words)
        and (not words[end].startswith("-") or NUMBER.match(words[end]))
        and (takes == MANY or end == at)
    ):
        end += 1
    return end


def _name(table: Table, word: str) -> tuple[str, str | None]:
    """The flag that a word is, and a value that is glued to it; an empty name for a word that is not a flag."""
    if not word.startswith("-") or word == "-" or NUMBER.match(word):
        return "", None
    name, equals, value = word.partition("=")
    if table.underscores:
        name = name.replace("_", "-")
        if name.partition(".")[0] in table.known:  # --a.b 3: part of a table that --a takes
            name = name.partition(".")[0]
    if table.negations and name.startswith("--no-") and name not in table.known:
        positive = "--" + name.removeprefix("--no-")
        known = table.known.get(positive)
        if known == NOTHING or (isinstance(known, Setting) and known.takes == NOTHING):
            return positive, "0"
    return name, value if equals else None


def _positional(table: Table, found: dict[str, Any], value: str) -> None:
    if not table.positional_model or "model" in found:
        raise UserError(f"{table.engine} flags: the word {value!r} belongs to no flag")
    found["model"] = value


def _apply(table: Table, found: dict[str, Any], known: Setting, name: str, value: str | None) -> bool:
    """Set the fields of a flag; False where its value changes nothing."""
    text = known.implied if value is None else value
    try:
        values = known.read(text)
    except NotSet:
        return True
    except Aside:
        return False
    except UserError as problem:
        raise UserError(f"{table.engine} flag {name} {text}: {problem}") from None
    names = known.fields.split()
    for one, new in zip(names, values if len(names) > 1 else (values,), strict=True):
        _put(table, found, known, name, one, new)
    return True


def _put(table: Table, found: dict[str, Any], known: Setting, name: str, field: str, new: Any) -> None:
    if known.adds:
        new = found.get(field, ()) + new
    elif new is None:
        return
    elif found.get(field, new) != new:
        raise UserError(
            f"{table.engine} flag {name}: {field} is said twice, {found[field]} and {new}; llama-bench runs both, most programs the "
            "last: give one"
        )
    if field == "cpu_moe_blocks":
        found["overrides_before_cpu_moe"] = len(found.get("tensor_overrides", ()))
    found[field] = new


def written_with(table: Table, flags: Flags) -> list[str]:
    """The words of a command line that says what `flags` says; reading them back gives the same, but for what was ignored."""
    words: list[str] = []
    left = {one.name for one in fields(Flags) if getattr(flags, one.name) != one.default} - {"engine", "ignored"}
    for one in table.settings:
        names = one.fields.split()
        if one.show is None or not left & set(names):
            continue
        shown = one.show(*(getattr(flags, name) for name in names))
        if shown is not None:
            words += [*one.names.split()[:1], *shown]
            left -= set(names)
    if left:
        raise UserError(f"{table.engine} has no flag for {', '.join(sorted(left))}")
    return words
