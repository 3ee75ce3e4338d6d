"""Our files for CI services, and the examples in the documents, are valid and work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documents.test_readme import files
from tests.provider_process import Provider, serving
from tools.transcripts import ROOT

BIN = Path(sys.executable).parent
CI = ROOT / "docs" / "ci.md"
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: dict[str, dict[str, Any]] = {step.get("name", step.get("id")): step for step in ACTION["runs"]["steps"]}


def invalid(schema: str, path: Path) -> str:
    """Returns the errors in the file according to the service's schema; empty if it is valid."""
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", f"vendor.{schema}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "schema"), [(".github/workflows/conformance.yml", "github-workflows"), (".gitlab-ci.yml", "gitlab-ci")]
)
def test_the_examples_of_the_page_are_valid(name: str, schema: str, tmp_path: Path) -> None:
    path = tmp_path / Path(name).name
    text = files(CI)[name]
    path.write_text(text, encoding="utf-8")
    assert invalid(schema, path) == ""
    path.write_text(
        re.sub(r"^( *)(runs-on|artifacts):", r"\1\2x: 1\n\1artifacts: 7\n\1run-on:", text, flags=re.M), "utf-8"
    )
    assert invalid(schema, path) != ""


@pytest.mark.parametrize(
    ("name", "schema"), [(".github/workflows/ci.yml", "github-workflows"), ("action.yml", "github-actions")]
)
def test_our_own_ci_files_are_valid(name: str, schema: str) -> None:
    assert invalid(schema, ROOT / name) == ""


def test_the_page_gives_the_action_inputs_that_it_has() -> None:
    workflow = yaml.safe_load(files(CI)[".github/workflows/conformance.yml"])
    (given,) = [step["with"] for step in workflow["jobs"]["judge"]["steps"] if "with" in step]
    assert set(given) <= set(ACTION["inputs"])


def test_our_ci_runs_our_action_and_make_verify_on_each_python() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["verify"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert [step.get("run") for step in jobs["verify"]["steps"]][-1] == ".ci/run"
    assert "./" in [step.get("uses") for step in jobs["action"]["steps"]]


def our_ci(tmp_path: Path, *programs: str, stacks: str = "", proxies: str = "") -> tuple[int, str]:
    """Runs .ci/run where PATH has these programs only; returns the exit code and what it writes to stderr."""
    for name in ("dirname", "id", *programs):
        (tmp_path / name).symlink_to(shutil.which(name) or "/bin/true")
    env = {"PATH": str(tmp_path), "CONFORMANCE_CHROMIUM": "/bin/true"}
    env |= {"CONFORMANCE_STACKS": stacks, "CONFORMANCE_PROXIES": proxies}
    command = [shutil.which("bash") or "bash", str(ROOT / ".ci/run")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=50, check=False)
    return done.returncode, done.stderr


def test_our_ci_names_the_missing_toolchains(tmp_path: Path) -> None:
    code, error = our_ci(tmp_path, "node", "npm", stacks="required")
    assert code == 1
    assert "not on PATH: go java javac mvn;" in error
    assert "CONFORMANCE_STACKS= .ci/run" in error


def test_our_ci_names_the_packages_that_it_cannot_install(tmp_path: Path) -> None:
    code, error = our_ci(tmp_path, "go", "node", "npm", "java", "javac", "mvn", stacks="required")
    assert code == 1
    assert "cannot be installed: g++ libgrpc++-dev" in error


def test_our_ci_names_the_proxies_that_it_cannot_install(tmp_path: Path) -> None:
    code, error = our_ci(tmp_path, proxies="required")
    assert code == 1
    assert "cannot be installed:" in error
    assert "CONFORMANCE_PROXIES=" in error


def test_without_the_stacks_our_ci_asks_for_no_toolchain(tmp_path: Path) -> None:
    code, error = our_ci(tmp_path)
    assert code == 127  # make
    assert "not on PATH" not in error


def test_no_script_contains_an_expression() -> None:
    scripts = [step["run"] for step in STEPS.values() if "run" in step]
    assert len(scripts) == 3
    assert [script for script in scripts if "${{" in script] == []


# The steps of the action, as a runner of GitHub executes them.


class ActionRun:
    """A run of the action: the exit code of its Judge step, its outputs, and its summary."""

    def __init__(self, directory: Path, **inputs: str) -> None:
        self.directory = directory
        given = {name: str(body["default"]) for name, body in ACTION["inputs"].items()} | inputs
        given = {name.replace("_", "-"): value for name, value in given.items()}
        temp = directory / "temp"
        temp.mkdir()
        (temp / "conformance").symlink_to(sys.prefix)  # created by the install step on a runner
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("CONFORMANCE", "PYTEST"))} | {
            "RUNNER_TEMP": str(temp),
            "GITHUB_OUTPUT": str(temp / "output"),
            "GITHUB_STEP_SUMMARY": str(temp / "summary"),
            "XDG_STATE_HOME": str(temp / "state"),
        }
        (temp / "summary").touch()
        self.code, self.text = self.step("Judge", given)
        if (directory / given["report-dir"]).is_dir():
            (directory / given["report-dir"] / "report.md").write_text("# the verdict\n", encoding="utf-8")
        assert self.step("Summary", given) == (0, "")
        self.outputs = dict(line.split("=", 1) for line in (temp / "output").read_text("utf-8").splitlines())
        self.summary = (temp / "summary").read_text("utf-8")

    def step(self, name: str, inputs: dict[str, str]) -> tuple[int, str]:
        """Executes one step of the action; returns its exit code and its output."""
        env = self.env | {
            key: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: inputs[m[1]], value)
            for key, value in STEPS[name].get("env", {}).items()
        }
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[name]["run"]]
        done = subprocess.run(
            shell, cwd=self.directory, env=env, capture_output=True, text=True, timeout=50, check=False
        )
        return done.returncode, done.stdout + done.stderr


