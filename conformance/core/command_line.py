"""Command lines of options such as `--provider-cmd`: split like a shell does, but never given to a shell."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Final

from conformance.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

PLACEHOLDERS: Final = ("port", "dir")
"""The placeholders of every command: the provider's port, and the directory for its state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """The command of one option, with placeholders that are not filled yet."""

    option: str
    """The long name of the option: `--provider-cmd`."""
    words: tuple[str, ...]

    def uses(self, placeholder: str) -> bool:
        """Returns whether the command contains this placeholder."""
        return any(placeholder == field for word in self.words for _, field, _, _ in Formatter().parse(word))

    def filled(self, **values: str) -> list[str]:
        """Returns the program and its arguments. A value is never split, whatever it contains."""
        return [word.format(**values) for word in self.words]


def parse_command(text: str, option: str, *, placeholders: Collection[str] = PLACEHOLDERS) -> CommandLine:
    """Returns the command of an option. Raises UsageError for unbalanced quotes and unknown placeholders."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{option}: {str(error).lower()}", hint="quote as in a shell, or escape with \\") from None
    if not words or not words[0]:
        raise UsageError(f"{option} is empty", hint="give a program and its arguments")
    for word in words:
        check_placeholders(word, option, placeholders)
    return CommandLine(option=option, words=tuple(words))


def check_placeholders(text: str, option: str, placeholders: Collection[str] = PLACEHOLDERS) -> None:
    """Raises UsageError if `text` has a placeholder that is not one of these, or a single brace."""
    known = " and ".join(f"{{{name}}}" for name in placeholders)
    hint = f"the placeholders are {known}; write {{{{ and }}}} for braces"
    try:
        fields = [(field, spec, conversion) for _, field, spec, conversion in Formatter().parse(text)]
    except ValueError:
        raise UsageError(f"{option}: a brace in {text!r} is not part of a placeholder", hint=hint) from None
    for field, spec, conversion in fields:
        if field is not None and (field not in placeholders or spec or conversion):
            raise UsageError(f"{option}: unknown placeholder {{{field}}}", hint=hint)
