"""Checks the words of the project against the phrases of `tools/prose.toml`, with proselint.

`python -m tools.prose` checks the paths listed there; `python -m tools.prose PATH…` checks others. Only prose is read:
Markdown without code, comments and strings of source files, and the text of HTML templates. Identifiers, JSON keys
(strings without a space) and everything in backticks are ignored.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proselint.checks import __register__ as proselint_checks
from proselint.registry.checks import Check, Padding
from proselint.registry.checks.engine import Fancy, Fast, RegexOptions
from proselint.registry.checks.types import PreferredForms
from proselint.tools import LintFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = Path(__file__).with_suffix(".toml")

CODE_IN_MARKDOWN = (
    r"^( *)```.*?^\1```",
    r"<!-- zoo -->.*?<!-- end of the zoo -->",  # generated from what the kit prints
    r"`[^`\n]+`",
    r"\]\([^)]*\)",
    r"<[^>\n]*>",
)
CODE_IN_TEMPLATES = (
    r"\{[{%#].*?[}%#]\}",
    r"<style.*?</style>",
    r'<[/!]?\w*|\b(?!(?:alt|title|aria-label)=)[\w:-]+="[^"]*"|>',
)
DOCSTRING = "¶"
"""Marks the beginning of a docstring in the prose of Python code."""
STRING_PREFIX = re.compile(r"[A-Za-z]*(\"\"\"|'''|\"|')")


def spaces(text: str) -> str:
    """Returns spaces of the same length; line breaks stay, so that positions in a file do."""
    return re.sub(r"[^\n]", " ", text)


def without(text: str, patterns: Sequence[str]) -> str:
    """Returns the text with every match of a pattern replaced by spaces."""
    for pattern in patterns:
        text = re.sub(pattern, lambda match: spaces(match[0]), text, flags=re.DOTALL | re.MULTILINE)
    return text


def words_of_string(literal: str) -> str:
    """Returns the text of a Python string literal; spaces if it is a key or another single word."""
    prefix = STRING_PREFIX.match(literal)
    if prefix is None:  # a part of an f-string
        return literal if " " in literal else spaces(literal)
    body = literal[prefix.end() : -len(prefix[1])]
    if not re.search(r"\s", body):
        return spaces(literal)
    if "f" in prefix[0].lower():
        body = without(body, [r"\{[^{}]*\}"])
    begin = spaces(prefix[0][:-1]) + (DOCSTRING if prefix[1] == '"""' else " ")
    return begin + body.replace("\\n", "  ") + spaces(prefix[1])


def prose_of_python(source: str) -> str:
    """Returns the comments and strings of Python code, everything else replaced by spaces."""
    prose = [list(spaces(line)) for line in source.splitlines(keepends=True)]
    readers = {tokenize.COMMENT: lambda text: text.replace("#", " ", 1), tokenize.STRING: words_of_string}
    if sys.version_info >= (3, 12):
        readers[tokenize.FSTRING_MIDDLE] = words_of_string
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if reader := readers.get(token.type):
            row, column = token.start
            for number, line in enumerate(reader(token.string).split("\n")):
                start = column if number == 0 else 0
                prose[row - 1 + number][start : start + len(line)] = line
    return without("".join("".join(line) for line in prose), [r"`[^`\n]+`"])


def prose_of_script(source: str) -> str:
    """Returns the comments and strings of JavaScript or TOML, everything else replaced by spaces."""
    pattern = r'("""|\'\'\')(.*?)\1|"[^"\n]*"|\'[^\'\n]*\'|(?://|#)[^\n]*'
    prose, end = "", 0
    for match in re.finditer(pattern, source, flags=re.DOTALL):
        words = match[0] if " " in match[0] else spaces(match[0])
        prose, end = prose + spaces(source[end : match.start()]) + words, match.end()
    return without(prose + spaces(source[end:]), [r"`[^`\n]+`"])


def prose_of(path: Path) -> str:
    """Returns the prose of a file, everything else replaced by spaces, so that characters keep their positions."""
    source = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".py":
            return prose_of_python(source)
        case ".md":
            return without(source, CODE_IN_MARKDOWN)
        case ".toml" | ".js":
            return prose_of_script(source)
        case ".html" | ".j2":
            return without(source, CODE_IN_TEMPLATES)
        case _:
            return source


def pattern(phrase: str, before: str) -> str:
    """Returns the regular expression for a phrase of the configuration; a space matches any white space."""
    return rf"{before}(?:{phrase})\b".replace(" ", r"\s+")


def checks(configuration: dict[str, Any]) -> Iterator[Check]:
    """Yields the checks of proselint that the configuration names, and one for each kind of phrase."""
    yield from (check for check in proselint_checks if check.path.split(".")[0] in configuration["proselint"])
    # RE2 is six times as fast as re, but has no lookarounds.
    kinds = (("phrases", r"\b", True), ("sentences", r"\b", False), ("docstrings", DOCSTRING, False))
    for name, before, any_case in kinds:
        options = RegexOptions(case_insensitive=any_case)
        for engine, lookaround in ((Fast(options), False), (Fancy(options), True)):
            yield Check(
                check_type=PreferredForms(
                    {
                        pattern(phrase, before): instead
                        for phrase, instead in configuration[name].items()
                        if ("(?" in phrase) is lookaround
                    },
                    padding=Padding.RAW,
                ),
                path=name,
                message="'{1}': write {0}",
                engine=engine,
            )


def files(paths: Sequence[Path], excluded: Sequence[str], suffixes: Sequence[str]) -> Iterator[Path]:
    """Yields the files below the paths that have one of the suffixes; a file that is named is always taken."""
    for path in paths:
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in found:
            generated = any(file.match(pattern) for pattern in excluded)
            if file.is_file() and (file == path or file.suffix in suffixes) and not generated:
                yield file


def findings(path: Path, wanted: Sequence[Check]) -> Iterator[str]:
    """Yields one line for each phrase that should be written in another way."""
    prose = prose_of(path)
    if not prose.strip():
        return
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    file = LintFile(str(name), prose)
    for found in sorted((found for check in wanted for found in check.check(file.content)), key=lambda one: one.span):
        line, column = file.line_col_of(found.span[0])
        yield f"{name}:{line}:{column}: {' '.join(found.message.replace(DOCSTRING, '').split())} [{found.check_path}]"


def main(arguments: Sequence[str]) -> int:
    """Prints the findings, and returns 1 if there are any."""
    configuration = tomllib.loads(CONFIGURATION.read_text(encoding="utf-8"))
    wanted = list(checks(configuration))
    paths = [Path(argument).resolve() for argument in arguments] or [ROOT / path for path in configuration["paths"]]
    checked = files(paths, configuration["exclude"], configuration["suffixes"])
    found = [finding for path in checked for finding in findings(path, wanted)]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
