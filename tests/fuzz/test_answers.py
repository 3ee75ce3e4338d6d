"""A provider with arbitrary answers is judged, or the kit reports that it cannot judge it; the kit never fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import given
from hypothesis import strategies as st

from conformance.core import catalogue
from conformance.core.errors import TargetError
from conformance.core.timeouts import Patience
from conformance.engine import run as engine_run
from conformance.reporters.report_dir import FORMATS, ReportDirectory
from conformance.results import reader
from conformance.rpc.target import Target
from tests.deaths.test_ledger_first import behaviours_matching
from tests.fuzz.garbled import Garble, garbling
from tests.fuzz.search import FEW, LONG
from tests.provider_process import run as run_command
from tests.runs import in_a_thread, options_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conformance.results.report import Report

SHORT = Patience(0.3, 0.3, 0.3, 0.3)
RPCS = ("Create", "Configure", "Drain", "Delete", "Get", "List")
WORDS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["", "\0", "\x1b[2J\r\n", "\u202e\u2028", "a" * 5_000, "machine-0001", "machine-0002", "-1", "1e999", "../x"]
)
MAPS = st.dictionaries(WORDS, WORDS, max_size=3) | st.just({f"key-{n}": "v" * 50 for n in range(300)})
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "id": WORDS,
        "state": st.sampled_from([0, 1, 2, 3, 5, 8, 9, -1, 2**31 - 1, -(2**31)]),
        "host": st.builds(pb.HostRef, provider=WORDS, ref=WORDS),
        "instance_type": WORDS,
        "zone": WORDS,
        "capacity_type": st.sampled_from([0, 4, 5, -1, 2**31 - 1]),
        "price_per_hour": st.floats() | st.sampled_from([-1.0, 1e308, 5e-324]),
        "interruption_probability": st.floats(),
        "resources": st.builds(pb.Resources, resources=MAPS),
        "allocatable": st.builds(pb.Resources, resources=MAPS),
        "labels": MAPS,
        "last_error": WORDS,
        "cluster": WORDS,
        "shard_metadata": MAPS,
        "operation_id": WORDS,
        "revision": st.binary(max_size=20)
        | st.sampled_from([b"\xff" * 8, b"9" * 5000, b"18446744073709551616", b"-1"]),
    },
)
MESSAGES = st.one_of(
    st.builds(pb.Machine, id=WORDS, state=st.integers(-5, 12), labels=MAPS),
    st.builds(pb.TransitionAck, operation_id=WORDS),
    st.builds(pb.MachineList, machines=st.lists(st.builds(pb.Machine, id=WORDS), max_size=4), revision=st.binary()),
    st.builds(pb.CreateRequest, machine_id=WORDS, shard_epoch=st.integers(-(2**63), 2**63 - 1)),
).map(lambda message: message.SerializeToString())
STATUSES = st.tuples(
    st.sampled_from([code for code in grpc.StatusCode if code.value[0]]), WORDS.map(lambda w: w[:2000])
)
FILES = st.builds(
    descriptor_pb2.FileDescriptorProto,
    name=WORDS,
    package=st.sampled_from(["bigfleet.v1alpha1", "", "x"]),
    dependency=st.lists(WORDS, max_size=3),
    service=st.lists(
        st.builds(
            descriptor_pb2.ServiceDescriptorProto,
            name=st.just("CapacityProvider"),
            method=st.lists(
                st.builds(
                    descriptor_pb2.MethodDescriptorProto,
                    name=st.sampled_from(RPCS),
                    input_type=WORDS,
                    output_type=WORDS,
                ),
                max_size=6,
            ),
        ),
        max_size=2,
    ),
).map(lambda file: file.SerializeToString())
REFLECTED = st.one_of(
    st.binary(max_size=30),
    st.builds(
        reflection_pb2.ServerReflectionResponse,
        file_descriptor_response=st.builds(
            reflection_pb2.FileDescriptorResponse,
            file_descriptor_proto=st.lists(FILES | st.binary(max_size=20), max_size=3),
        ),
    ).map(lambda told: told.SerializeToString()),
    st.just(
        reflection_pb2.ServerReflectionResponse(
            list_services_response=reflection_pb2.ListServiceResponse()
        ).SerializeToString()
    ),
)
HEALTHS = st.binary(max_size=10) | st.integers(-(2**31), 2**31 - 1).map(
    lambda status: health_pb2.HealthCheckResponse(status=status).SerializeToString()
)
EVERY = st.sampled_from([1, 1, 2, 3, 7])
TARGETS = st.sampled_from([*RPCS, ""])
GARBLES = st.one_of(
    st.builds(Garble, rpc=TARGETS, every=EVERY, fields=FIELDS),
    st.builds(Garble, rpc=TARGETS, every=EVERY, raw=st.binary(max_size=40) | MESSAGES),
    st.builds(Garble, rpc=TARGETS, every=EVERY, cut=st.integers(0, 60)),
    st.builds(Garble, rpc=TARGETS, every=EVERY, flip=st.tuples(st.integers(0, 2000), st.integers(1, 255))),
    st.builds(Garble, rpc=TARGETS, every=EVERY, refuse=STATUSES),
    st.builds(Garble, rpc=st.just("List"), every=EVERY, copies=st.sampled_from([0, 2, 500])),
    st.builds(Garble, rpc=st.just("Health"), raw=HEALTHS),
    st.builds(Garble, rpc=st.just("Reflection"), raw=REFLECTED),
    st.builds(Garble, rpc=st.sampled_from(["Health", "Reflection"]), refuse=STATUSES),
)
PLANS = st.lists(GARBLES, min_size=1, max_size=3)
IDS = sorted(entry.id for entry in catalogue.load().entries if not entry.id.startswith("SEC"))


async def run(garbles: list[Garble], select: list[str], directory: Path) -> Report | TargetError:
    """Runs some behaviours against these answers; returns the report or the error."""
    loop_errors: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: loop_errors.append(str(context)))
    options = options_from(patience=SHORT, rpc_timeout=0.5, connect_timeout=5.0, timeout=1.5, examples=3, seed=1)
    files = ReportDirectory(directory)
    async with garbling(garbles) as (address, _):
        try:
            async with asyncio.timeout(50):
                report = await engine_run.run(
                    behaviours_matching(*select),
                    Target(address=address),
                    options=options,
                    ledger_at=lambda name: directory / "ledger.ndjson",
                    emit=files,
                )
        except TargetError as error:
            return error
        finally:
            files.close()
    assert loop_errors == []
    return report


def check_result(outcome: Report | TargetError, directory: Path) -> None:
    """Checks that the report does not blame the kit, and that its files can be written and read."""
    if isinstance(outcome, TargetError):
        assert outcome.message
        return
    assert "the kit itself failed" not in (outcome.stopped or "")
    for result in outcome.results:
        assert "the kit itself failed" not in result.reason, f"{result.id}: {result.reason}"
    assert "the kit itself failed" not in "".join(reason for _, reason in (*outcome.home.left, *outcome.quarantined))
    assert reader.read(directory / "report.json").verdict is outcome.verdict
    assert reader.read(directory / "events.ndjson").verdict is outcome.verdict
    assert all((directory / name).stat().st_size for name in FORMATS)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """Returns one event loop for all cases, because a thread of gRPC keeps using the first loop."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.timeout(7200 if LONG else 120)
