"""A study in a database that several processes and machines share: SQLite on one machine, PostgreSQL on many."""

from __future__ import annotations

import fcntl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from simmoe.simulator.errors import Missing, UserError
from simmoe.sweeps.journal import START
from simmoe.sweeps.study import Place

MAGIC = b"SQLite format 3\0"  # of every file of SQLite that is not empty
FORMS = "sqlite:///FILE.db or postgresql://USER@HOST/DATABASE"
INSTALL = "pip install 'simmoe[postgres]'"
HEARTBEAT_S = 10  # between two signs of life of a process that plays a trial
GRACES = 3  # so many of them missing, and the process is taken for dead
IDLE_S = 60  # after which the server ends the turn of a process that is suspended, or whose machine is gone


@dataclass(frozen=True)
class Database:
    """Which database. `name`: the study's; None: the only one, or that of the space."""

    url: URL
    name: str | None = None

    @property
    def place(self) -> Place:
        shown = self.url.set(drivername=self.url.get_backend_name())
        return Place(shown.render_as_string(hide_password=True), "name another study")

    @property
    def file(self) -> Path | None:
        """Of SQLite."""
        return Path(self.url.database or "") if self.url.get_backend_name() == "sqlite" else None

    @cached_property
    def _engine(self) -> sqlalchemy.Engine:
        return sqlalchemy.create_engine(self.url)

    def storage(self, heartbeat_s: int | None = None) -> RDBStorage:
        """Optuna's own, its tables made where there are none. With a heartbeat a trial whose signs of life stop is enqueued again."""
        beats: dict[str, Any] = {}
        if heartbeat_s is not None:
            again = RetryHeartbeatStaleTrialCallback()
            beats = {
                "heartbeat_interval": heartbeat_s,
                "grace_period": GRACES * heartbeat_s,
                "heartbeat_stale_trial_callback": again,
            }
        found = RDBStorage(self._text, **beats)
        if self.file is not None:
            sqlalchemy.event.listen(found.engine, "connect", _without_waiting)
            found.engine.dispose()  # the connection that made the tables
        return found

    @property
    def _text(self) -> str:
        return self.url.render_as_string(hide_password=False)

    def holds_tables(self) -> bool:
        """Whether studies were ever kept there; looks without making any."""
        if self.file is not None and not self.file.is_file():
            return False
        return sqlalchemy.inspect(self._engine).has_table("studies")

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """A turn: no other process has one for the same `what` meanwhile. It ends with the process, however that ends."""
        if self.file is not None:
            # a file of its own: to close the database here would end the locks that SQLite has on it in this process
            with self.file.with_name(f"{self.file.name}-turn").open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
            return
        with self._engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_S}s'"))
            lock = sqlalchemy.text("SELECT pg_advisory_xact_lock(:number)")
            connection.execute(lock, {"number": zlib.crc32(f"simmoe {what}".encode())})
            yield

    def silent(self, study: optuna.Study) -> set[int]:
        """Numbers of the running trials that have never given a sign of life: Optuna looks for those whose last one is old."""
        query = sqlalchemy.text(
            "SELECT number FROM trials JOIN studies ON trials.study_id = studies.study_id WHERE study_name = :name AND state = 'RUNNING' "
            "AND NOT EXISTS (SELECT 1 FROM trial_heartbeats WHERE trial_heartbeats.trial_id = trials.trial_id)"
        )
        with self._engine.connect() as connection:
            return set(connection.execute(query, {"name": study.study_name}).scalars())


def _without_waiting(connection: Any, _: Any) -> None:
    """Commits do not wait for the disk: they outlive the process, and the last of them may be lost where the power fails."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def database(url: str, name: str | None = None) -> Database:
    """Raises UserError for what is no address of a database that simmoe can use."""
    try:
        found = make_url(url)
    except ArgumentError:
        raise UserError(f"{url} is no address of a database; write {FORMS}") from None
    kind = found.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise UserError(f"studies are kept in SQLite or PostgreSQL, not in {kind}; write {FORMS}")
    if kind == "sqlite":
        _check_file(found.database)
    elif found.drivername == "postgresql":
        found = found.set(drivername="postgresql+psycopg")
        _check_driver()
    return Database(found, name)


def _check_file(name: str | None) -> None:
    if not name or name == ":memory:":
        raise UserError("sqlite:// names no file; write sqlite:///FILE.db")
    path = Path(name)
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it: sqlite:///{path / 'FILE.db'}")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no regular file; name another")
    if path.is_file() and (what := _other_kind(path)):
        raise UserError(f"{path} is {what}")


def _other_kind(path: Path) -> str:
    """What a file is that is no database, and what to name; empty for a database, and for an empty file, of which SQLite makes one."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head or head.startswith(MAGIC):
        return ""
    if head.startswith(START):
        return "a journal, no SQLite database; give its path without sqlite:///"
    kind = "no SQLite database" if b"\0" in head else "a text file, no SQLite database"
    return f"{kind}; name another file, which may be new"


def _check_driver() -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise Missing(f"PostgreSQL needs psycopg, which is not installed; run: {INSTALL}") from None


@contextmanager
def reached(at: Database) -> Iterator[None]:
    """What a database refuses is one line. Raises UserError."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        why = str(getattr(cause, "orig", None) or cause).strip().splitlines() or [repr(cause)]
        fix = "check that it is there" if at.file is None else "name another file, or one that may be written"
        raise UserError(f"cannot use {at.place.where}: {why[0]}; {fix}") from error
