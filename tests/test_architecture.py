from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        # The front doors, and what they go through.
        "__main__ pytest_plugin api",
        "cli",
        "plan_command replay_command next_command",
        "run_command sweep_command config_command completion_command render_command diff_command waive_command",
        "proto_command catalogue_command selftest_command",
        "pytest_loop options",
        "loop",
        "dispatcher",
        "allowance",
        "settings console configuration completion held lane_options",
        # Pure functions of a report and of events.
        "reporters.files reporters.progress",
        "reporters.log reporters.junit reporters.html reporters.markdown reporters.badge",
        "reporters.planned replay next_step",
        "reporters.json reporters.terminal",
        "reporters.comparison reporters.sections",
        "reporters.catalogue reporters.drawn reporters",
        # The suite, and what makes a plan of it.
        "plan",
        "suite",
        "passage",
        "sightings",
        "observations",
        # The lanes, a package each.
        "lanes.records",
        "lanes",
        "lanes.suite lanes.scale",
        # Two ways to return machines: after a run, and after its death.
        "dryrun lanes.scale.run",
        "engine sweep",
        "engine_faults run_log",
        "judge report_builder",
        # What a behaviour may touch, and the verbs that it speaks in.
        "trial expect",
        "explore",
        # Machines, and whether there are enough of them.
        "agenda",
        "pool fit opening",
        "lanes.scale.churn",
        "lanes.scale.supply",
        "lanes.scale.worker lanes.scale.follower",
        "selection",
        "machine",
        "machine_record again recovery",
        "claim unheard",
        "yard record storm",
        "record_schema",
        "probe faults",
        # A run held against another, and against what is tolerated.
        "compare waiver",
        "fingerprint",
        # A churn: what is expected of each machine, and what is counted.
        "lanes.scale.reader",
        "lanes.scale.oracle lanes.scale.figures lanes.scale.timings",
        "lanes.scale.budget lanes.scale.growth",
        "lanes.scale.schedule lanes.scale.quiescence lanes.scale.memory lanes.scale.text quantile_sketch",
        "lanes.scale.soak lanes.catalogue_file",
        # What may leave the kit.
        "discretion",
        # What is known of a run: values.
        "evidence",
        "events call_latency chain grpcurl",
        "report",
        "result comparison_values latency",
        "run_options",
        "asked weather found",
        "behaviour",
        "needs bill ledger patience stop buf",
        # The wire.
        "client relay reflection kept shortcut",
        "busy",
        "call target catalogue",
        "answer",
        "size turns concurrency_limit",
        # The words.
        "file_lock lane_figures lanes.protocol",
        "errors lifecycle token text clock interrupts underway",
        "json_reader value_types",
    )
)
"""From the top down. A module imports from layers below its own, at run time and inside its functions too."""

LAZY = {("plan", "suite")}
"""Where the suite is named without being known: `plan` imports whatever modules lie in it."""

PLAN = next(number for number, layer in enumerate(LAYERS) if "plan" in layer)
FRONT = frozenset({"pytest", "_pytest", "click", "rich"})

LONG = {
    # One decision of the contract a method: a mutant overrides one, so that there is no seam to cut it at.
    "fake_provider/core.py",
}


class Import(NamedTuple):
    """An imported module, and whether only a type checker sees it."""

    module: str
    typing: bool


def modules(package: str) -> dict[str, Path]:
    """The modules of a package by their dotted names."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: frozenset[str]) -> Iterator[Import]:
    """All that a module imports, wherever in it; `from package import module` names the module."""

    def visit(node: ast.AST, typing: bool) -> Iterator[Import]:
        match node:
            case ast.Import():
                yield from (Import(alias.name, typing) for alias in node.names)
            case ast.ImportFrom(module=str(base)):
                for alias in node.names:
                    yield Import(f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base, typing)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                for unseen in node.body:
                    yield from visit(unseen, True)
                for seen in node.orelse:
                    yield from visit(seen, typing)
            case _:
                for child in ast.iter_child_nodes(node):
                    yield from visit(child, typing)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), False)


CONFORMANCE = modules("conformance")
KNOWN = frozenset(CONFORMANCE)


def short(module: str) -> str:
    """A module of the kit by its name in LAYERS: the suite is one."""
    name = module.removeprefix("conformance").removeprefix(".")
    return "suite" if name.partition(".")[0] == "suite" else name


def layer_of(module: str) -> int:
    """A module's layer; below all for one that has none, which a test of its own says."""
    return next((number for number, layer in enumerate(LAYERS) if short(module) in layer), len(LAYERS))


def inner(module: str) -> bool:
    return module.partition(".")[0] == "conformance" and short(module) != ""


def test_every_module_has_just_one_layer() -> None:
    placed = [name for layer in LAYERS for name in layer]
    assert len(placed) == len(set(placed))
    assert set(placed) == {short(module) for module in CONFORMANCE if inner(module)}


@pytest.mark.parametrize("module", sorted(filter(inner, CONFORMANCE)))
def test_imports_go_down_only(module: str) -> None:
    upward = [
        one.module
        for one in imports(CONFORMANCE[module], KNOWN)
        if not one.typing
        and inner(one.module)
        and (short(module), short(one.module)) not in LAZY
        and short(one.module) != short(module)
        and layer_of(one.module) <= layer_of(module)
    ]
    assert upward == [], f"{module} imports from its own layer or above: see LAYERS"


@pytest.mark.parametrize("module", sorted(m for m in CONFORMANCE if inner(m) and short(m) != "__main__"))
def test_not_even_types_come_from_the_front_doors(module: str) -> None:
    seen = {short(one.module) for one in imports(CONFORMANCE[module], KNOWN) if inner(one.module)}
    assert seen & {"cli", "pytest_plugin"} == set()


@pytest.mark.parametrize("module", sorted(m for m in CONFORMANCE if inner(m) and layer_of(m) >= PLAN))
def test_the_engine_and_all_that_it_runs_know_no_pytest_no_click_and_no_rich(module: str) -> None:
    tops = {one.module.partition(".")[0] for one in imports(CONFORMANCE[module], KNOWN)}
    assert tops & FRONT == set()


def test_the_fake_knows_nothing_of_the_kit() -> None:
    tops = {one.module.partition(".")[0] for path in modules("fake_provider").values() for one in imports(path, KNOWN)}
    assert tops & {"conformance", "selftest", "tests"} == set()


def test_only_the_front_doors_loop_and_the_dry_run_know_the_fake() -> None:
    knowing = {
        short(name)
        for name, path in CONFORMANCE.items()
        if any(one.module.partition(".")[0] == "fake_provider" for one in imports(path, KNOWN))
    }
    assert knowing == {"loop", "dryrun"}


def test_nothing_that_is_installed_knows_the_selftest_or_the_tests() -> None:
    installed = {**CONFORMANCE, **modules("fake_provider")}
    tops = {one.module.partition(".")[0] for path in installed.values() for one in imports(path, KNOWN)}
    assert tops & {"selftest", "tests"} == set()


@pytest.mark.parametrize("package", ["conformance", "fake_provider", "selftest"])
def test_no_file_is_longer_than_500_lines(package: str) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules(package).values()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert {name: lines for name, lines in long.items() if name not in LONG} == {}


def test_a_walk_sees_imports_inside_functions_and_tells_types_apart(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from conformance.frontends.cli.main import main\n"
        "def late():\n    from conformance import engine, errors\n",
        encoding="utf-8",
    )
    assert list(imports(source, KNOWN)) == [
        Import("typing", False),
        Import("conformance.frontends.cli.main", True),
        Import("conformance.engine.run", False),
        Import("conformance.core.errors", False),
    ]
