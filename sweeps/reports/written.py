"""`simmoe.report`: a study or a result as one page of figures, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simmoe.plots import page
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import check_new
from simmoe.sweeps.reports.kinds import page_of, page_of_result


def report(
    result: Any, out: str | Path, *, scenario: str | None = None, name: str | None = None, force: bool = False
) -> Path:
    """Write `result` as one HTML file that holds all it needs, and return its path (docs/reports.md).

    result: what `simmoe.run`, `ladder`, `compare`, `curve`, `serve_curve` or `sweep` returned; or the path of a study, or of what
    --json of these commands printed; or the address of a database of studies. scenario: of such a file of one run whose inputs are
    files of yours, the scenario that it was made with. name: of a database that holds several studies, which one. force: overwrite
    the file.
    Raises UserError.
    """
    source = str(result) if isinstance(result, str | Path) else None
    if source is None and (scenario or name) is not None:
        raise UserError("scenario and name are of a file or a database, and this result is at hand; leave them out")
    plotly_js = page.plotly_script("a report")
    check_new(out, [one for one in (source, scenario) if one and Path(one).is_file()], force)
    page.write(Path(out), page_of_result(result) if source is None else page_of(source, name, scenario), plotly_js)
    return Path(out)
