"""`python -m selftest.deletions [LINES|all] [SEED]`: tests whether a deleted line of suite or model is noticed.

Chooses random lines that state a fact: `expect…` in the suite, a `Breach` in the model of the fleet. Deletes one at a
time. For the suite, runs the self-test for the behaviours that can reach the line: the reference must pass, every
mutant must still be found, and no variant may fail. If nothing is noticed, the model of the fleet may state the same
fact: then both are asked again without the model's breaches of these behaviours. For the model, runs its tests. No file
changes: the function that contains the line gets the code object that it would have without the line.
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
from unittest import mock

from conformance.fleet.model import FleetModel
from conformance.frontends import collection
from conformance.testkit.behaviour import declaration_of
from selftest.check_behaviours import failed_tests, first_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.results.breach import Breach

ROOT = Path(__file__).resolve().parent.parent
SUITE = Path("conformance/suite")
MODEL = Path("conformance/fleet/model")
MODEL_TESTS = "tests/fleet/model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A statement that only states a fact; `holder` is the qualified name of the function or method around it."""

    path: Path
    first: int
    last: int
    indent: int
    holder: str

    @property
    def in_model(self) -> bool:
        """Returns whether the line is a rule of the model of the fleet."""
        return self.path.is_relative_to(MODEL)

    def without(self, text: str) -> str:
        """Returns the text of the file with `pass` instead of the statement."""
        lines = text.splitlines(keepends=True)
        return "".join([*lines[: self.first - 1], " " * self.indent + "pass\n", *lines[self.last :]])


def facts(root: Path) -> list[Line]:
    """Returns all such lines of the suite and the model below `root`."""
    found = []
    for path in sorted([*(root / SUITE).glob("*.py"), *(root / MODEL).glob("*.py")]):
        for holder, body in _functions(ast.parse(path.read_text(encoding="utf-8"))):
            for node in ast.walk(body):
                if isinstance(node, ast.Expr | ast.Return) and _states_a_fact(node.value):
                    last = node.end_lineno or node.lineno
                    relative = path.relative_to(root)
                    line = Line(path=relative, first=node.lineno, last=last, indent=node.col_offset, holder=holder)
                    found.append(line)
    return found


def _functions(parent: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Yields the functions of a module and the methods of its classes, with qualified names; no nested functions."""
    for node in ast.iter_child_nodes(parent):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield f"{prefix}{node.name}", node
            case ast.ClassDef():
                yield from _functions(node, f"{prefix}{node.name}.")


def _states_a_fact(value: ast.expr | None) -> bool:
    call = value.value if isinstance(value, ast.Await | ast.Yield) else value
    match call:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="expect"))) | ast.Call(func=ast.Name(id="Breach")):
            return True
        case _:
            return False


def holder_of(line: Line) -> FunctionType:
    """Returns the imported function that contains the line."""
    module = importlib.import_module(".".join(line.path.with_suffix("").parts))
    return cast("FunctionType", functools.reduce(getattr, line.holder.split("."), cast("Any", module)))


@contextmanager
def deleted(line: Line) -> Iterator[None]:
    """Removes the line until the context exits, also for modules that have imported its function."""
    function = holder_of(line)
    module = compile(line.without((ROOT / line.path).read_text(encoding="utf-8")), str(line.path), "exec")
    code = next(code for code in _codes(module) if code.co_qualname == line.holder)
    original, function.__code__ = function.__code__, code
    try:
        yield
    finally:
        function.__code__ = original


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yields the code object and all code objects that are nested in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def reaching(function: FunctionType) -> frozenset[str]:
    """Returns the behaviours that use the function, directly or through other functions of the suite."""
    return frozenset(declaration_of(body)[0] for body in collection.functions() if function in _reached(body))  # type: ignore[index]


@functools.cache
def _reached(body: FunctionType) -> frozenset[FunctionType]:
    found: set[FunctionType] = set()
    queue: list[Any] = [body]
    while queue:
        match queue.pop():
            case FunctionType() as function if function not in found and function.__module__.startswith(
                "conformance.suite."
            ):
                found.add(function)
                names = {name for code in _codes(function.__code__) for name in code.co_names}
                queue += [function.__globals__[name] for name in names & function.__globals__.keys()]
            case type() as cls if cls.__module__.startswith("conformance.suite."):
                queue += vars(cls).values()
    return frozenset(found)


@contextmanager
def without_breaches_of(behaviours: frozenset[str]) -> Iterator[None]:
    """Makes the model of the fleet silent about these behaviours until the context exits."""
    note = FleetModel.note

    def others(model: FleetModel, breach: Breach) -> None:
        if breach.behaviour not in behaviours:
            note(model, breach)

    with mock.patch.object(FleetModel, "note", others):
        yield


def problem_without(line: Line) -> str:
    """Returns the first problem that is found without the line; empty if none is."""
    with deleted(line):
        if line.in_model:
            return failed_tests(MODEL_TESTS)
        behaviours = reaching(holder_of(line))
        problem = first_problem(behaviours)
    if problem:
        return problem
    with without_breaches_of(behaviours):
        if first_problem(behaviours):
            return ""  # only the model finds some mutants, so this shows nothing about the line
        with deleted(line):
            problem = first_problem(behaviours)
    return problem and f"{problem}, if the model of the fleet says nothing"


def main(arguments: list[str]) -> int:
    """Deletes one line at a time, and returns 1 if one was not noticed."""
    logging.disable(logging.CRITICAL)
    lines = facts(ROOT)
    wanted = arguments[0] if arguments else "30"
    count, seed = len(lines) if wanted == "all" else int(wanted), int(arguments[1]) if len(arguments) > 1 else 0
    survivors = 0
    for line in lines if wanted == "all" else random.Random(seed).sample(lines, count):
        problem = problem_without(line)
        survivors += not problem
        text = (ROOT / line.path).read_text(encoding="utf-8").splitlines()[line.first - 1].strip()
        print(f"{'noticed ' if problem else 'SURVIVED'} {line.path.name}:{line.first} {text}")
        print(f"         {problem.splitlines()[0][:160] if problem else 'no problem is found'}", flush=True)
    print(f"{count - survivors} of {count} deletions noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
