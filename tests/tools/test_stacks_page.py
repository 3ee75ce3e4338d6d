"""docs/stacks.md shows every observation, and the proxies where they were observed."""

from __future__ import annotations

import json
from typing import Any

from tests.stacks.observe import QUESTIONS
from tests.stacks.stacks import STACKS
from tools import stacks as page

STACK: dict[str, Any] = {
    "directory": "abacus",
    "versions": {"abacus-grpc": "1.2.3"},
    "quick": False,
    "observed": dict.fromkeys(QUESTIONS)
    | {"unknown_method": "UNIMPLEMENTED", "unknown_method_http": 404, "max_frame_size": 16384, "request_4MiB": "a|b"},
    "settings": {"request_4MiB": "max_size of Abacus()"},
}
ONE = {"questions": QUESTIONS, "stacks": {"abacus": STACK}}


def test_each_question_is_in_a_table() -> None:
    columns = [column for table in page.TABLES for column in table.columns]
    assert {column.question for column in columns} | {column.http for column in columns} - {""} == set(QUESTIONS)


def test_a_stack_is_shown_with_its_versions_answers_and_options() -> None:
    text = page.render(ONE, None)
    assert "| [abacus](../tests/stacks/abacus) | abacus-grpc 1.2.3 | no: `make stacks` |" in text
    assert "| abacus | UNIMPLEMENTED (HTTP 404) | – | – |" in text
    assert "16,384" in text
    assert r"| abacus | request of 4 MiB | a\|b | max_size of Abacus() |" in text
    assert "## Proxies" not in text


def test_proxies_are_a_column_each() -> None:
    proxy = {"versions": {"sieve": "4.5"}, "observed": {"large": 413}, "settings": {"large": "size 8M;"}}
    text = page.render(ONE, {"questions": {"large": "a request of 2 MiB"}, "proxies": {"sieve": proxy}})
    assert "|  | sieve |\n| --- | --- |\n| versions | sieve 4.5 |\n| a request of 2 MiB | 413 |\n" in text
    assert "| sieve | a request of 2 MiB | size 8M; |" in text


def test_true_is_shown_as_yes() -> None:
    observed = {"cancels": True, "streams": False, "connections": 1}
    proxy = {"versions": {}, "observed": observed}
    text = page.render(ONE, {"questions": {name: name for name in observed}, "proxies": {"sieve": proxy}})
    assert "| cancels | yes |\n| streams | no |\n| connections | 1 |\n" in text


def test_all_stacks_are_on_the_page() -> None:
    shown = json.loads(page.STACKS.read_text(encoding="utf-8"))["stacks"]
    assert {stack.name for stack in STACKS} == set(shown)
    assert all(stack.directory == shown[stack.name]["directory"] for stack in STACKS)
    assert all(stack.quick == shown[stack.name]["quick"] for stack in STACKS)
