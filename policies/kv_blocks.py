"""KV memory in blocks of 16 positions, as vLLM hands it out, with its prefix cache: what the schedules that need it share.

A block that is full keeps what it holds until somebody takes it anew, the one that was freed first. A sequence that comes again, with its
next turn or after it was preempted, finds its own full blocks. Sequences share none: a trace does not say which texts are alike.
"""

from __future__ import annotations

from collections import OrderedDict

from simmoe.simulator.nouns.serving import BLOCK

Content = tuple[int, int]  # request, number of the block in it


class Blocks:
    """All blocks of a machine, and who holds which."""

    def __init__(self, blocks: int, prefix_cache: bool) -> None:
        self.prefix_cache = prefix_cache
        self._unused = blocks  # that nobody has had: they are taken first
        self._free: OrderedDict[int, None] = OrderedDict()  # those that were freed; the first is taken next
        self._held: dict[int, list[int]] = {}  # blocks of each request, in order
        self._content: dict[int, Content] = {}  # of full blocks, whether held or free
        self._there: dict[
            Content, int
        ] = {}  # the other way around: what is lost first is the end of a request, so no copy is made

    def cached(self, request: int, positions: int) -> int:
        """Positions at the beginning of a request that are still there, in whole blocks. The last of its `positions` is computed in any
        case: it gives the next token."""
        found = 0
        while self.prefix_cache and (found + 1) * BLOCK < positions and (request, found) in self._there:
            found += 1
        return found * BLOCK

    def take(self, request: int, positions: int, cached: int = 0) -> bool:
        """Blocks for so many positions, the first `cached` of them out of the prefix cache; whether there were enough."""
        held = self._held.get(request, [])
        again = [self._there[request, number] for number in range(cached // BLOCK)]
        more = -(-positions // BLOCK) - len(held) - len(again)
        if more > self._unused + len(self._free) - len(again):
            return False
        for block in again:  # of a request that holds none, so nobody holds them
            del self._free[block]
        self._held[request] = [*held, *again, *(self._anew() for _ in range(more))]
        if self.prefix_cache:
            self._fill(request, positions // BLOCK)
        return True

    def free(self, request: int) -> None:
        """A request gives its blocks up, the last first: the beginning is found again most often."""
        for block in reversed(self._held.pop(request, [])):
            self._free[block] = None

    def _anew(self) -> int:
        if self._unused:
            self._unused -= 1
            return self._unused
        block, _ = self._free.popitem(last=False)
        if (content := self._content.pop(block, None)) is not None:
            del self._there[content]
        return block

    def _fill(self, request: int, full: int) -> None:
        """The first `full` blocks of a request hold what it may find again."""
        held = self._held[request]
        for number in range(full - 1, -1, -1):  # those before the first that is known are known
            if held[number] in self._content:
                break
            self._content[held[number]], self._there[request, number] = (request, number), held[number]
