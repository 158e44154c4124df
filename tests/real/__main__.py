"""`python -m tests.real`: llama.cpp on this machine beside simmoe. `--build` only builds; `--write` keeps the result for docs and tests.

About six minutes once llama.cpp is built: two for the calibration, four for the runs. Needs a machine that nobody else uses.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.real import build, measure

KEPT = Path(__file__).with_name("measured.json")
PAGE = Path(__file__).parents[2] / "docs" / "calibrate.md"
BEGIN, END = "<!-- python -m tests.real --write -->", "<!-- end -->"  # around the table on that page


def keep(found: measure.Row, work: Path) -> None:
    """The result and the calibration beside this file, the table in docs/calibrate.md."""
    KEPT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    for kind in ("yaml", "jsonl"):
        text = (work / f"this_machine.{kind}").read_text("utf-8")
        KEPT.with_name(f"this_machine.{kind}").write_text(text, "utf-8")
    before, rest = PAGE.read_text("utf-8").split(f"{BEGIN}\n")
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{measure.table(found)}\n{END}{after}", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.real", description=__doc__)
    parser.add_argument("--build", action="store_true", help="build llama.cpp and stop")
    parser.add_argument("--write", action="store_true", help=f"write {KEPT.name} and the calibration beside it")
    parser.add_argument("--repeats", type=int, default=measure.REPEATS)
    parser.add_argument(
        "--force", action="store_true", help="on a busy machine too; the share of others is written down"
    )
    asked = parser.parse_args()
    try:
        if asked.build or build.missing():
            build.build()
        if asked.build:
            return 0
        with tempfile.TemporaryDirectory() as work:
            found = measure.compare(Path(work), asked.force, asked.repeats)
            if asked.write:
                keep(found, Path(work))
    except (measure.Busy, subprocess.CalledProcessError, OSError) as error:
        print(f"tests.real: {error}", file=sys.stderr)
        return 1
    print(measure.table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
