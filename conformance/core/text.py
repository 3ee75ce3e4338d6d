"""Prepares text from other programs for display: one line, no control characters, limited length."""

from __future__ import annotations

import re

MAX_VALUE_CHARACTERS = 60
"""Longer metadata values are shown truncated to this many characters."""
MAX_SENT_CHARACTERS = 4096
"""Longer strings of a request are recorded truncated to this many characters: a replay then sends a different one."""


def printable(text: str) -> str:
    """Returns `text` in one line, with characters escaped that control a terminal or the text direction."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(ord(c)) for c in text)


def _escape(number: int) -> str:
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def cut(text: str, longest: int = MAX_VALUE_CHARACTERS) -> str:
    """Returns `text`, printable and truncated to about `longest` characters, with the full length at the end."""
    shown = printable(text[: longest + 1])
    return f"{shown[:longest]}…({len(text)} characters)" if len(text) > longest else shown


def clip(text: str, longest: int = MAX_SENT_CHARACTERS) -> str:
    """Returns `text` unescaped and truncated to `longest` characters, with the full length at the end."""
    if len(text) <= longest:
        return text
    ending = f"…({len(text)} characters)"
    return text[: longest - len(ending)] + ending


def quantity(count: int, noun: str) -> str:
    """Returns the number with its noun: `1 machine`, `3,000 machines`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def escape_markdown(text: str, longest: int = 800) -> str:
    """Returns `text` escaped for Markdown: it cannot contain formatting, mentions or links."""
    escaped = re.sub(r"([\\`*_{}\[\]<>()#+!|~&$^=-])", r"\\\1", cut(text, longest))
    return escaped.replace("@", "@\u200b").replace("://", ":\u200b//")
