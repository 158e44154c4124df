"""A study that is read: from the journal of a sweep or from a database, whether a sweep is writing it or not."""

from __future__ import annotations

import tempfile
from pathlib import Path

import optuna

from simmoe.simulator.errors import UserError
from simmoe.sweeps import journal
from simmoe.sweeps.database import Database, database, reached
from simmoe.sweeps.quiet import quiet
from simmoe.sweeps.study import Place, check_format, in_memory


def located(study: str | Path | None, storage: str | None = None) -> Path | Database:
    """Where a study is: `study` is the path of a journal or the address of a database, or with `storage`, which then is that
    address, the name of a study there. Raises UserError."""
    if storage is not None:
        if "://" not in storage:
            raise UserError(f"--storage {storage!r} is no address of a database; a journal is named with --study alone")
        return database(storage, None if study is None else str(study))
    if study is None:
        raise UserError("no study is named; name a journal with --study, or a database with --storage")
    return database(study) if isinstance(study, str) and "://" in study else Path(study)


def opened(study: str | Path | None, storage: str | None = None) -> optuna.Study:
    """A copy in memory of a study that a sweep has kept; the original is only read. Arguments as of `located`.

    Each trial has its facts in `user_attrs`, as those of a sweep have, and the number that it has there. Raises UserError.
    """
    at = located(study, storage)
    with quiet():
        if isinstance(at, Path):
            return _of_journal(at)
        with reached(at):
            found = in_memory(stored(at, how="--name NAME"))
        check_format(found.user_attrs, found.study_name, at.place)
        return found


def _of_journal(path: Path) -> optuna.Study:
    """What is whole in the file; the line that is being written, or that a kill cut, is left out."""
    content = journal.whole(path)
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / path.name
        copied.write_bytes(content)
        storage = journal.storage(copied, path)
        held = storage.get_all_studies()
        if len(held) != 1:
            raise UserError(f"{path} holds no study")
        found = in_memory(optuna.load_study(study_name=held[0].study_name, storage=storage))
    check_format(found.user_attrs, found.study_name, Place(str(path), "name the --study file of a sweep"))
    return found


def stored(at: Database, heartbeat_s: int | None = None, how: str = "--study NAME") -> optuna.Study:
    """The study itself, which must be there. how: to name one of several. Raises UserError."""
    where = at.place.where
    if not at.holds_tables():
        raise UserError(f"{where} holds no study; `simmoe sweep SPACE --storage …` makes one")
    storage = at.storage(heartbeat_s)
    names = optuna.get_all_study_names(storage)
    if at.name is not None and at.name not in names:
        raise UserError(f"{where} holds no study {at.name!r}, but {', '.join(map(repr, names)) or 'none'}")
    if at.name is None and len(names) != 1:
        listed = ", ".join(map(repr, names))
        raise UserError(f"{where} holds {len(names)} studies ({listed}); name one of them: {how}")
    return optuna.load_study(study_name=at.name or names[0], storage=storage)
