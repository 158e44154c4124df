"""Speculative decoding: verify passes made of passes that decode one token each, from a draft of stated cost and acceptance.

A verify pass has one row for the last token that is sure and one for each guess. It keeps the guesses up to the first wrong one, and
gives one more token of its own. So the rows that are kept are the recorded ones in their order. What a rejected row would have routed
was never recorded: it asks for the experts of another recorded row, and which one that is, is said.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simmoe.play.kinds import acceptance_of, ps_of
from simmoe.play.verify_passes import verify_passes
from simmoe.policies.regrouping import Rows, rows_of
from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.decide.player import splitmix64
from simmoe.simulator.errors import LATEST_PS, UserError, too_long
from simmoe.simulator.naming import named
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import DECODE, Trace
from simmoe.workloads.format import trace as traces

REJECTED = ("following", "drawn")  # whose experts a rejected row asks for
ROLLBACK = ("cut", "redecode")  # how an engine forgets rejected rows
GOLDEN = 0x9E3779B97F4A7C15  # 2**64 by the golden ratio: multiples of it are spread evenly, however many there are
FRACTION = 2**53
EACH, POSITIONS, COUNTED = "each", "positions", "counted"


@dataclass(frozen=True)
class Speculation:
    """A draft, as the options say it."""

    guesses: int  # of a pass
    acceptance: str
    cost: str | None = None  # of each guess
    rejected: str = REJECTED[0]
    model: str | None = None  # that guesses, with its format; its passes take the place of a cost
    rollback: str = ROLLBACK[0]

    @cached_property
    def rates(self) -> tuple[float, ...]:
        """Of each place in a pass, the share of passes whose guess there is kept; it never rises from place to place. Raises UserError."""
        return rates_of(self.acceptance, self.guesses)

    @property
    def chance(self) -> float:
        """That a guess behind right ones is right, the same at every place; of shares by position that with as many kept."""
        return chance_of(sum(self.rates) / self.guesses, self.guesses)

    @property
    def guess_ps(self) -> int:
        return 0 if self.cost is None else ps_of(self.cost, "--draft-cost")

    @property
    def free(self) -> bool:
        """Whether nothing is said of what it costs."""
        return not self.guess_ps and self.model is None

    def draft_ps(self, trace: Trace) -> Ints:
        """int64 [passes]: what the draft takes before each; nothing before prompts, and before a pass without guesses."""
        guesses = np.where((trace.phase == DECODE) & ~redecoded(trace), np.diff(trace.pass_ptr) - 1, 0)
        if int(guesses.max()) * self.guess_ps > LATEST_PS:
            raise too_long()
        made: Ints = guesses * self.guess_ps
        return made

    def notes(self) -> list[str]:
        """What of such a run was made and not recorded."""
        rows = {
            "following": "the experts of the recorded row at its position, which the next pass asks for again: a cache gains by that",
            "drawn": "the experts of a row drawn from the same answer",
        }
        free = ", and the draft costs nothing (--draft-cost says what a guess takes)" * self.free
        whose = f" of {self.model}, which is resident on the same device," if self.model else ""
        made = (
            f"Verify passes are made of recorded tokens, with {worded(self.guesses)}{whose} and an acceptance of {self.shown}, drawn "
            f"evenly with --seed{free}; a rejected guess asks for {rows[self.rejected]} (--rejected {self.rejected})"
        )
        again = (
            "A pass that rejects a guess gives nothing: the state from before it is restored, and the rows that it would keep run again "
            "in a pass of their own (--rollback redecode)"
        )
        return [made, *[again] * (self.rollback == "redecode")]

    @property
    def shown(self) -> str:
        """The acceptance without a folder: results hold no paths."""
        said = named(self.acceptance)
        return f"{COUNTED}:{Path(said.text).name}" if said.name == COUNTED else self.acceptance

    def facts(self) -> dict[str, Any]:
        usual = (None, ROLLBACK[0])
        said = {name: value for name, value in asdict(self).items() if value not in usual} | {"acceptance": self.shown}
        return said | ({"acceptance_by_position": list(self.rates)} if named(self.acceptance).name == COUNTED else {})


def worded(n: int) -> str:
    """So many guesses."""
    return f"{n} guess{'es' * (n != 1)}"


def asked(
    draft: int | None, acceptance: str | None, cost: str | None, rejected: str, rollback: str, model: ModelShape | None
) -> Speculation | None:
    """The draft that is asked for; None where nothing is guessed. Raises UserError for options that would change nothing."""
    named = None if model is None else model.name
    if draft is None:
        words = {"--rejected": rejected, "--rollback": rollback}
        beside = {"--acceptance": acceptance, "--draft-cost": cost, **words, "--draft-model": named}
        for flag, value in beside.items():
            if value not in (None, REJECTED[0], ROLLBACK[0]):
                raise UserError(
                    f"{flag} {value} is about guesses that verify passes hold: say how many with --draft 4, or leave it out"
                )
        return None
    if acceptance is None and not draft:
        return None
    if acceptance is None:
        raise UserError(
            f"--draft {draft}: say how many of the guesses are right, such as --acceptance 60%, or by position 80%,60%,50%,40%"
        )
    if model is not None and cost is not None:
        raise UserError(f"--draft-cost {cost} is stated, and --draft-model {named} is simulated: leave one of them out")
    shown = None if model is None else f"{named} at {model.format}"
    made = Speculation(draft, acceptance, cost, rejected, shown, rollback)
    _ = made.rates, made.guess_ps
    return made if draft else None


def rates_of(acceptance: str, guesses: int) -> tuple[float, ...]:
    """Of each place, the share of passes whose guess there is kept. Raises UserError where fewer places are said than there are."""
    how, shares = acceptance_of(acceptance, "--acceptance")
    if how == COUNTED:
        shares = _counted(named(acceptance).text)
    if how in (POSITIONS, COUNTED):
        if len(shares) < guesses:
            raise UserError(
                f"--acceptance {acceptance} says {len(shares)} places, and --draft {guesses} has more: give {guesses}, or one share of all"
            )
        return shares[:guesses]
    chance = shares[0] if how == EACH else chance_of(shares[0], guesses)
    return tuple(chance**place for place in range(1, guesses + 1))


def _counted(name: str) -> tuple[float, ...]:
    """Of each place, in the verify passes of a trace. Raises UserError."""
    found = verify_passes(traces.given(name))
    if found is None or not found.kept_at:
        raise UserError(
            f"--acceptance counted:{name}: the trace does not say which guesses its verify passes kept (docs/trace_format.md, emitted); "
            "give a share, such as 60%"
        )
    return found.kept_at


def chance_of(share: float, guesses: int) -> float:
    """The chance p that a guess behind right ones is right, with p + p² + … of all guesses kept, which is what engines print."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        kept = sum(middle**place for place in range(1, guesses + 1))
        low, high = (middle, high) if kept < share * guesses else (low, middle)
    return high


