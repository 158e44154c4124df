"""A study that is read from its journal, while a sweep writes it or not."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from simmoe.simulator.errors import UserError
from simmoe.simulator.reading import parse_json

START = b'{"op_code":'  # of every line of a journal


def opened(study: str | Path | None, storage: str | None = None) -> optuna.Study:
    """The study in a journal; the file is only read. Raises UserError."""
    if storage is not None or "://" in str(study):
        raise UserError(f"{storage or study}: this release reads studies from journals; name the file of --study")
    path = Path(str(study))
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), 1):
        parse_json(line, f"{path}: line {number}")
    with tempfile.TemporaryDirectory() as folder, quiet():
        copied = Path(folder) / "study"
        copied.write_bytes(whole)
        try:
            storage_ = JournalStorage(JournalFileBackend(str(copied)))
            names = [one.study_name for one in storage_.get_all_studies()]
            kept = optuna.load_study(study_name=names[0], storage=storage_)
            found = optuna.create_study(study_name=names[0], directions=kept.directions)
            found.set_metric_names(kept.metric_names or [])
            found.add_trials(kept.get_trials(deepcopy=False))
        except Exception as error:  # whatever Optuna makes of lines that it did not write
            raise UserError(f"{path} is no study of a sweep: {' '.join(repr(error).split())[:200]}") from None
        for name, value in kept.user_attrs.items():
            found.set_user_attr(name, value)
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna's log lines and warnings are not for the reader of a report."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            optuna.logging.set_verbosity(level)
