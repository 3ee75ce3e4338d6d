"""Command lines for grpcurl: a shell passes the original request on, also if the provider is hostile."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from conformance.core.text import printable
from conformance.reporters import markdown, terminal
from conformance.results import evidence, grpcurl
from conformance.results.replay_options import ReplayOptions
from conformance.results.result import Status
from conformance.rpc.client import SERVICE
from tests.provider_process import judge, run, serving
from tests.values import a_call, a_found, a_report, a_result

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.rpc.call import CallView


HOSTILE = (
    "$(touch pwned)",
    "`touch pwned`",
    "it's; touch pwned #",
    'a"b\\c',
    "two\nlines",
    "\x1b[31mred\x07\x00\x7f\x9b",
    "‮right to left",
    "--flag",
    "!history $HOME %s ~",
)
PLAIN: tuple[list[str], list[str]] = ([], ["h:1"])


def drain(machine: str = "m1", **fields: Any) -> pb.DrainRequest:
    return pb.DrainRequest(machine_id=machine, shard_id="s", shard_epoch=2, sequence_number=7, **fields)


def request_in(line: str) -> Any:
    words = shlex.split(line, comments=True)
    return json.loads(words[words.index("-d") + 1])


def report(**given: Any) -> Any:
    calls = (a_call(), a_call("Drain", drain()))
    return a_report(a_result(Status.FAILED, calls=calls, decisive=(1,)), **given)


def test_a_call_is_a_line_with_its_request_and_its_token() -> None:
    found = report()
    assert grpcurl.lines(found, found.results[0]) == [
        'grpcurl -plaintext -protoset bigfleet.binpb -d \'{"id": "m1"}\' host:1 bigfleet.v1alpha1.CapacityProvider/Get',
        "grpcurl -plaintext -protoset bigfleet.binpb -d"
        ' \'{"machine_id": "m1", "shard_id": "s", "shard_epoch": "2", "sequence_number": "7"}\''
        " host:1 bigfleet.v1alpha1.CapacityProvider/Drain",
    ]


def test_only_decisive_calls_can_be_selected() -> None:
    found = report()
    [line] = grpcurl.lines(found, found.results[0], decisive=True)
    assert line.endswith("/Drain")


def test_a_line_has_the_connection_options_but_no_secrets() -> None:
    asked = ReplayOptions(headers=("authorization", "x-tenant"), server_name="cloud.example")
    found = report(found=a_found(tls=True, client_certificate=True), asked=asked)
    words = shlex.split(grpcurl.lines(found, found.results[0])[0])
    assert words[1:12] == [
        *("-cacert", "ca.pem", "-cert", "cert.pem", "-key", "key.pem", "-authority", "cloud.example"),
        *("-H", "authorization: …", "-H"),
    ]


def test_tls_without_a_client_certificate_has_only_the_ca() -> None:
    found = report(found=a_found(tls=True))
    assert shlex.split(grpcurl.lines(found, found.results[0])[0])[1:4] == ["-cacert", "ca.pem", "-protoset"]


@pytest.mark.parametrize(
    ("target", "flags", "address"),
    [
        ("unix:/run/p.sock", ["-plaintext", "-unix"], "/run/p.sock"),
        ("unix:///run/p.sock", ["-plaintext", "-unix"], "/run/p.sock"),
        ("dns:///cloud:443", ["-plaintext"], "cloud:443"),
        ("[::1]:9000", ["-plaintext"], "[::1]:9000"),
    ],
)
def test_every_form_of_address_is_converted_for_grpcurl(target: str, flags: list[str], address: str) -> None:
    assert grpcurl.target_words(report(target=target)) == (flags, [address])


@pytest.mark.parametrize("machine", HOSTILE)
def test_a_shell_passes_a_hostile_id_unchanged(machine: str, tmp_path: Path) -> None:
    line = grpcurl.command(a_call("Drain", drain(machine)), PLAIN)
    assert line is not None
    assert line.isascii()
    assert line.isprintable()
    assert printable(line) == line
    script = 'grpcurl() { for word in "$@"; do printf "%s\\0" "$word"; done; }\n' + line
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=20)
    words = done.stdout.split("\0")
    assert json.loads(words[words.index("-d") + 1])["machine_id"] == machine
    assert list(tmp_path.iterdir()) == []


def test_differences_from_the_sent_request_are_in_a_comment() -> None:
    request = pb.ConfigureRequest(machine_id="m1", bootstrap_blob=b"secret", shard_metadata={"k": "v" * 99})
    line = grpcurl.command(a_call("Configure", request), PLAIN)
    assert line is not None
    assert line.endswith("  # bootstrap_blob is a placeholder, long values are truncated")
    assert "c2VjcmV0" not in line
    assert request_in(line)["machine_id"] == "m1"


def test_a_method_without_a_descriptor_has_no_line() -> None:
    unknown = a_call(SERVICE + "SettleResult")
    assert grpcurl.command(unknown, PLAIN) is None
    assert grpcurl.command(a_call("/elsewhere.Service/List"), PLAIN) is None


def test_the_descriptor_set_has_the_whole_contract() -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(grpcurl.descriptors())
    assert {file.package for file in files.file} == {"bigfleet.v1alpha1", "grpc.health.v1"}
    assert all(set(file.dependency) <= {f.name for f in files.file} for file in files.file)


def send(line: str, protoset: Path) -> grpc.StatusCode:
    """Sends the call of a line as grpcurl would, from its arguments and the descriptor set."""
    words = shlex.split(line, comments=True)
    assert words[:2] == ["grpcurl", "-plaintext"]
    assert words[2:4] == ["-protoset", protoset.name]
    data, address, method = words[words.index("-d") + 1 :]
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(protoset.read_bytes()).file:
        pool.Add(file)
    described = pool.FindMethodByName(method.replace("/", "."))
    request = json_format.Parse(data, message_factory.GetMessageClass(described.input_type)())
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(f"/{method}", request_serializer=type(request).SerializeToString)
        try:
            call(request, timeout=10)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def test_the_lines_of_a_run_repeat_its_calls(tmp_path: Path) -> None:
    """Marks outlive a run (FEN-12), so calls that were accepted in the run are fenced when they are repeated."""
    protoset = tmp_path / grpcurl.PROTOSET
    assert run("conformance", "proto", "descriptors", "-o", str(protoset)).code == 0
    with serving("--latency", "5ms", "--no-revisions") as provider:
        done = judge(provider, "--select", "MET-1a,COD-1a,FEN-1a", directory=tmp_path / "out")
        assert done.code == 0, done.text
        recorded = json.loads((tmp_path / "out/report.json").read_text())
        codes = []
        for behaviour in recorded["behaviours"]:
            for call in behaviour["calls"]:
                line = grpcurl.command(cast("CallView", RecordedCall(call)), (["-plaintext"], [provider.address]))
                assert line is not None
                codes.append((call["rpc"], send(line, protoset)))
    assert {code for rpc, code in codes if rpc not in ("Get", "List")} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert {code for rpc, code in codes if rpc in ("Get", "List")} <= {grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND}
    assert {rpc for rpc, _ in codes} >= {"Create", "Configure", "Drain", "Get"}


class RecordedCall:
    """A call from report.json, with the attributes that `grpcurl.command` reads."""

    def __init__(self, call: dict[str, Any]) -> None:
        self.rpc: str = call["rpc"]
        self._sent = call["sent"]

    def request_json(self) -> Any:
        return self._sent


def test_a_failure_on_the_terminal_ends_with_commands_that_repeat_it() -> None:
    shown = terminal.findings(report(ledger="out/ledger.ndjson"))
    at = shown.index("  grpcurl first run: conformance proto descriptors -o bigfleet.binpb")
    assert shown[at + 1].startswith("    grpcurl -plaintext ")
    assert shown[at + 2] == "  rerun   conformance replay out/events.ndjson TST-1a"


def test_without_a_log_the_command_runs_the_behaviour_with_its_seed() -> None:
    found = report(ledger="/state/cpc-1.ndjson")
    assert evidence.rerun(found, found.results[0]) == "conformance-run --target host:1 --select TST-1a --seed 7"
    fake = replace(found, asked=ReplayOptions(fake=True))
    assert evidence.rerun(fake, fake.results[0]) == "conformance-run --fake --select TST-1a --seed 7"


def test_markdown_has_complete_lines_only() -> None:
    calls = (a_call("Drain", drain("m1\n```\n# broken out")), a_call("Drain", drain("m" * 3000)))
    found = a_report(a_result(Status.FAILED, calls=calls, decisive=(0, 1)))
    shown = markdown.render(found)
    block = shown.partition("```sh\n")[2].partition("\n```")[0].splitlines()
    assert block[0] == grpcurl.DESCRIPTORS
    assert block[1] == grpcurl.lines(found, found.results[0])[0]
    assert block[2].startswith("conformance replay ")
    assert len(block) == 3
