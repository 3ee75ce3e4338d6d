from __future__ import annotations

import asyncio
import base64
import io
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from conformance.core.errors import TargetError, Violation
from conformance.core.lifecycle import Verb
from conformance.core.text import MAX_SENT_CHARACTERS
from conformance.engine import run as engine_run
from conformance.engine.options import Options, Timeouts
from conformance.fleet.sweep import sweep
from conformance.reporters import json_report, terminal
from conformance.reporters.progress import Live
from conformance.reporters.report_dir import ReportDirectory
from conformance.results.redaction import Redactor
from conformance.results.report import Home
from conformance.results.result import Status
from conformance.rpc.call import cut
from conformance.rpc.target import Target
from fake_provider.server import serving
from fake_provider.servicer import Servicer
from tests.runs import SHORT, judged, proof, provider, states_of
from tests.values import a_call, a_report, a_result

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.results import events
    from conformance.testkit.trial import Trial

VALUE = "Bearer s3cret-of-the-fleet's-\\own"
PART = "s3cret-of-the-fleet's-\\own"
HEADERS = (("authorization", VALUE),)


def redacted(text: str, *, value: str = VALUE) -> str:
    return Redactor([("authorization", value)]).redact(text)


# Text and values.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (VALUE, "[authorization: redacted]"),
        (f"no such token: {VALUE}!", "no such token: [authorization: redacted]!"),
        (PART, "[authorization: redacted]"),
        (repr(VALUE), '"[authorization: redacted]"'),
        (repr(VALUE + '"'), "'[authorization: redacted]\"'"),
        (VALUE.encode().hex(), "[authorization: redacted]"),
        (cut("x" * 50 + VALUE), "x" * 50 + "[authorization: redacted]…(83 characters)"),
        (cut(VALUE, 20), "[authorization: redacted]…(33 characters)"),
        ("Bearer with us", "Bearer with us"),
        ("the whole fleet", "the whole fleet"),
    ],
)
def test_a_header_value_and_its_parts_are_redacted(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_decoded_basic_credentials_are_redacted() -> None:
    value = "Basic " + base64.b64encode(b"operator:correct-horse").decode()
    for secret in (value, value.partition(" ")[2], "operator:correct-horse", "correct-horse"):
        assert redacted(f"<{secret}>", value=value) == "<[authorization: redacted]>"
    assert redacted("Basic", value="Basic !") == "Basic"


@pytest.mark.parametrize("value", ["", "1", "abc"])
def test_short_values_are_not_secrets(value: str) -> None:
    assert redacted("abc 1", value=value) == "abc 1"


@given(st.text(max_size=50), st.text(max_size=50))
def test_redaction_works_anywhere_and_is_idempotent(before: str, after: str) -> None:
    shown = redacted(before + VALUE + after)
    assert PART not in shown
    assert redacted(shown) == shown


@given(st.text(max_size=40), st.integers(4, 100))
def test_truncated_text_reveals_at_most_three_characters_of_a_secret(before: str, longest: int) -> None:
    shown = redacted(cut(before + VALUE, longest))
    assert VALUE[:4] not in shown.removeprefix(cut(before))


@given(st.text(max_size=2 * MAX_SENT_CHARACTERS))
def test_text_is_truncated_only_once(text: str) -> None:
    shown = Redactor().redact(text)
    assert len(shown) <= MAX_SENT_CHARACTERS
    assert Redactor().redact(shown) == shown
    assert shown == text or len(text) > MAX_SENT_CHARACTERS


def test_errors_are_redacted() -> None:
    with pytest.raises(TargetError) as caught, Redactor(HEADERS).errors():
        raise TargetError(f"refused {VALUE}", hint=f"not {PART}")
    assert str(caught.value) == "refused [authorization: redacted]; not [authorization: redacted]"
    with pytest.raises(ValueError, match="redacted") as other, Redactor(HEADERS).errors():
        raise ValueError(7, VALUE)
    assert other.value.args == (7, "[authorization: redacted]")


def test_calls_without_secrets_are_not_copied() -> None:
    result = a_result(calls=(a_call(),), machines=("m1",))
    assert Redactor().result(result).calls[0] is result.calls[0]
    assert Redactor(HEADERS).result(result).calls[0] is not result.calls[0]
    long = a_result(calls=(a_call(request=pb.MachineRef(id="m" * 5000)),), machines=("m" * 5000,))
    shown = Redactor().result(long)
    assert shown.machines == (shown.calls[0].machine_id,)
    assert len(shown.machines[0]) == MAX_SENT_CHARACTERS


def test_redacted_machine_names_still_match_in_calls() -> None:
    name = f"m-{PART}"
    call = a_call(request=pb.MachineRef(id=name), response=pb.Machine(id=name, state=pb.MACHINE_STATE_IDLE))
    shown = Redactor(HEADERS).result(a_result(calls=(call,), machines=(name,)))
    assert shown.machines == ("m-[authorization: redacted]",)
    assert shown.calls[0].machine_states(shown.machines).keys() == set(shown.machines)


def test_all_fields_of_a_report_are_redacted() -> None:
    report = a_report(
        a_result(Status.FAILED, reason=VALUE, wanted=VALUE, got=VALUE, machines=(VALUE,)),
        quarantined=((VALUE, VALUE),),
        notes=(VALUE,),
        home=Home(left=((VALUE, VALUE),)),
        stopped=VALUE,
    )
    assert PART.replace("\\", "\\\\") not in json_report.render(Redactor(HEADERS).report(report))


# A provider that repeats what it was let in by, wherever it can.


class Echo(Servicer):
    """Puts the caller's authorization header into every text of its answers."""

    secret: str = ""
    keeps: bool = False
    """True if Delete fails."""

    async def answer(self, context: Any, work: Any) -> Any:
        self.secret = next((str(v) for k, v in context.invocation_metadata() if k == "authorization"), "")
        return await super().answer(context, work)

    def machine(self, machine: Any) -> pb.Machine:
        shown = pb.Machine()
        shown.CopyFrom(super().machine(machine))
        shown.last_error = "x" * 55 + self.secret
        shown.zone, shown.instance_type = self.secret, self.secret
        shown.labels["owner"] = self.secret
        if machine.state.name != "SPECULATIVE":
            shown.host.ref = f"host-{self.secret}"
        if machine.cluster:
            shown.shard_metadata[f"k {self.secret}"] = self.secret
        return shown

    def ack(self, ack: Any) -> pb.TransitionAck:
        shown = super().ack(ack)
        shown.operation_id = f"{shown.operation_id}-{self.secret.partition(' ')[2]}"
        return shown

    async def Delete(self, request: pb.DeleteRequest, context: Any) -> pb.TransitionAck:  # noqa: N802
        if self.keeps and request.machine_id.startswith("machine-"):
            await context.abort(grpc.StatusCode.INTERNAL, f"no, {self.secret or VALUE}")
        return await super().Delete(request, context)

    def listing(self, listing: Any) -> pb.MachineList:
        shown = super().listing(listing)
        shown.machines.add(id=f"machine-of-{self.secret}", state=pb.MACHINE_STATE_SPECULATIVE)
        shown.revision = b""
        return shown

    async def Get(self, request: pb.MachineRef, context: Any) -> pb.Machine:  # noqa: N802
        if not request.id.startswith("machine-"):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{request.id} is unknown to {VALUE}")
        return await super().Get(request, context)


async def fails_with_secret(trial: Trial) -> None:
    machine = trial.machine
    await trial.drive(machine, Verb.CONFIGURE, machine.configure(metadata={"key": "value"}, blob=b"s3cret-blob"))
    lost = await trial.client.get("nobody")
    listing = await trial.client.list()
    await trial.client.get(listing.response.machines[-1].id)
    seen = (await machine.get()).response
    raise Violation("silence", f"{lost.outcome()} and {cut(seen.last_error)!r}", calls=[lost, listing])


async def is_not_judged(trial: Trial) -> None:
    raise RuntimeError((await trial.client.get("nobody")).details)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Returns all outputs of a run against an echoing provider, by name."""
    directory = tmp_path_factory.mktemp("echo")
    screen = io.StringIO()
    live, files = Live(Console(file=screen, width=80), verbose=True), ReportDirectory(directory)

    def emit(event: events.Event) -> None:
        live(event)
        files(event)

    report = asyncio.run(
        judged(
            [proof(fails_with_secret, "TST-1a", machines=1), proof(is_not_judged, "TST-2a", machines=1)],
            emit=emit,
            ledger=directory / "ledger.ndjson",
            serve={"servicer": Echo},
            headers=HEADERS,
            keep=True,
        )
    )
    assert [result.status for result in report.results] == [Status.FAILED, Status.ERROR]
    shown = {path.name: path.read_text(encoding="utf-8") for path in directory.iterdir()}
    return shown | {"terminal": screen.getvalue(), "returned": "\n".join(terminal.findings(report))}


def test_every_output_is_checked(outputs: dict[str, str]) -> None:
    assert outputs.keys() >= {
        *("report.json", "report.html", "report.md", "junit.xml", "badge.json", "events.ndjson", "ledger.ndjson"),
        *("terminal", "returned"),
    }
    for name in ("report.json", "events.ndjson", "terminal", "report.html", "report.md", "junit.xml", "ledger.ndjson"):
        assert "authorization: redacted" in outputs[name] or name == "ledger.ndjson", name
    assert "host-[authorization: redacted]" in outputs["ledger.ndjson"]


def test_no_output_contains_a_header_value_or_a_blob(outputs: dict[str, str]) -> None:
    for name, text in outputs.items():
        assert "s3cret" not in text, name
        assert "of-the-fleet" not in text, name


def test_a_target_that_rejects_the_kit_with_the_secret_is_redacted() -> None:
    class Shut(Servicer):
        async def List(self, request: pb.ListFilter, context: Any) -> pb.MachineList:  # noqa: N802
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"{VALUE} is not welcome")
            raise AssertionError

    with pytest.raises(TargetError) as caught:
        asyncio.run(judged([proof()], serve={"servicer": Shut}, headers=HEADERS))
    assert "[authorization: redacted] is not welcome" in str(caught.value)


def test_a_machine_with_a_secret_in_its_id_is_not_driven() -> None:
    with pytest.raises(TargetError, match="found 1 SPECULATIVE"):
        asyncio.run(judged([proof(machines=2)], provider(1), serve={"servicer": Echo}, headers=HEADERS))


class Keeper(Echo):
    keeps = True


@pytest.mark.parametrize("servicer", [Echo, Keeper])
def test_a_sweep_of_an_echoing_provider_redacts_its_output(tmp_path: Path, servicer: type[Echo]) -> None:
    path, core, lines = tmp_path / "ledger.ndjson", provider(4), list[str]()

    async def go() -> Home:
        async with serving(core, servicer=servicer) as address:
            target = Target(address=address, headers=HEADERS)
            options = Options(timeouts=Timeouts(patience=SHORT, rpc=5.0, connect=5.0), keep=True)
            await engine_run.run(
                (proof(fails_with_secret, machines=1),), target, options=options, ledger_at=lambda run: path
            )
            return await sweep(
                path, target, patience=SHORT, rpc_timeout=5.0, connect_timeout=5.0, write_line=lines.append
            )

    home = asyncio.run(go())
    assert (home.clean, states_of(core) == {}) == (servicer is Echo, servicer is Echo)
    assert lines
    assert "s3cret" not in "\n".join(lines) + path.read_text(encoding="utf-8") + str(home)
    assert servicer is Echo or "no, [authorization: redacted]" in "\n".join(lines)


def test_metadata_values_are_truncated_and_blobs_omitted() -> None:
    request = pb.ConfigureRequest(
        machine_id="m1", bootstrap_blob=b"s3cret-blob", shard_metadata={"key": "s3cret-metadata" * 10}
    )
    call = a_call("Configure", request)
    result = a_result(Status.FAILED, reason="r", calls=(call,))
    for text in (str(call.request_json()), call.request_text(), json_report.render(a_report(result))):
        assert "s3cret-blob" not in text
        assert base64.b64encode(b"s3cret-blob").decode() not in text
        assert "s3cret-metadata" * 10 not in text
