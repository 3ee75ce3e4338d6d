from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from conformance.core import buf
from conformance.core.errors import UsageError

CONTRACT = buf.PROTO_DIRECTORY / "bigfleet/v1alpha1/provider.proto"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A provider's own copy of the proto, in another directory."""
    return copy_contract(tmp_path / "third_party" / "proto")


def copy_contract(directory: Path) -> Path:
    target = directory / "bigfleet/v1alpha1/provider.proto"
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTRACT.read_bytes())
    return directory


def edit(directory: Path, old: str, new: str) -> None:
    path = directory / "bigfleet/v1alpha1/provider.proto"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
    path.write_text(text.replace(old, new), encoding="utf-8")


def make_repository(directory: Path) -> Path:
    def git(*arguments: str) -> None:
        # The user's configuration and a hook's environment must not influence the commit.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.invalid")
        subprocess.run(["git", *identity, *arguments], cwd=directory, env=environment, check=True, capture_output=True)

    git("init", "--initial-branch=main")
    git("add", ".")
    git("commit", "--message=The contract")
    git("tag", "v1")
    return directory


def rule_ids(findings: buf.Findings) -> set[str]:
    return {finding.rule for finding in findings.found}


def test_the_released_contract_is_a_descriptor_set_with_the_service() -> None:
    released = FileDescriptorSet.FromString(buf.RELEASED.read_bytes())
    assert [file.name for file in released.file] == ["bigfleet/v1alpha1/provider.proto"]
    assert [service.name for service in released.file[0].service] == ["CapacityProvider"]
    assert [method.name for method in released.file[0].service[0].method] == [
        "Create", "Configure", "Drain", "Delete", "Get", "List",
    ]  # fmt: skip


def test_the_projects_own_proto_is_clean() -> None:
    assert buf.lint().found == ()


def test_the_projects_own_proto_is_compatible_with_the_released_contract() -> None:
    assert buf.breaking().found == ()


def test_the_categories_are_those_of_the_projects_configuration() -> None:
    def listed(*arguments: str) -> list[dict[str, object]]:
        command = [buf.find_buf(), "config", "ls-breaking-rules", "--format", "json", *arguments]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return [json.loads(line) for line in output.splitlines()]

    configured = {rule["id"] for rule in listed("--configured-only", "--config", str(buf.rules_file()))}
    expected = {
        rule["id"]
        for rule in listed("--version", "v2")
        if set(buf.CATEGORIES) & set(rule["categories"])  # type: ignore[call-overload]
    }
    assert configured == expected


def test_a_changed_field_number_is_reported_with_its_rule(copy: Path) -> None:
    edit(copy, "string zone = 5;", "string zone = 16;")
    findings = buf.breaking(copy)
    assert "FIELD_NO_DELETE" in rule_ids(findings)
    assert any('"zone"' in finding.message and '"Machine"' in finding.message for finding in findings.found)
    assert {finding.path for finding in findings.found} == {str(copy / "bigfleet/v1alpha1/provider.proto")}