@FEW
@given(garbles=PLANS, select=st.lists(st.sampled_from(IDS), min_size=1, max_size=8, unique=True))
def test_the_kit_does_not_fail_on_any_answer(
    tmp_path: Path, loop: asyncio.Runner, garbles: list[Garble], select: list[str]
) -> None:
    check_result(loop.run(run(garbles, select, tmp_path)), tmp_path)


HOSTILE = {
    "List that is not a message": Garble(rpc="List", raw=b"\xff" * 9),
    "Machine that is not a message": Garble(rpc="Get", raw=b"\x0a\xff"),
    "truncated acks": Garble(rpc="", every=3, cut=7),
    "terminal control sequences": Garble(
        rpc="", fields={"last_error": "\x1b[2J\r\n", "zone": "\x9b", "operation_id": "\u202e\n"}
    ),
    "invalid numbers": Garble(rpc="", fields={"price_per_hour": float("nan"), "state": -(2**31)}),
}


@pytest.mark.parametrize("kind", HOSTILE if LONG else list(HOSTILE)[1:4])
def test_the_command_ends_with_a_message_and_its_exit_code(kind: str, tmp_path: Path) -> None:
    command = (
        "--select",
        "LIF-1a,OPS-1*,WIR-4*,LST-1a,SHP-4*",
        "--patience",
        "500ms",
        "--rpc-timeout",
        "1s",
        "--verbose",
    )
    with in_a_thread(garbling([HOSTILE[kind]])) as (address, _):
        done = run_command("conformance-run", "--target", address, "--report-dir", str(tmp_path), *command)
    assert done.code in (1, 3), done.text
    assert done.verdict
    assert "Traceback" not in done.text
    assert "the kit itself failed" not in done.text
    assert all(line.isprintable() for line in done.text.splitlines())