def test_the_action_judges_and_outputs_the_verdict(tmp_path: Path) -> None:
    with serving() as provider:
        ran = ActionRun(tmp_path, target=provider.address, args="--select 'FEN-1a, FEN-1b' --max-machines 2")
    assert (ran.code, ran.outputs) == (0, {"verdict": "conformant", "exit-code": "0"}), ran.text
    assert "2 passed" in ran.text
    assert ran.summary == "# the verdict\n"
    assert (tmp_path / "conformance-report" / "report.json").exists()


def test_the_action_fails_with_the_kits_exit_code_and_keeps_the_verdict(tmp_path: Path) -> None:
    ran = ActionRun(tmp_path, args="--fake --select FEN-1a --max-creates 0")
    assert (ran.code, ran.outputs) == (3, {"verdict": "inconclusive", "exit-code": "3"}), ran.text


@pytest.mark.parametrize("args", ["--no-such-option", "--fake 'unfinished"])
def test_invalid_arguments_are_exit_2_without_an_old_verdict(tmp_path: Path, args: str) -> None:
    (tmp_path / "conformance-report").mkdir()
    (tmp_path / "conformance-report" / "report.json").write_text('{"verdict": "conformant"}', encoding="utf-8")
    ran = ActionRun(tmp_path, args=args)
    assert (ran.code, ran.outputs) == (2, {"verdict": "", "exit-code": "2"}), ran.text


def test_no_shell_expands_what_the_action_is_given(tmp_path: Path) -> None:
    ran = ActionRun(tmp_path, args='--fake --select "$(touch owned)" ; touch owned', target="`touch owned`")
    assert ran.code == 2
    assert not (tmp_path / "owned").exists()


def test_headers_reach_the_provider_a_line_each_and_are_in_no_output(tmp_path: Path) -> None:
    with serving() as provider:
        ran = ActionRun(
            tmp_path,
            target=provider.address,
            args="--select FEN-1a --verbose",
            headers="authorization=Bearer s3cret\nx-tenant=s3cret too",
        )
    assert ran.code == 0, ran.text
    written = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "conformance-report").iterdir())
    assert "s3cret" not in ran.text + written


def shell_job(provider: Provider, directory: Path, *, also: str = "") -> subprocess.CompletedProcess[str]:
    script = files(CI)["judge.sh"].replace("--timeout 45m", f"--timeout 45s {also}")
    env = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "PROVIDER": provider.address}
    return subprocess.run(
        ["sh", "-c", script], cwd=directory, env=env, capture_output=True, text=True, timeout=50, check=False
    )


def test_the_page_names_each_file_of_a_report_directory(tmp_path: Path) -> None:
    with serving() as provider:
        shell_job(provider, tmp_path, also="--select FEN-1a")
    named = re.findall(r"^\| `([\w.]+)` \|", CI.read_text(encoding="utf-8"), flags=re.M)
    assert set(named) == {path.name for path in (tmp_path / "out").iterdir()}


def test_the_shell_job_has_the_kits_exit_code(tmp_path: Path) -> None:
    with serving() as provider:
        good = shell_job(provider, tmp_path, also="--select FEN-1a")
        wrong = shell_job(provider, tmp_path, also="--select FEM-1a")
    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "conformant")
    assert (wrong.returncode, wrong.stdout.splitlines()[-1]) == (2, "no verdict")
