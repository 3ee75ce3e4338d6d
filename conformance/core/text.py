"""Text that somebody else has sent, made fit to be shown: in one line, steering nothing, and of some length."""

from __future__ import annotations

import re

LONGEST_VALUE = 60
"""A metadata value longer than this many characters is shown cut."""
LONGEST_SENT = 4096
"""A string longer than this many characters is kept cut: what is sent again is then not quite what was sent."""


def printable(text: str) -> str:
    """`text` in one line, without what would steer a terminal or turn its words around."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(ord(c)) for c in text)


def _escape(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def cut(text: str, longest: int = LONGEST_VALUE) -> str:
    """`text`, printable, and no longer than `longest` characters or so."""
    shown = printable(text[: longest + 1])
    return f"{shown[:longest]}…({len(text)} characters)" if len(text) > longest else shown


def clip(text: str, longest: int = LONGEST_SENT) -> str:
    """`text` as it is, but no longer than `longest` characters; what is left out is counted at its end."""
    if len(text) <= longest:
        return text
    ending = f"…({len(text)} characters)"
    return text[: longest - len(ending)] + ending


def quantity(count: int, noun: str) -> str:
    """Returns `1 machine`, `2 machines`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def plain(text: str, longest: int = 800) -> str:
    """Words as they are for Markdown, in which no mark, no mention and no link of theirs means anything."""
    escaped = re.sub(r"([\\`*_{}\[\]<>()#+!|~&$^=-])", r"\\\1", cut(text, longest))
    return escaped.replace("@", "@\u200b").replace("://", ":\u200b//")
