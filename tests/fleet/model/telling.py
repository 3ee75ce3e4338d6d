"""Tells a model of calls and answers, one after another or overlapping."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.lifecycle import EDGES, SHOWN, Presence, State, Verb
from conformance.fleet.model import FleetModel
from conformance.fleet.model.restarts import Ending
from tests.values import a_call

if TYPE_CHECKING:
    from conformance.rpc.call import Call

RUN = "cpc-test"
HOST = ("aws", "i-1")
REQUESTS: dict[str, Any] = {
    "Create": pb.CreateRequest,
    "Configure": pb.ConfigureRequest,
    "Drain": pb.DrainRequest,
    "Delete": pb.DeleteRequest,
}
OK = grpc.StatusCode.OK


def machine(state: State, **fields: Any) -> pb.Machine:
    """Returns a machine as the table of §12 wants it, but for the given fields."""
    wanted = SHOWN[state]
    usual: dict[str, Any] = {"id": "m1", "state": int(state)}
    if wanted.host is Presence.SET:
        usual["host"] = pb.HostRef(provider=HOST[0], ref=HOST[1])
    if wanted.cluster is Presence.SET:
        usual["cluster"] = "c1"
    if wanted.last_error is Presence.SET:
        usual["last_error"] = "broken"
    return pb.Machine(**(usual | fields))


class Telling:
    """A model, and the numbers of the last token and the last operation."""

    def __init__(self, *, owned: bool = True) -> None:
        self.model = FleetModel(RUN)
        self.sequence = self.operations = 0
        self.now = 1.0
        if owned:
            self.model.take("m1")

    @property
    def found(self) -> list[str]:
        """The behaviours that were found broken."""
        return [breach.behaviour for breach in self.model.breaches]

    def sent(self, verb: Verb, *, token: tuple[int, int] | None = None, shard: str = "", **fields: Any) -> Any:
        """Tells of a call that is sent; returns what `answered` needs."""
        self.sequence += 1
        epoch, sequence = token or (1, self.sequence)
        if verb is Verb.CONFIGURE:
            fields = {"cluster_id": "c1"} | fields
        request = REQUESTS[verb](
            **({"machine_id": "m1"} | fields), shard_id=f"{RUN}-{shard}", shard_epoch=epoch, sequence_number=sequence
        )
        return verb, request, self.model.sending(verb.value, request)

    def answered(
        self,
        sent: Any,
        code: grpc.StatusCode = OK,
        *,
        operation: str | None = None,
        shown: pb.Machine | None = None,
        answered: bool = True,
    ) -> None:
        """Tells of the answer to such a call: by default an ack with a new operation id and the transitional state."""
        verb, request, ticket = sent
        response = None
        if code is OK and answered:
            self.operations += 1
            name = f"op-{self.operations}" if operation is None else operation
            if shown is None:
                metadata = request.shard_metadata if verb is Verb.CONFIGURE else {}
                shown = machine(EDGES[verb].via, shard_metadata=metadata)
            response = pb.TransitionAck(operation_id=name, machine=shown)
        self._ended(ticket, a_call(verb.value, request, code=code, response=response, answered=answered))

    def _ended(self, ticket: Any, call: Call) -> None:
        self.model.ended(ticket, replace(call, started=self.now, ended=self.now))

    def restarts(self, ending: Ending = Ending.KILL) -> None:
        """Tells of a restart of the provider."""
        self.now += 1.0
        self.model.restarted(self.now, ending)
        self.model.recovered()
        self.now += 1.0

    def did(self, verb: Verb, code: grpc.StatusCode = OK, **options: Any) -> None:
        """Tells of a call and its answer."""
        answer = {name: options.pop(name) for name in ("operation", "shown", "answered") if name in options}
        self.answered(self.sent(verb, **options), code, **answer)

    def looked(self) -> Any:
        """Tells of a Get that is sent; returns what `showed` needs."""
        return self.model.sending("Get", pb.MachineRef(id="m1"))

    def showed(self, ticket: Any, state: State, **fields: Any) -> None:
        """Tells of the answer to such a Get."""
        self._ended(ticket, a_call(response=machine(state, **fields)))

    def got(self, state: State, **fields: Any) -> None:
        """Tells of a Get and its answer."""
        self.showed(self.looked(), state, **fields)

    def listed(self, *machines: pb.Machine, **request: Any) -> None:
        """Tells of a List and its answer."""
        asked = pb.ListFilter(**request)
        ticket = self.model.sending("List", asked)
        self._ended(ticket, a_call("List", asked, response=pb.MachineList(machines=machines)))

    def idle(self) -> Telling:
        """Tells of a Create that has ended."""
        self.got(State.SPECULATIVE)
        self.did(Verb.CREATE)
        self.got(State.IDLE)
        return self

    def configured(self, **options: Any) -> Telling:
        """Tells of a Create and a Configure that have ended."""
        self.idle()
        self.did(Verb.CONFIGURE, **options)
        self.got(State.CONFIGURED, shard_metadata=options.get("shard_metadata", {}))
        return self
