"""Plain data out of YAML and JSON text. Everything that is read goes through here, so that all files obey the same limits.

A file that breaks one is refused in one line: a key that stands twice, a NaN, an endless or a huge number, half a character, a
file that is larger or deeper than any of ours, and one whose aliases unfold into more than that.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import yaml

from simmoe.simulator.errors import UserError

MOST_BYTES = 500_000  # of a YAML file: Python reads about 100 kB/s
MOST_JSON_BYTES = 200_000_000  # a run's result or the index of a large model
DEEPEST = 50  # levels
MOST_NODES = 100_000  # once all aliases are replaced by what they stand for
LONGEST_CHAIN = 20  # files that extend each other
MOST_BITS = 128  # of a whole number: far above every limit that its reader sets
DIGITS = 40  # of a number in JSON, as long as 128 bits are
_HALF = re.compile("[\ud800-\udfff]")


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises UserError."""
    return parse_yaml(_text(path, MOST_BYTES, "YAML"), path.name)


def parse_yaml(text: str, where: str) -> Any:
    """What YAML text says; a tag such as !!python/object is an error and never runs. Raises UserError."""
    try:
        return _fresh(_loaded(text))
    except yaml.constructor.ConstructorError as error:  # a tag, a key that cannot be one, or a rule of _Loader
        raise UserError(f"{where}{_line(error)}: {error.problem}") from None
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{where}{_line(error)}: not valid YAML: {problem}; check indents and quotes") from None
    except (ValueError, TypeError, ArithmeticError) as error:  # an impossible date, or what else a value cannot be
        raise UserError(f"{where}: not valid YAML: {_short(error)}; put the value in quotes if it is a text") from None


@lru_cache(maxsize=512)
def _loaded(text: str) -> Any:
    """What YAML text says; reading is slow, and a bundled file is read often."""
    return yaml.load(text, _Loader)