class Verified(NamedTuple):
    """One verify pass."""

    when: int  # recorded pass of its first row
    rows: Ints  # of the trace
    kept: int
    gives: bool = True  # what it keeps; else its kept rows run again behind it


def verified(trace: Trace, how: Speculation, seed: int) -> Trace:
    """The trace with its decode passes made into verify passes. Raises UserError for a trace whose decode passes hold several rows."""
    _require_single_rows(trace, how)
    held = rows_of(trace)
    prompts = np.flatnonzero(~held.decode)
    passes = [Verified(int(n), held.row[at], len(at)) for n, at in _by_pass(held, prompts)]
    for number, answer in enumerate(_answers(held)):
        passes += _passes_of(held, answer, how, _start(seed, number))
    passes.sort(key=lambda one: one.when)
    rows = np.concatenate([one.rows for one in passes])
    lengths = np.array([len(one.rows) for one in passes])
    pass_ptr = np.concatenate(([0], np.cumsum(lengths)))
    place = np.arange(len(rows)) - np.repeat(pass_ptr[:-1], lengths)
    kept = place < np.repeat([one.kept for one in passes], lengths)
    gives = kept & np.repeat([one.gives for one in passes], lengths)
    phase = trace.phase[[one.when for one in passes]]
    taken = trace.taken(_asking(held, rows, kept, how.rejected, seed), pass_ptr, phase)
    same = {"sequence": trace.sequence[rows], "position": trace.position[rows], "emitted": gives.astype(np.int8)}
    return replace(taken, **same)