# FILE is not a superset of WIRE_JSON: FILE forbids deleting a field at all, WIRE_JSON deleting it without reserving
# both its name and its number. Each rule below belongs to only one of the categories, so it proves that this one is
# applied.
@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        pytest.param("RPC_NO_DELETE", "rpc List(ListFilter) returns (MachineList);", "", id="FILE"),
        pytest.param("FIELD_NO_DELETE_UNLESS_NAME_RESERVED", "string zone = 5;", "reserved 5;", id="WIRE_JSON"),
    ],
)
@pytest.mark.parametrize("other_directory", [True, False])
def test_an_image_is_compared_by_the_projects_rules(
    rule: str,
    old: str,
    new: str,
    other_directory: bool,
    copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if other_directory:
        (tmp_path / "buf.yaml").write_text("version: v2\nbreaking: {use: [PACKAGE]}\nnonsense: true\n")
        monkeypatch.chdir(tmp_path)
    edit(copy, old, new)
    assert rule in rule_ids(buf.breaking(copy, against=str(buf.RELEASED)))


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("rpc Drain(DrainRequest) returns (TransitionAck);", "", "RPC_NO_DELETE"),
        ("string zone = 5;", "string place = 5;", "FIELD_SAME_JSON_NAME"),
        ("reserved 11;", "// Taken.\n  string taken = 11;", "RESERVED_MESSAGE_NO_DELETE"),
        ("MACHINE_STATE_FAILED = 8", "MACHINE_STATE_FAILED = 9", "ENUM_VALUE_NO_DELETE"),
        ("int32 max_results = 4;", "int64 max_results = 4;", "FIELD_SAME_TYPE"),
        ("package bigfleet.v1alpha1;", "package bigfleet.v2;", "FILE_SAME_PACKAGE"),
    ],
)
def test_breaking_changes_are_found(old: str, new: str, rule: str, copy: Path) -> None:
    edit(copy, old, new)
    assert rule in rule_ids(buf.breaking(copy))


def add_alias(copy: Path, *, first: bool) -> None:
    released = "CAPACITY_TYPE_SPOT = 4;"
    alias = "// The same.\n  CAPACITY_TYPE_PREEMPTIBLE = 4;"
    edit(copy, released, f"{alias}\n  // Released.\n  {released}" if first else f"{released}\n  {alias}")
    edit(copy, "enum CapacityType {", "enum CapacityType {\n  option allow_alias = true;")


def test_an_alias_before_the_released_name_changes_json_output(copy: Path) -> None:
    add_alias(copy, first=True)
    (finding,) = (each for each in buf.breaking(copy).found if each.rule == "ENUM_VALUE_FIRST_NAME")
    lines = (copy / "bigfleet/v1alpha1/provider.proto").read_text(encoding="utf-8").splitlines()
    assert finding.path == str(copy / "bigfleet/v1alpha1/provider.proto")
    assert lines[finding.line - 1][finding.column - 1 :].startswith("CAPACITY_TYPE_PREEMPTIBLE")
    assert '"CAPACITY_TYPE_PREEMPTIBLE" instead of "CAPACITY_TYPE_SPOT"' in finding.message


def test_an_alias_behind_the_released_name_breaks_nothing(copy: Path) -> None:
    add_alias(copy, first=False)
    assert buf.breaking(copy).found == ()


def test_a_deleted_file_is_found_without_a_path(copy: Path) -> None:
    path = copy / "bigfleet/v1alpha1/provider.proto"
    path.rename(path.with_name("other.proto"))
    (deleted,) = (finding for finding in buf.breaking(copy).found if finding.rule == "FILE_NO_DELETE")
    assert deleted.path is None


def test_a_new_field_breaks_nothing(copy: Path) -> None:
    edit(copy, "string zone = 5;", "string zone = 5;\n  // New.\n  string rack = 16;")
    assert buf.breaking(copy).found == ()


def test_a_compile_error_is_a_finding(copy: Path) -> None:
    edit(copy, "string zone = 5;", "string zone = ;")
    for findings in (buf.lint(copy), buf.breaking(copy)):
        assert rule_ids(findings) == {"COMPILE"}
        assert findings.found[0].path == str(copy / "bigfleet/v1alpha1/provider.proto")


def test_lint_reports_line_and_rule(copy: Path) -> None:
    edit(copy, "string zone = 5;", "string Zone = 5;")
    (finding,) = buf.lint(copy).found
    line = (copy / "bigfleet/v1alpha1/provider.proto").read_text().splitlines()[finding.line - 1]
    assert (finding.rule, line.strip()) == ("FIELD_LOWER_SNAKE_CASE", "string Zone = 5;")


def test_protos_beside_the_contract_are_ignored(copy: Path) -> None:
    (copy / "mine").mkdir()
    (copy / "mine/broken.proto").write_text('syntax = "proto3";\nimport "not/there.proto";\n')
    assert buf.breaking(copy).found == ()
    assert buf.lint(copy).found == ()
    assert buf.breaking(against=str(copy)).found == ()


