"""A capacity provider on grpcio's synchronous server, with one worker thread: one call at a time."""

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb
from bigfleet.v1alpha1 import provider_pb2_grpc
from fleet import Fleet, Machine, RefusedError, Token, arguments
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from journal import JournaledFleet


def refusing(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any, grpc.ServicerContext], Any]:
    """Ends the call with the status code of a refusal."""

    @wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request)
        except RefusedError as error:
            context.abort(grpc.StatusCode[error.reason.value], error.message)

    return call


def token(request: Any) -> Token:
    return Token(request.shard_id, request.shard_epoch, request.sequence_number)


def message(machine: Machine) -> pb.Machine:
    return pb.Machine(
        id=machine.id,
        state=int(machine.state),
        host=pb.HostRef(provider="grpcio-sync", ref=machine.host) if machine.host else None,
        instance_type="m1.large",
        zone=machine.zone,
        capacity_type=machine.capacity_type,
        price_per_hour=0.1,
        interruption_probability=0.05 if machine.capacity_type == pb.CAPACITY_TYPE_SPOT else 0.0,
        resources=pb.Resources(resources={"cpu": "2", "memory": "8Gi"}),
        allocatable=pb.Resources(resources={"cpu": "1900m", "memory": "7Gi"}),
        cluster=machine.cluster,
        shard_metadata=machine.metadata,
    )


def ack(started: tuple[str, Machine]) -> pb.TransitionAck:
    operation, machine = started
    return pb.TransitionAck(operation_id=operation, machine=message(machine))


class Provider(provider_pb2_grpc.CapacityProviderServicer):
    """The six RPCs. The one worker thread serialises them."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    @refusing
    def Create(self, request: pb.CreateRequest) -> pb.TransitionAck:  # noqa: N802
        return ack(self.fleet.create(request.machine_id, token(request)))

    @refusing
    def Configure(self, request: pb.ConfigureRequest) -> pb.TransitionAck:  # noqa: N802
        metadata = dict(request.shard_metadata)
        return ack(
            self.fleet.configure(
                request.machine_id, token(request), request.cluster_id, request.bootstrap_blob, metadata
            )
        )

    @refusing
    def Drain(self, request: pb.DrainRequest) -> pb.TransitionAck:  # noqa: N802
        return ack(self.fleet.drain(request.machine_id, token(request), request.grace_period_seconds))

    @refusing
    def Delete(self, request: pb.DeleteRequest) -> pb.TransitionAck:  # noqa: N802
        return ack(self.fleet.delete(request.machine_id, token(request)))

    @refusing
    def Get(self, request: pb.MachineRef) -> pb.Machine:  # noqa: N802
        return message(self.fleet.get(request.id))

    @refusing
    def List(self, request: pb.ListFilter) -> pb.MachineList:  # noqa: N802
        machines = self.fleet.list(list(request.states), request.max_results)
        return pb.MachineList(machines=[message(machine) for machine in machines])


def main() -> None:
    options = arguments()
    # Without so_reuseport=0, two servers share a port that one of them should not get.
    server = grpc.server(ThreadPoolExecutor(max_workers=1), options=[("grpc.so_reuseport", 0)])
    made = options.machines, options.latency, options.defect
    fleet = JournaledFleet(options.state, *made) if options.state else Fleet(*made)
    provider_pb2_grpc.add_CapacityProviderServicer_to_server(Provider(fleet), server)
    status = health.HealthServicer()
    status.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    port = server.add_insecure_port(f"127.0.0.1:{options.port}")
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop(1))
    print(f"serving 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
