"""Files by name: the file name is the registry, a path that exists wins, and nothing is ever half-written."""

from __future__ import annotations

import difflib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among

LONGEST_SHOWN = 300  # characters of a name in a message
ROOT = Path(__file__).parent.parent
POLICIES = ("eviction", "miss", "placement", "prefetch", "schedule", "timeline")
KINDS = {  # option -> what it takes, and where the bundled ones lie
    "--hw": ("machine", "hardware_profiles", ".yaml"), "--model": ("model", "workloads/models", ".yaml"),
    "--trace": ("trace", "workloads/traces", ".npz"), **{f"--{kind}": (f"{kind} policy", f"policies/{kind}", ".py") for kind in POLICIES},
}  # fmt: skip


def available(folder: Path, suffix: str) -> list[str]:
    """Names of the bundled files of one kind, without the suffix."""
    return sorted(p.stem for p in folder.glob(f"*{suffix}") if not p.name.startswith("_"))


def resolve(
    name: str | Path, folder: Path, suffix: str, what: str, add: str, listing: str = "", words: Sequence[str] = ()
) -> Path:
    """The file that `name` means: a path that exists, else a bundled file with or without its suffix.

    Raises UserError (what exists, where to add one) for neither. listing: the command that lists them, where they are many. words: what
    may stand in place of a name, and means no file.
    """
    path = Path(name)
    try:
        if path.is_file():
            return path
    except OSError:  # a name that is too long, a folder that may not be entered: no file that can be read
        pass
    stem = path.name.removesuffix(suffix)
    if len(path.parts) == 1 and stem in (bundled := available(folder, suffix)):
        return folder / f"{stem}{suffix}"
    if len(path.parts) == 1 and suffix != ".py" and (alike := [one for one in bundled if bare(one) == bare(stem)]):
        return folder / f"{alike[0]}{suffix}"  # a policy's name stays exact: rules compare it
    why = not_there(str(name), path, suffix)
    if not why and (why := _of_another_kind(path.name)):
        why += (
            f"; {listing} lists the bundled ones" if listing else f"; bundled: {', '.join(available(folder, suffix))}"
        )
    why = (
        why or f"no such file or bundled name; {among(stem, [*words, *available(folder, suffix)], 'bundled:', listing)}"
    )
    raise UserError(f"unknown {what} {_shown(str(name))}: {why}; {add}")


def bare(name: str) -> str:
    """A name without what people write differently: Qwen3-30B-A3B, RTX 3060."""
    return re.sub(r"[-_ ]", "", name.casefold())


def _is_way(name: str) -> bool:
    """Whether a name leads through folders, and so is no bundled one."""
    return "/" in name or os.sep in name


def not_there(name: str, path: Path, suffix: str) -> str:
    """Why there is no file at that path, with the nearest one beside it; empty for what is no path."""
    try:
        if name and path.is_dir():
            inside = sorted(one.name for one in path.iterdir() if one.suffix == suffix)
            return "it is a folder; name a file in it" + (f", such as {inside[0]}" if inside else "")
        if name and path.exists():
            return "it is a pipe or a device, and more than one look at a file is taken; write it to a file first"
        if path.is_symlink():
            return "it is a symbolic link that leads to no file"
        if not _is_way(name):
            return ""
        if not path.parent.is_dir():
            return f"there is no folder {_shown(str(path.parent))}"
        close = difflib.get_close_matches(
            path.name, [one.name for one in path.parent.iterdir() if one.suffix == suffix], n=1
        )
    except OSError:
        close = []
    return "no such file" + (f"; did you mean {str(path.parent / close[0])!r}?" if close else "")


def _of_another_kind(name: str) -> str:
    """Whether another option takes that bundled name; empty where none does."""
    for option, (noun, folder, suffix) in KINDS.items():
        if name.removesuffix(suffix) in available(ROOT / folder, suffix):
            return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun} has that name, which {option} takes"
    return ""


def _shown(name: str) -> str:
    return repr(name) if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]!r}… of {len(name):,} characters"


@cache
def cache_folder() -> Path | None:
    """Where compiled kernels and imported models are kept: $SIMMOE_CACHE, else the user's; None where that cannot be written."""
    home = os.environ.get("SIMMOE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "simmoe"
    try:
        Path(home).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return Path(home).resolve()
    except (OSError, RuntimeError):  # RuntimeError: no home folder is known
        return None


def check_outputs(outputs: Mapping[str, str | Path | None], inputs: Iterable[str | Path] = ()) -> None:
    """Raises UserError for an output, by its option, that cannot be written, or that is an input or another output.

    For before the work: what is written afterwards would else be lost, or take away what was read.
    """
    named = {option: Path(path) for option, path in outputs.items() if path is not None}
    read = [Path(path) for path in inputs]
    for option, path in named.items():
        where = _target(path)
        for other in read:
            if _same(path, other):
                raise UserError(f"{option} {path} would overwrite {other}, which is read; name another file")
        for before, other in named.items():
            if before != option and where is not None and where == _target(other):
                raise UserError(f"{before} and {option} name the same file {path}; name two")


def check_new(out: str | Path, read: Iterable[str | Path], force: bool) -> None:
    """Raises UserError for an --out that cannot be written, that is read, or that is there already, unless `force`."""
    check_outputs({"--out": out}, read)
    if Path(out).is_file() and not force:
        raise UserError(f"{out} exists; choose another name or overwrite it with --force")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def _target(path: Path) -> Path | None:
    """The regular file to be written, behind all symbolic links; None for a pipe or a device. Raises UserError."""
    try:
        there = path.stat() if path.exists() else None
        target = Path(os.path.realpath(path))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write {path}: {_why(error)}") from None
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise UserError(f"cannot write {path}: it is a folder; name a file")
    if there is not None and not stat.S_ISREG(there.st_mode):
        return None
    if not target.parent.is_dir():
        raise UserError(f"cannot write {path}: folder {target.parent} does not exist; create it first")
    if target.is_symlink():
        raise UserError(f"cannot write {path}: its symbolic links lead in a circle; name a file")
    if there is not None and not os.access(target, os.W_OK):
        raise UserError(f"cannot write {path}: the file is read-only; name another one")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise UserError(f"cannot write {path}: the folder {target.parent} is read-only; name a file in another one")
    return target


@contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO]:  # type: ignore[type-arg]
    """A stream into `path`: every output is written through here. mode: "w" or "wb".

    A regular file is whole or as it was: what is written stands beside it and takes its name, and its mode, at the end. Symbolic
    links stay, and the file that they lead to is written. A pipe or a device is written to as it is. Raises UserError.
    """
    target = _target(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace"}
    try:
        if target is None:
            with open(path, mode, **text) as stream:  # type: ignore[call-overload]
                yield stream
        else:
            with _beside(target) as handle, os.fdopen(handle, mode, **text) as stream:  # type: ignore[call-overload]
                yield stream
    except OSError as error:
        raise UserError(f"cannot write {path}: {_why(error)}") from None


@contextmanager
def _beside(target: Path) -> Iterator[int]:
    """A handle of a new file in the folder of `target`, which takes its place when all went well."""
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
    try:
        if target.exists():
            os.fchmod(handle, stat.S_IMODE(target.stat().st_mode))
        yield handle
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
