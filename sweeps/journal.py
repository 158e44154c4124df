"""A study in a journal file: one line for each finished trial, so that a killed sweep loses the trial it was at and nothing else.

Optuna's journal is an append-only log. Three things keep it whole here: one process at a time has it, a trial is written once, when
it is finished, and a last line that a kill or a full disk cut is removed before the next one is appended (Optuna would append to
the half line and could not read the file from then on).
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from simmoe.simulator.errors import UserError
from simmoe.simulator.reading import parse_json
from simmoe.sweeps.space import Space
from simmoe.sweeps.study import DIGEST, Place, check_format, study_of

START = b'{"op_code":'  # of every line
LOCK_S = 3  # Optuna's lock for one line, which a killed process left, is taken over after this long
NEW = "name a new --study file"


@contextmanager
def open_study(path: Path, space: Space, digest: str, content: str) -> Iterator[optuna.Study]:
    """The study in the file `path`, made where there is none; no other sweep has it meanwhile.

    Raises UserError when it belongs to another space.
    """
    with _owned(path):
        kept = _whole(path)
        if len(kept) < path.stat().st_size:
            os.truncate(path, len(kept))
        place = Place(str(path), NEW)
        kept_in = storage(path)
        held = {one.study_name: one.user_attrs for one in kept_in.get_all_studies()}
        for name, said in held.items():
            if DIGEST in said:
                check_format(said, name, place)
        if held and list(held) != [space.name]:
            raise UserError(f"{path} holds the study {next(iter(held))!r} of another space or of other inputs; {NEW}")
        yield study_of(kept_in, space.name, space, digest, content, place)


def whole(path: Path) -> bytes:
    """The lines of a journal that have an end. Raises UserError for a file that is no journal."""
    if not path.is_file():
        raise UserError(f"no journal {path}; `simmoe sweep SPACE --study {path}` writes one")
    if not (found := _whole(path)):
        raise UserError(f"{path} holds no study")
    return found


@contextmanager
def _owned(path: Path) -> Iterator[None]:
    """The file is this process's. A lock of the kernel ends with the process that has it, however that ends."""
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; name a file")
    if path.exists() and not path.is_file():
        raise UserError(f"cannot write {path}: it is no regular file; {NEW}")
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            line = (
                f"simmoe: another sweep has {path}; waiting until it ends, to go on from there (Ctrl-C ends the wait)"
            )
            print(line, file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _whole(path: Path) -> bytes:
    """The lines that have an end: all but one that a kill cut. Raises UserError for a file that is no journal."""
    content = path.read_bytes()
    if content[: len(START)] != START[: len(content)]:
        raise UserError(f"{path} is not a study journal; {NEW}")
    found = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(found.splitlines(), 1):  # Optuna meets a bad last line when it has written behind it
        _check_line(line, f"line {number}", path)
    return found


def _check_line(line: bytes, what: str, path: Path) -> None:
    """Raises UserError for a line that is no JSON object."""
    try:
        why = "" if isinstance(parse_json(line, what), dict) else f"{what} is no JSON object"
    except UserError as error:
        why = str(error)
    if why:
        raise UserError(f"{path} is damaged: {why}; {NEW}")


def storage(path: Path, shown: Path | None = None) -> JournalStorage:
    """Optuna's own, over the file. shown: what messages name in its place. Raises UserError."""
    # Optuna's default lock is a symbolic link. One that a kill left behind is never taken over for a relative path in a folder.
    try:
        return JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path), grace_period=LOCK_S)))
    except OSError:
        raise
    except Exception as error:  # whatever Optuna makes of lines that it did not write
        said = f"{shown or path} is damaged: {' '.join(repr(error).split())[:200]}"
        raise UserError(f"{said}; {NEW}") from None