def test_paths_are_relative_to_the_working_directory(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(copy, "string zone = 5;", "string place = 5;")
    monkeypatch.chdir(tmp_path)
    expected = "third_party/proto/bigfleet/v1alpha1/provider.proto"
    for directory in (copy, Path("third_party/proto")):
        assert {finding.path for finding in buf.breaking(directory).found} == {expected}


@pytest.mark.parametrize("unchanged", [True, False])
@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("reference", ["branch=main", "tag=v1", "ref=HEAD", "branch=main,subdir=proto"])
def test_a_git_reference_is_a_baseline(
    reference: str, configured: bool, unchanged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the repository has no buf.yaml that says that the contract is in proto/."""
    copy = copy_contract(tmp_path / "proto")
    if configured:
        (tmp_path / "buf.yaml").write_bytes(buf.rules_file().read_bytes())
    make_repository(tmp_path)
    monkeypatch.chdir(tmp_path)
    if not unchanged:
        edit(copy, "string zone = 5;", "string place = 5;")
    found = rule_ids(buf.breaking(Path("proto"), against=f".git#{reference}"))
    assert found == (set() if unchanged else {"FIELD_SAME_NAME", "FIELD_SAME_JSON_NAME"})


def test_a_git_reference_uses_its_own_repository_in_a_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = copy_contract(tmp_path / "proto")
    make_repository(tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "missing"))
    monkeypatch.setenv("BUF_TIMEOUT", "1ns")
    assert buf.breaking(copy, against=f"{tmp_path}/.git#branch=main").found == ()


@pytest.mark.parametrize("name", ["image.binpb", "image.json", "image.pb", "image.binpb.gz"])
def test_an_image_in_any_format_is_a_baseline(name: str, copy: Path, tmp_path: Path) -> None:
    image = tmp_path / name
    suffix = "#format=binpb" if name.endswith(".pb") else ""
    subprocess.run(
        [buf.find_buf(), "build", str(buf.PROTO_DIRECTORY), "-o", f"{image}{suffix}"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert buf.breaking(copy, against=str(image)).found == ()
    edit(copy, "string zone = 5;", "string place = 5;")
    assert "FIELD_SAME_NAME" in rule_ids(buf.breaking(copy, against=str(image)))


def test_a_directory_is_a_baseline(copy: Path, tmp_path: Path) -> None:
    old = copy_contract(tmp_path / "old")
    edit(old, "string zone = 5;", "string place = 5;")
    assert "FIELD_SAME_NAME" in rule_ids(buf.breaking(copy, against=str(old)))


def test_no_writable_home_directory_is_needed(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "file"
    closed.touch()
    for name in ("HOME", "XDG_CACHE_HOME", "BUF_CACHE_DIR"):
        monkeypatch.setenv(name, str(closed / "below"))
    assert buf.breaking(copy).found == ()


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("", "--against is empty"),
        ("#branch=main", "--against is empty"),
        ("not-there.binpb", "no such file or directory"),
        ("buf.build/owner/module", "no such file or directory"),
        ("https://example.invalid/image.binpb", "not a git reference"),
        ("garbage.binpb", "not a descriptor set"),
        ("garbage.txt", "not a descriptor set"),
        ("nothing.binpb", "not a descriptor set"),
        ("foreign.binpb", "does not contain bigfleet.v1alpha1"),
        ("empty", "no .proto files"),
        ("moved", "as deep/bigfleet/v1alpha1/provider.proto, not as bigfleet/..."),
        ("broken", "does not compile"),
        ("broken/bigfleet/v1alpha1/provider.proto", "a single .proto file"),
        ("missing/.git#branch=main", "no such git repository"),
        ("plain.git#branch=main", "not a git repository"),
        (".git#branch=not-there", "no such branch, tag or commit"),
        (".git#tag=not-there", "no such branch, tag or commit"),
        (".git#ref=not-there", "no such branch, tag or commit"),
        (".git#branch=main,subdir=not-there", "no .proto files"),
        (".git#nonsense=1", "nonsense"),
    ],
)
def test_an_unusable_baseline_is_explained_in_one_line(
    against: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copy_contract(tmp_path / "proto")
    make_repository(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("plain.git").mkdir()
    Path("garbage.binpb").write_text("garbage")
    Path("garbage.txt").write_text("garbage")
    Path("nothing.binpb").touch()
    foreign = FileDescriptorSet()
    foreign.file.add(name="other.proto", package="other", syntax="proto3")
    Path("foreign.binpb").write_bytes(foreign.SerializeToString())
    copy_contract(Path("moved/deep"))
    edit(copy_contract(Path("broken")), "string zone = 5;", "string zone = ;")

    with pytest.raises(UsageError) as caught:
        buf.breaking(copy, against=against)
    assert message in caught.value.message
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"), [("not-there", "no such directory"), ("flat", "does not contain bigfleet/")]
)
def test_a_directory_without_the_contract_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat/provider.proto").write_bytes(CONTRACT.read_bytes())
    for check in (buf.lint, buf.breaking):
        with pytest.raises(UsageError, match=message):
            check(tmp_path / name)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with only Python in it, and an empty PATH."""
    home = tmp_path / "bin"
    home.mkdir()
    monkeypatch.setattr(sys, "executable", str(home / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return home


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)


def test_a_missing_buf_is_reported_with_the_extra_that_installs_it(bare: Path) -> None:
    for check in (buf.lint, buf.breaking):
        with pytest.raises(UsageError) as caught:
            check()
        assert str(caught.value) == "buf is not installed; pip install 'capacity-provider-conformance[proto]'"


def test_the_buf_beside_python_takes_precedence_over_path(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_directory = tmp_path / "other_directory"
    other_directory.mkdir()
    script(other_directory / "buf", "")
    monkeypatch.setenv("PATH", str(other_directory))
    assert buf.find_buf() == str(other_directory / "buf")
    script(bare / "buf", "")
    assert buf.find_buf() == str(bare / "buf")


def test_a_hanging_buf_is_killed_with_its_children(bare: Path, tmp_path: Path) -> None:
    # The child keeps the other end of the pipe open while it is alive.
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    script(bare / "buf", f'exec 3>"{tmp_path}/alive"\necho up >&3\n/bin/sleep 600 &\nwait\n')
    with pytest.raises(UsageError, match="did not finish within 2 s; raise --timeout"):
        buf.lint(timeout=2)
    received = b""
    while select.select([reader], [], [], 10)[0] and (chunk := os.read(reader, 64)):
        received += chunk
    ended = not select.select([reader], [], [], 0)[0] or os.read(reader, 64) == b""
    os.close(reader)
    assert (received, ended) == (b"up\n", True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo 'Failure: disk full' >&2; exit 1", "disk full"),
        ("exit 3", "no error message"),
        ("echo nonsense; exit 100", "cannot parse buf's output: nonsense"),
        ("exit 100", "reported a failure without details"),
    ],
)
def test_a_failure_of_buf_itself_is_an_error(bare: Path, text: str, message: str) -> None:
    script(bare / "buf", text)
    with pytest.raises(UsageError, match=message):
        buf.lint()


def test_a_buf_that_cannot_be_run_is_reported(bare: Path) -> None:
    (bare / "buf").write_bytes(b"\x7fELF")
    (bare / "buf").chmod(0o755)
    with pytest.raises(UsageError, match=r"cannot run .*buf"):
        buf.lint()


def test_a_missing_git_is_reported(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_contract(tmp_path / "proto")
    (tmp_path / ".git").mkdir()
    monkeypatch.undo()
    real = buf.find_buf()
    monkeypatch.setattr(sys, "executable", str(Path(real).with_name("python")))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="git is not installed"):
        buf.breaking(tmp_path / "proto", against=f"{tmp_path}/.git#branch=main")
