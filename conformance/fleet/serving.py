"""Finds out whether a provider that was just started serves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
from bigfleet.v1alpha1 import provider_pb2 as pb

if TYPE_CHECKING:
    from conformance.rpc.target import Target

CALL_S: Final = 5.0
"""The longest time for one call."""
_NOT_YET: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class ServingCheck:
    """Looks whether a provider serves, each time on a new connection: gRPC waits longer and longer on an old one."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.health_is_wrong = False
        """True if the health service does not say SERVING although List is answered (WIR-4): then List decides."""

    async def serves(self) -> bool:
        """Returns whether the health service says SERVING, or, without one, List is answered."""
        async with self._target.channel() as channel:
            health = None if self.health_is_wrong else await self._health(channel)
            return await self._lists(channel) if health is None else health

    async def answers(self) -> bool:
        """Returns whether List is answered, whatever the health service says."""
        async with self._target.channel() as channel:
            return await self._lists(channel)

    async def _health(self, channel: grpc.aio.Channel) -> bool | None:
        from grpc_health.v1 import health_pb2

        code, answer = await self._call(
            channel, "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
        )
        if code in _NOT_YET:
            return False
        return None if answer is None else bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def _lists(self, channel: grpc.aio.Channel) -> bool:
        path, request = "/bigfleet.v1alpha1.CapacityProvider/List", pb.ListFilter(max_results=1)
        code, _ = await self._call(channel, path, request, pb.MachineList)
        return code not in _NOT_YET

    async def _call(
        self, channel: grpc.aio.Channel, path: str, request: Any, answer: Any
    ) -> tuple[grpc.StatusCode, Any]:
        """Returns the code of a call and its response, if the code is OK."""
        method = channel.unary_unary(
            path, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        try:
            response = await method(request, timeout=CALL_S, metadata=self._target.headers)
        except grpc.aio.AioRpcError as error:
            return error.code(), None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return grpc.StatusCode.CANCELLED, None
        return grpc.StatusCode.OK, response
