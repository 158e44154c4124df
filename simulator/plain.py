"""Text of others on a terminal: a title, a name or a path may hold characters that steer it. They are shown, never obeyed."""

from __future__ import annotations

import unicodedata

# Control characters (ESC among them), invisible format characters (those that turn the direction of text among them), halves of a
# surrogate pair, separators of lines and of paragraphs.
STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def plain(text: str) -> str:
    """`text` on one line, with each character that steers a terminal as its escape, such as \\x1b."""
    return "".join(_escape(one) if unicodedata.category(one) in STEERING else one for one in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
