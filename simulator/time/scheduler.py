"""One scheduler: the requests that are its own, and what it answers when it is asked for the next pass."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType, ModuleType

from simmoe.simulator.decide.blame import failed, name_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.serving import NextPass, Room, UserRequest
from simmoe.simulator.time.answers import Wrong, asked_of, check
from simmoe.simulator.time.requests import Request


class Scheduler:
    """Requests by number, in order of arrival."""

    def __init__(self, schedule: ModuleType, room: Room) -> None:
        self.schedule, self.room = schedule, room
        try:
            self._ask = asked_of(schedule, room)
        except (Exception, SystemExit) as error:  # a user's text may fail in any way
            raise failed(error, schedule, "Schedule") from error
        self.present: dict[int, UserRequest] = {}
        self.holding: dict[int, UserRequest] = {}  # those that hold a KV cache
        self._new: list[int] = []  # that have arrived since it was asked
        self._turns: list[int] = []  # that begin a turn, with the end of the pass

    def arrives(self, one: Request) -> None:
        self.present[one.number] = one.view
        self._new.append(one.number)

    def begins_turn(self, number: int) -> None:
        self._turns.append(number)

    def leaves(self, number: int) -> None:
        """It has ended, or is refused."""
        del self.present[number]
        self.holding.pop(number, None)

    def show(self, one: Request) -> None:
        """As it is now."""
        self.present[one.number] = seen = one.view
        if seen.started:
            self.holding[one.number] = seen
        else:
            self.holding.pop(one.number, None)

    def asked(self, now_ps: int, where: str, done: Callable[[int], int], *, last: bool) -> tuple[NextPass, int]:
        """What it answers, and blocks of KV cache that are then held. where: which pass, in words. done, last: as of `check`. Raises
        UserError for an answer that no pass can be made of."""
        arrived = (*self._new, *self._turns)
        self._new, self._turns = [], []
        try:
            answer = self._ask(now_ps, MappingProxyType(self.present), arrived)
        except Wrong as error:
            raise wrong(self.schedule, where, str(error)) from error
        except (Exception, SystemExit) as error:  # a user's text may fail in any way
            raise failed(error, self.schedule, "next_pass", where) from error
        try:
            return answer, check(answer, self.present, self.holding, done, self.room, last=last)
        except Wrong as error:
            raise wrong(self.schedule, where, str(error)) from error


def wrong(schedule: ModuleType, where: str, answer: str) -> UserError:
    return UserError(f"schedule {name_of(schedule)}: next_pass(){where} returned {answer}")