def _fresh(content: Any) -> Any:
    """A copy that its reader may change."""
    if isinstance(content, dict):
        return {key: _fresh(value) for key, value in content.items()}
    return [_fresh(value) for value in content] if isinstance(content, list) else content


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises UserError."""
    return parse_json(_text(path, MOST_JSON_BYTES, "JSON"), path.name)


def parse_json(text: str | bytes, where: str) -> Any:
    """What JSON text says. Raises UserError."""
    try:
        content = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_number, parse_int=_whole, parse_float=_finite
        )
        if _HALF.search(json.dumps(content, ensure_ascii=False)):
            raise ValueError(HALF)
    except RecursionError:
        raise UserError(
            f"{where} is not a plain JSON file: too many levels of lists and objects; write fewer"
        ) from None
    except ValueError as error:
        raise UserError(f"{where} is not a plain JSON file: {_short(error)}") from None
    return content


def check_chain(files: Sequence[Path]) -> None:
    """Raises UserError for a file that extends itself, or for a chain that is too long."""
    *above, last = files
    names = " -> ".join(one.stem for one in files)
    if last.resolve() in (one.resolve() for one in above):
        raise UserError(
            f"{above[-1].name}: extends: {names} is a loop; a chain must end in a file that extends nothing"
        )
    if len(files) > LONGEST_CHAIN:
        raise UserError(f"{files[0].name}: extends a chain of more than {LONGEST_CHAIN} files; write fewer")


def extended(
    path: Path, content: Callable[[Path], Any], find: Callable[[str | Path], Path], kind: str, below: tuple[Path, ...] = ()
) -> Any:  # fmt: skip
    """The content of a file, laid over the one that it extends: a file beside it, or a bundled name. Raises UserError."""
    chain = (*below, path)
    check_chain(chain)
    data = content(path)
    if not isinstance(data, dict) or "extends" not in data:
        return data
    base = data.pop("extends")
    if not isinstance(base, str) or not base.strip():
        raise UserError(
            f"{path.name}: extends is {reprlib.repr(base)}; name a {kind} file beside it, or a bundled {kind}"
        )
    beside = path.parent / base
    return laid_over(extended(find(beside if beside.is_file() else beside.name), content, find, kind, chain), data)


def laid_over(base: Any, own: Any) -> Any:
    """`own` over `base`: mappings key by key, where null takes a key away; numbers with their source, curves and all else as a whole."""
    whole = {"value", "points"}
    if not isinstance(base, Mapping) or not isinstance(own, Mapping) or whole & {*base, *own}:
        return own
    both = {key: laid_over(base.get(key), value) for key, value in own.items()}
    return {key: value for key, value in {**base, **both}.items() if value is not None}


HALF = "a text holds a lone surrogate, which is half of a character; write whole ones"


def _text(path: Path, most: int, what: str) -> str:
    """The text of a file. Raises UserError for one that is too large, is unreadable or is no UTF-8."""
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise UserError(f"{path.name}: has more than {most:,} bytes, the most of a {what} file; is it the right file?")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} cannot be read as a {what} file: byte {error.start} is no UTF-8") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f": line {mark.line + 1}" if mark else ""


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:60]!r} stands twice in one object; remove one")
        found[key] = value
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number has {len(digits):,} digits; at most {DIGITS}")
    return int(digits)


def _finite(digits: str) -> float:
    if len(digits) > 400 or (value := float(digits)) in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits[:20]} is too large or too long")
    return value


class _Loader(yaml.SafeLoader):
    """SafeLoader with limits."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.sizes: dict[
            int, int
        ] = {}  # nodes in each finished node, by its id, aliases counted as what they stand for

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            aliased = self.anchors.get(event.anchor)
            if aliased is not None and id(aliased) not in self.sizes:
                _refuse(f"the alias *{event.anchor} stands within what it names; write it out", event.start_mark)
        self.depth += 1
        if self.depth > DEEPEST:
            _refuse(f"more than {DEEPEST} levels of lists and mappings; write fewer", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        size = self.sizes.setdefault(id(node), 1 + sum(self.sizes[id(one)] for one in _parts(node)))
        if size > MOST_NODES:
            _refuse(f"with its aliases the file says more than {MOST_NODES:,} things; write less", event.start_mark)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
        return super().construct_mapping(node, deep)

    def _check_keys(self, node: yaml.MappingNode) -> None:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                _refuse("a list or a mapping is no key; write a text", key_node.start_mark)
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, line = self.construct_object(key_node), key_node.start_mark.line + 1
            if key in lines:
                _refuse(
                    f"the key {key_node.value[:60]!r} stands in line {lines[key]} too; keep one", key_node.start_mark
                )
            lines[key] = line

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and _HALF.search(value):
            _refuse(HALF, node.start_mark)
        if isinstance(value, str) and "\0" in value:
            _refuse("a text holds the character NUL; remove it", node.start_mark)
        return value

    def whole(self, node: Any) -> int:
        value = self.construct_yaml_int(node) if len(node.value) <= 4 * DIGITS else 1 << MOST_BITS
        if abs(value).bit_length() > MOST_BITS:
            _refuse(f"a whole number of {len(node.value):,} characters is larger than anything here", node.start_mark)
        return value

    def number(self, node: Any) -> float:
        value = self.construct_yaml_float(node)
        if value != value or value in (float("inf"), float("-inf")):
            _refuse(f"{node.value[:20]} is no finite number; write one", node.start_mark)
        return value

    def tagged(self, node: Any) -> NoReturn:
        _refuse(f"the tag {node.tag} is not read, only plain YAML: remove it", node.start_mark)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)
for _tag in (None, *(f"tag:yaml.org,2002:{name}" for name in ("binary", "set", "omap", "pairs"))):
    _Loader.add_constructor(_tag, _Loader.tagged)


def _parts(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _refuse(problem: str, mark: Any) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, problem, mark)