def redecoded(trace: Trace) -> Flags:
    """[passes] of a trace of verified(): the pass runs kept rows again, right behind the one that rejected a guess and gave nothing."""
    nothing = np.add.reduceat(trace.kept.astype(np.int64), trace.pass_ptr[:-1]) == 0
    return np.concatenate(([False], nothing[:-1]))


def _require_single_rows(trace: Trace, how: Speculation) -> None:
    """Raises UserError."""
    if trace.emitted is not None:
        raise UserError(
            f"--draft {how.guesses} makes verify passes, and the trace has its own (emitted): leave --draft out, or give a trace that "
            "decodes token by token"
        )
    wide = (trace.phase == DECODE) & (np.diff(trace.pass_ptr) > 1)
    if wide.any():
        first = int(np.argmax(wide))
        raise UserError(
            f"--draft {how.guesses} verifies guesses of one sequence in a pass, and decode pass {first} holds "
            f"{int(np.diff(trace.pass_ptr)[first])} rows: leave --draft or what makes such passes (--batch) out"
        )


def _by_pass(held: Rows, at: Ints) -> list[tuple[Any, Ints]]:
    """(recorded pass, its places among the held rows) of those at these places."""
    order = at[np.argsort(held.recorded[at], kind="stable")]
    numbers, begins = np.unique(held.recorded[order], return_index=True)
    return list(zip(numbers, np.split(order, begins[1:])))


def _answers(held: Rows) -> list[Ints]:
    """Places among the held rows of each answer."""
    places = np.arange(len(held.row))
    begins = np.flatnonzero(held.begin == places)
    return [part for part in np.split(places, begins[1:]) if held.decode[part[0]]]


def _passes_of(held: Rows, answer: Ints, how: Speculation, start: int) -> list[Verified]:
    """The verify passes of an answer. How many guesses pass k of it keeps depends on k alone, so a draft that is better at every place
    has never given fewer tokens after k passes. The last pass guesses no further than the answer goes, as engines do."""
    found, twice, at, rates = list[Verified](), list[Verified](), 0, how.rates
    while at < len(answer):
        guesses = min(how.guesses, len(answer) - at - 1)
        drawn = ((start + len(found) * GOLDEN) % 2**64 >> 11) / FRACTION
        kept = 1 + sum(drawn < rate for rate in rates[:guesses])
        mine = answer[at : at + 1 + guesses]
        when, rows = int(held.recorded[mine[0]]), held.row[mine]
        again = how.rollback == "redecode" and kept < len(mine)
        found.append(Verified(when, rows, kept, not again))
        if again:
            twice.append(Verified(when, rows[:kept], kept))
        at += kept
    return found + twice  # in one order by `when`, which keeps what runs again behind what was rejected


def _start(seed: int, answer: int) -> int:
    """Where the draws of an answer begin: output `answer` of SplitMix64."""
    high, low = splitmix64((seed + answer * GOLDEN) % 2**64, 1)
    return (int(high[0]) << 32) | int(low[0])


def _asking(held: Rows, rows: Ints, kept: Flags, rejected: str, seed: int) -> Ints:
    """Which row of the trace each row asks for the experts of."""
    if rejected == REJECTED[0]:
        return rows
    place = np.empty(len(held.row), np.int64)
    place[held.row] = np.arange(len(held.row))
    begins = np.flatnonzero(held.begin == np.arange(len(held.row)))
    lengths = np.diff(np.append(begins, len(held.row)))
    part = np.searchsorted(begins, place[rows[~kept]], side="right") - 1
    drawn = splitmix64(seed, len(part))[0] * lengths[part] >> 32
    asking = rows.copy()
    asking[~kept] = held.row[begins[part] + drawn]
    return asking
