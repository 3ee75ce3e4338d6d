"""`python -m selftest.deletions [LINES|all] [SEED]`: whether the self-test notices that a line of the suite is gone.

Takes lines at random that state a fact (`expect…`), deletes one at a time, and runs what the self-test runs for the
behaviours that can reach it: the reference must pass, every mutant must still be found, and no variant be failed.
Nothing is written: the function that holds the line is given the code that it would have without it.
"""

from __future__ import annotations

import ast
import functools
import importlib
import logging
import random
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, cast

from conformance.frontends import collection
from conformance.testkit.behaviour import declaration_of
from selftest.bites import wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
SUITE = Path("conformance/suite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A statement that states a fact and does nothing else; `holder` is the function or method that it stands in."""

    path: Path
    first: int
    last: int
    indent: int
    holder: str

    def without(self, text: str) -> str:
        """The file with `pass` in the statement's place."""
        lines = text.splitlines(keepends=True)
        return "".join([*lines[: self.first - 1], " " * self.indent + "pass\n", *lines[self.last :]])


def facts(root: Path) -> list[Line]:
    """Every such line of the suite under `root`."""
    found = []
    for path in sorted((root / SUITE).glob("*.py")):
        for holder, body in _functions(ast.parse(path.read_text(encoding="utf-8"))):
            for node in ast.walk(body):
                if isinstance(node, ast.Expr) and _states_a_fact(node.value):
                    last = node.end_lineno or node.lineno
                    where = path.relative_to(root)
                    found.append(Line(path=where, first=node.lineno, last=last, indent=node.col_offset, holder=holder))
    return found


def _functions(parent: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """The functions of a module and the methods of its classes, by qualified name; not what is inside of those."""
    for node in ast.iter_child_nodes(parent):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield f"{prefix}{node.name}", node
            case ast.ClassDef():
                yield from _functions(node, f"{prefix}{node.name}.")


def _states_a_fact(value: ast.expr) -> bool:
    call = value.value if isinstance(value, ast.Await) else value
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "expect"
    )


def holder_of(line: Line) -> FunctionType:
    """The function that holds the line, as it was imported."""
    module = importlib.import_module(".".join(line.path.with_suffix("").parts))
    return cast("FunctionType", functools.reduce(getattr, line.holder.split("."), cast("Any", module)))


@contextmanager
def deleted(line: Line) -> Iterator[None]:
    """The line is gone, for whoever has imported its function too."""
    function = holder_of(line)
    whole = compile(line.without((ROOT / line.path).read_text(encoding="utf-8")), str(line.path), "exec")
    code = next(code for code in _codes(whole) if code.co_qualname == line.holder)
    kept, function.__code__ = function.__code__, code
    try:
        yield
    finally:
        function.__code__ = kept


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code and all that is defined within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def reaching(function: FunctionType) -> frozenset[str]:
    """The behaviours whose code, or what that calls in the suite, names the function."""
    return frozenset(declaration_of(body)[0] for body in collection.functions() if function in _reached(body))  # type: ignore[index]


@functools.cache
def _reached(body: FunctionType) -> frozenset[FunctionType]:
    found: set[FunctionType] = set()
    due: list[Any] = [body]
    while due:
        match due.pop():
            case FunctionType() as function if function not in found and function.__module__.startswith(
                "conformance.suite."
            ):
                found.add(function)
                names = {name for code in _codes(function.__code__) for name in code.co_names}
                due += [function.__globals__[name] for name in names & function.__globals__.keys()]
            case type() as cls if cls.__module__.startswith("conformance.suite."):
                due += vars(cls).values()
    return frozenset(found)


def noticed(line: Line) -> str:
    """What the self-test says where the line is gone; empty where it does not notice."""
    with deleted(line):
        return wrong(reaching(holder_of(line)))


def main(arguments: list[str]) -> int:
    """Delete line after line; 1 where one was not noticed."""
    logging.disable(logging.CRITICAL)
    lines = facts(ROOT)
    wanted = arguments[0] if arguments else "30"
    count, seed = len(lines) if wanted == "all" else int(wanted), int(arguments[1]) if len(arguments) > 1 else 0
    survivors = 0
    for line in lines if wanted == "all" else random.Random(seed).sample(lines, count):
        said = noticed(line)
        survivors += not said
        text = (ROOT / line.path).read_text(encoding="utf-8").splitlines()[line.first - 1].strip()
        print(f"{'noticed ' if said else 'SURVIVED'} {line.path.name}:{line.first} {text}")
        print(f"         {said.splitlines()[0][:160] if said else 'nothing in the self-test minds'}", flush=True)
    print(f"{count - survivors} of {count} deletions noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
