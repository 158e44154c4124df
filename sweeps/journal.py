"""A study in a journal file: one line per finished trial, so that a killed sweep loses the trial it was at and nothing else.

Optuna's journal is an append-only log. Two things keep it whole here: a trial is written once, when it is finished, and a last
line that a kill or a full disk cut is removed before the next one is appended (Optuna would append to the half line and could
not read the file from then on).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from simmoe.simulator.errors import UserError
from simmoe.simulator.reading import parse_json
from simmoe.sweeps.space import Direction

START = b'{"op_code":'  # of every line
LOCK_S = 3  # a lock that a killed process left is taken over after this long
DIGEST = "space_digest"


def open_study(
    path: Path, name: str, directions: Sequence[Direction], metrics: Sequence[str], digest: str
) -> optuna.Study:
    """The study in the file `path`, made where there is none. Raises UserError when it belongs to another space."""
    _repair(path)
    storage = _storage(path)
    held = {study.study_name: study for study in storage.get_all_studies()}
    if held and (list(held) != [name] or held[name].user_attrs.get(DIGEST) not in (digest, None)):
        raise UserError(
            f"{path} holds the study {next(iter(held))!r} of another space or of other inputs; name a new --study file"
        )
    if held:
        study = optuna.load_study(study_name=name, storage=storage)
        if any(not isinstance(trial.user_attrs.get("point"), dict) for trial in study.trials):
            raise UserError(f"{path} is damaged: a trial says no scenario; name a new --study file")
    else:
        study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    if study.user_attrs.get(DIGEST) is None:
        if study.trials or [d.name.lower() for d in study.directions] != list(directions):
            raise UserError(f"{path} holds a study {name!r} that simmoe did not make; name a new --study file")
        study.set_metric_names(list(metrics))
        study.set_user_attr(DIGEST, digest)
    return study


def _storage(path: Path) -> JournalStorage:
    # Optuna's default lock is a symbolic link. One that a kill left behind is never taken over for a relative path in a folder.
    try:
        return JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path), grace_period=LOCK_S)))
    except OSError:
        raise
    except Exception as error:  # JSON of another kind is whatever Optuna stumbles over
        why = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise UserError(f"{path} is damaged: {why}; name a new --study file") from None


def _repair(path: Path) -> None:
    """Cut off a last line without an end, and refuse a file that is no journal."""
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; name a file")
    if not path.exists():
        return
    content = path.read_bytes()
    if content[: len(START)] != START[: len(content)]:
        raise UserError(f"{path} is not a study journal; name a new --study file")
    whole = content.rfind(b"\n") + 1
    for number, line in enumerate(content[:whole].splitlines(), 1):
        _check_line(line, f"line {number}", path)  # Optuna meets a bad last line only after it has written behind it
    if whole < len(content):
        os.truncate(path, whole)


def _check_line(line: bytes, what: str, path: Path) -> None:
    """Raises UserError for a line that is no JSON object."""
    try:
        if isinstance(parse_json(line, what), dict):
            return
        why = f"{what} is no object"
    except UserError as error:
        why = str(error)
    raise UserError(f"{path} is damaged: {why}; name a new --study file")
