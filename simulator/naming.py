"""How a policy is named with what it is told: NAME=VALUE,key=VALUE:TEXT, such as popular=50%:first=20% or lookahead=8."""

from __future__ import annotations

import os
from typing import NamedTuple

from simmoe.simulator.errors import UserError


class Named(NamedTuple):
    """The parts of what names a policy; a part that is left out is empty."""

    name: str  # or the path of a file
    values: str  # behind the first =
    text: str  # behind the first colon: whose use of experts is counted

    @property
    def tail(self) -> str:
        """All behind the name, as it was written."""
        return f"={self.values}" * bool(self.values) + f":{self.text}" * bool(self.text)


def named(value: str) -> Named:
    """A file that exists is a name as a whole. Raises UserError for a sign with nothing behind it."""
    if os.path.exists(value):
        return Named(value, "", "")
    head, colon, text = value.partition(":")
    name, equals, values = head.partition("=")
    for sign, behind in ((equals, values), (colon, text)):
        if sign and not behind:
            raise UserError(
                f"{value!r}: nothing stands behind {sign!r}; leave the sign out, or write what the policy is told"
            )
    return Named(name, values, text)
