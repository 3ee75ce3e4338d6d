"""The architecture rules that import-linter and ruff do not check."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("conformance", "fake_provider", "selftest", "tests", "tools")
INSTALLED = ("conformance", "fake_provider", "selftest")
MAX_PACKAGES = 10
MAX_LINES = 500
MAX_ATTRIBUTES = 15
REASON = "# More than 15 attributes:"
"""Begins the comment with the reason, on the line above the class or its decorators."""


def modules(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def own_attributes(node: ast.ClassDef) -> set[str]:
    """Returns the fields in the class body, and the attributes of `self` that its methods assign."""
    annotated = [child for child in node.body if isinstance(child, ast.AnnAssign)]
    fields = {child.target.id for child in annotated if isinstance(child.target, ast.Name)}
    stores = {
        inner.attr
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute)
        and isinstance(inner.ctx, ast.Store)
        and isinstance(inner.value, ast.Name)
        and inner.value.id == "self"
    }
    return fields | stores


def crowded_classes(source: str) -> list[str]:
    """Returns the classes with more than MAX_ATTRIBUTES attributes and without a reason."""
    lines = source.splitlines()
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and len(own_attributes(node)) > MAX_ATTRIBUTES:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if not lines[first - 2].strip().startswith(REASON):
                found.append(f"{node.name}: {len(own_attributes(node))}")
    return found


def test_there_are_at_most_ten_packages_each_with_a_purpose() -> None:
    entries = [path for path in (ROOT / "conformance").iterdir() if path.name != "__pycache__"]
    packages = sorted(path for path in entries if path.is_dir())
    assert len(packages) <= MAX_PACKAGES
    assert {path.name for path in entries if path.is_file()} == {"__init__.py", "__main__.py", "py.typed"}
    for package in packages:
        purpose = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
        assert purpose, f"{package.name}/__init__.py has no docstring"
        assert len(purpose.splitlines()[0]) <= 120


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    names = {name_of(path): path.stem if path.stem != "__init__" else path.parent.name for path in modules(*INSTALLED)}
    known = sys.stdlib_module_names - {"__main__"}
    assert {name: stem for name, stem in names.items() if stem in known} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_longer_than_500_lines(package: str) -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules(package)}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


@pytest.mark.parametrize("package", INSTALLED)
def test_a_class_with_more_than_15_attributes_says_why(package: str) -> None:
    found = {name_of(path): crowded_classes(path.read_text(encoding="utf-8")) for path in modules(package)}
    assert {name: classes for name, classes in found.items() if classes} == {}


def test_attributes_are_counted_in_the_class_body_and_in_its_methods() -> None:
    fields = "\n".join(f"    a{number}: int" for number in range(10))
    method = "    def __init__(self):\n" + "\n".join(f"        self.b{number} = 0" for number in range(6))
    assert crowded_classes(f"class Crowded:\n{fields}\n{method}") == ["Crowded: 16"]
    assert crowded_classes(f"class Roomy:\n{fields}") == []
    assert crowded_classes(f"{REASON} one per column.\n@frozen\nclass Crowded:\n{fields}\n{method}") == []


def test_the_tests_of_a_package_are_in_a_directory_of_its_name() -> None:
    loose = {path.name for path in (ROOT / "tests").glob("test_*.py")}
    assert loose == {"test_architecture.py", "test_frozen_surface.py"}


@pytest.mark.parametrize("path", modules("conformance/suite", "conformance/testkit"), ids=name_of)
def test_behaviours_do_not_read_the_raw_code_of_a_call(path: Path) -> None:
    """A call without an answer has a `code` too: `status` raises NoAnswer for it."""
    tree = ast.parse(path.read_text())
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}  # expect.code(…)
    raw = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "code" and id(node) not in called
    ]
    assert raw == []
