"""Determines that an id which the kit made up is not a machine, so that nothing remains to be cleaned up (COD-1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc import StatusCode

from conformance.core import background
from conformance.core.errors import NoAnswer
from conformance.rpc.backoff import retry_while_overloaded

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Set

    from conformance.fleet.machine import Machine
    from conformance.rpc.client import Client

NO_SUCH_MACHINE_CODES = (StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT)
"""The codes of a Get for an unknown machine; the second code is for an empty id (COD-4)."""


class Absence:
    """Compares ids that should not exist with what the provider lists. One List serves all of them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._listing: asyncio.Task[Set[str]] | None = None

    async def is_certain(self, machine: Machine) -> bool:
        """Returns whether the machine does not exist: List does not show it, and neither does Get.

        A provider, or a proxy in front of it, may answer a Get of an unknown id with any code, or cut it off. If List
        is not answered either, it is certain if Get says that there is no such machine, or if all calls were refused.
        """
        try:
            listed = machine.id in await self._listed_ids()
        except NoAnswer:
            call = await retry_while_overloaded(machine.get, insists=True)
            all_refused = machine.record.calls.last_ok is None and not machine.unanswered
            return call.code in NO_SUCH_MACHINE_CODES or (all_refused and call.answered and not call.ok)
        return not (listed or (await machine.get()).answered_ok)

    async def _listed_ids(self) -> Set[str]:
        if self._listing is None:
            self._listing = background.start(self._list())
        return await background.wait(self._listing)

    async def _list(self) -> Set[str]:
        call = await retry_while_overloaded(self._client.list, insists=True)
        if not call.answered_ok:
            raise NoAnswer(f"List answered {call.outcome()}")
        return {machine.id for machine in call.response.machines}
