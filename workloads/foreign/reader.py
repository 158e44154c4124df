"""Which format a file has, told by its content, and the trace that its importer makes of it."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from simmoe.simulator.decide.blame import one_line
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import available, resolve
from simmoe.simulator.nearest import among
from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.foreign.building import Stated
from simmoe.workloads.foreign.file import File

FOLDER = Path(__file__).parent / "formats"


def names() -> list[str]:
    """Of the formats: each is a file in the folder formats/."""
    return available(FOLDER, ".py")


@cache
def _bundled(name: str) -> ModuleType:
    return import_module(f"simmoe.workloads.foreign.formats.{name}")


def detect(path: Path) -> str | None:
    """The one format that the content of the file fits; None if there is none. Raises UserError for several."""
    file = File(path)
    found = [name for name in names() if _bundled(name).recognises(file)]
    if len(found) > 1:
        raise UserError(
            f"{path}: may be {' or '.join(found)}; say which: simmoe trace import {path} --format {found[0]}"
        )
    return found[0] if found else None


def read(path: Path, stated: Stated = Stated(), format: str | None = None) -> Trace:  # noqa: B008  (frozen)
    """The trace in a file of another program, not checked yet. format: a name, or a Python file, which is executed. Raises UserError
    with one line that names the line or the key."""
    name = format or detect(path)
    if not path.stat().st_size:
        raise UserError(f"{path}: the file is empty")
    if name is None:
        raise UserError(
            f"{path}: no format that is known; {among('', names(), 'known:')}; docs/foreign_traces.md describes each"
        )
    where = resolve(name, FOLDER, ".py", "format", "give the path of a Python file (docs/extending/importer.md)")
    if where.parent != FOLDER:
        return _by_file(where, path, stated)
    importer, file = _bundled(where.stem), File(path)
    if not importer.recognises(file):
        file.fail(f"its content is not of the format {where.stem}: {str(importer.__doc__).splitlines()[0]}")
    made: Trace = importer.read(file, stated)
    return made


def _by_file(importer: Path, path: Path, stated: Stated) -> Trace:
    """What an importer of the user's makes. Raises UserError for whatever goes wrong in it."""
    spec = spec_from_file_location(f"simmoe_importer_{importer.stem}", importer)
    if spec is None or spec.loader is None:
        raise UserError(f"importer {importer.name} is no Python file; name one that ends in .py")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        made = module.read(File(path), stated)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"importer {importer.name}: {one_line(error)}") from None
    if not isinstance(made, Trace):
        raise UserError(
            f"importer {importer.name}: read() returned {type(made).__name__}; it must return a Trace, as building.trace makes it"
        )
    return made
