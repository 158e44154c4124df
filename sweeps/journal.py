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
from optuna.trial import TrialState

from simmoe.simulator.errors import UserError
from simmoe.simulator.reading import parse_json
from simmoe.sweeps.space import Space

START = b'{"op_code":'  # of every line
LOCK_S = 3  # Optuna's lock for one line, which a killed process left, is taken over after this long
DIGEST, FORMAT, SAMPLED = "space_digest", "simmoe_journal", "sampled_by"  # attributes of the study
JOURNAL = 2  # FORMAT: 1, which 0.1.0 wrote without saying so, holds numbers that are others now
NEW = "name a new --study file"


@contextmanager
def open_study(path: Path, space: Space, digest: str) -> Iterator[optuna.Study]:
    """The study in the file `path`, made where there is none; no other sweep has it meanwhile.

    Raises UserError when it belongs to another space.
    """
    with _owned(path):
        _repair(path)
        yield _study(path, space, digest)


def note_sampler(study: optuna.Study, sampler: str, plays: bool) -> list[str]:
    """Which samplers the study's trials are of, this one too if it `plays` any."""
    said = list(study.user_attrs.get(SAMPLED, []))
    if plays and sampler not in said:
        said.append(sampler)
        study.set_user_attr(SAMPLED, said)
    return said


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


def _repair(path: Path) -> None:
    """Cut off a last line without an end, and refuse a file that is no journal."""
    content = path.read_bytes()
    if content[: len(START)] != START[: len(content)]:
        raise UserError(f"{path} is not a study journal; {NEW}")
    whole = content.rfind(b"\n") + 1
    for number, line in enumerate(
        content[:whole].splitlines(), 1
    ):  # Optuna meets a bad last line when it has written behind it
        _check_line(line, f"line {number}", path)
    if whole < len(content):
        os.truncate(path, whole)


def _check_line(line: bytes, what: str, path: Path) -> None:
    """Raises UserError for a line that is no JSON object."""
    try:
        why = "" if isinstance(parse_json(line, what), dict) else f"{what} is no JSON object"
    except UserError as error:
        why = str(error)
    if why:
        raise UserError(f"{path} is damaged: {why}; {NEW}")


def _study(path: Path, space: Space, digest: str) -> optuna.Study:
    storage = _storage(path)
    held = {study.study_name: study for study in storage.get_all_studies()}
    said = held[space.name].user_attrs if space.name in held else {}
    if any(DIGEST in study.user_attrs and study.user_attrs.get(FORMAT) != JOURNAL for study in held.values()):
        raise UserError(f"{path} is of another version of simmoe, whose numbers are not those of this one; {NEW}")
    if held and (list(held) != [space.name] or said.get(DIGEST) not in (digest, None)):
        raise UserError(f"{path} holds the study {next(iter(held))!r} of another space or of other inputs; {NEW}")
    directions = list(space.objectives.values())
    if held:
        study = optuna.load_study(study_name=space.name, storage=storage)
    else:
        study = optuna.create_study(storage=storage, study_name=space.name, directions=directions)
    points = (
        trial.user_attrs.get("point") for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.RUNNING
    )
    strange = any(not isinstance(point, dict) or point.keys() != space.axes.keys() for point in points)
    if strange or [d.name.lower() for d in study.directions] != directions or (DIGEST not in said and study.trials):
        raise UserError(f"{path} holds a study {space.name!r} that simmoe did not make; {NEW}")
    if DIGEST not in said:
        study.set_metric_names(list(space.objectives))
        study.set_user_attr(FORMAT, JOURNAL)
        study.set_user_attr(DIGEST, digest)
    return study


def _storage(path: Path) -> JournalStorage:
    # Optuna's default lock is a symbolic link. One that a kill left behind is never taken over for a relative path in a folder.
    try:
        return JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path), grace_period=LOCK_S)))
    except OSError:
        raise
    except Exception as error:  # whatever Optuna makes of lines that it did not write
        raise UserError(f"{path} is damaged: {' '.join(repr(error).split())[:200]}; {NEW}") from None
