"""Whether a draft pays, in words."""

from __future__ import annotations

from simmoe.play.break_even_draft import Pays
from simmoe.play.result import Run
from simmoe.play.speculation import worded
from simmoe.show.screen import Screen
from simmoe.show.tables import number


def show_draft(run: Run, found: Pays, on: str, out: Screen) -> None:
    """Whether the draft pays."""
    tried = f", all with {on}" * bool(on)
    gain = (run.tok_s or 0) / found.without - 1
    draft = run.workload.speculation
    assert draft is not None
    gains = (
        f"gains {gain:.0%}" + " before what it costs itself (--draft-cost)" * draft.free
        if gain >= 0
        else f"loses {-gain:.0%}"
    )
    versus = "" if on else f", so that it {gains}"
    these = worded(draft.guesses)
    speeds = {f"{share}%": number(speed) for share, speed in found.at.items()}
    said = " and ".join(f"{speed} tok/s at {share}" for share, speed in speeds.items())
    if found.break_even is None:
        when = f"With {these} it never pays, though all are right ({said})"
    elif not found.break_even:
        when = f"With {these} it pays though none is right ({said})"
    else:
        when = f"With {these} it pays from --acceptance {found.break_even}% on ({said})"
    out.print(f"Without a draft {number(found.without)} tok/s{versus}. {when}{tried}.")
    each = ", ".join(f"{worded(n)} {number(speed)}" for n, speed in found.by_guesses.items())
    out.print(f"With each guess as often right as here, {found.chance:.0%} behind right ones: {each} tok/s.")
