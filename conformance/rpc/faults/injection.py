"""The injected faults of a run (`--fault`), as its clients and its judge see them.

A proxy in front of the target makes the network faults. A lost answer needs no proxy: the client receives the answer
and reports the call as unanswered. The provider cannot see the difference, and this works with any target.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc

from conformance.rpc.call import token_of
from conformance.rpc.faults.spec import FaultKind, FaultStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.core.fencing import Token
    from conformance.rpc.call import Call
    from conformance.rpc.faults.proxy import FaultProxy
    from conformance.rpc.faults.spec import Fault


class LostAnswers:
    """Withholds the answers of selected calls from the code that makes them, and keeps those answers."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """The number of lost answers by RPC."""
        self._selected: set[tuple[str, str, Token]] = set()
        self._answered: dict[int, Call] = {}
        """The calls with their withheld answers, by number."""

    def select(self, rpc: str, machine_id: str, token: Token) -> None:
        """Selects the next call with these values."""
        self._selected.add((rpc, machine_id, token))

    def deselect(self, rpc: str, machine_id: str, token: Token) -> None:
        """Undoes `select`; does nothing if the call has been made since."""
        self._selected.discard((rpc, machine_id, token))

    def claim(self, rpc: str, request: Any) -> bool:
        """Returns whether this request is a selected call. Of several equal requests only the first one is."""
        token = token_of(request)
        if token is None or (key := (rpc, request.machine_id, token)) not in self._selected:
            return False
        self._selected.remove(key)
        return True

    def withhold(self, call: Call) -> Call:
        """Returns the call without its answer.

        Only acks with an operation id are withheld: they show that the call was carried out (OPS-1). Any other call is
        returned as it is.
        """
        if not (call.answered and call.operation_id):
            return call
        self.counts[call.rpc] += 1
        self._answered[call.number] = call
        details = f"fault injection dropped this response: {self.counts.total()}"
        return replace(call, code=grpc.StatusCode.UNAVAILABLE, details=details, response=None, answered=False)

    def reveal(self, call: Call) -> Call | None:
        """Returns, once, the call with the answer that was withheld from it; None if it was not withheld."""
        return self._answered.pop(call.number, None)


class FaultInjection:
    """The faults of one run, active until `stop` is called. `proxy` makes the network faults, if there are any."""

    def __init__(self, faults: Sequence[Fault], proxy: FaultProxy | None) -> None:
        self.proxy = proxy
        self.lost_answers = LostAnswers()
        self.retries: Counter[str] = Counter()
        """By RPC, the number of calls that were retried because an injected fault left them unanswered."""
        self.loses_answers = any(fault.kind is FaultKind.LOST_ANSWER for fault in faults)
        """True while answers are lost."""
        self._texts = tuple(fault.text for fault in faults)

    def stop(self) -> None:
        """Injects no more faults."""
        self.loses_answers = False
        if self.proxy is not None:
            self.proxy.stop()

    def may_have_dropped_since(self, since: float) -> bool:
        """Returns whether the proxy may have dropped a call under way at or after `since`, on the loop's clock."""
        return self.proxy is not None and self.proxy.may_have_dropped_since(since)

    def stats(self) -> FaultStats:
        """Returns what the faults have done so far."""
        counts = dict(self.proxy.counts) if self.proxy is not None else {}
        return FaultStats(faults=self._texts, did=counts, lost=dict(self.lost_answers.counts), again=dict(self.retries))
