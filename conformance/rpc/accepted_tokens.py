"""The tokens that the provider's fence has let pass, to tell whether another answer explains that a call was fenced.

A server refuses a stream (REFUSED_STREAM) to say that it did not process the call, and the kit sends the call again
with the same token. HAProxy refuses a stream in the same way if the provider has processed the call and its connection
was lost before the answer. Then the first attempt fences the second one, and the provider's answer is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.rpc.call import Call


class AcceptedTokens:
    """The newest token of each shard that passed the fence for each machine, over all connections of a run.

    A token that passed for another machine explains nothing on a provider with a mark per shard and machine (FEN-13).
    """

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], tuple[int, int]] = {}

    def add(self, call: Call) -> None:
        """Notes the token of a call that the provider answered, unless the call was fenced or rejected for load."""
        token = call.token
        if token is not None and call.answered and not (call.fenced or call.busy):
            key = (token.shard, call.machine_id)
            self._newest[key] = max(self._newest.get(key, token.numbers), token.numbers)

    def explain(self, fenced: Call) -> bool:
        """Returns whether an equal or newer token than that of `fenced` has passed in another call for its machine."""
        newest = self._newest.get((fenced.token.shard, fenced.machine_id)) if fenced.token is not None else None
        return newest is not None and fenced.token is not None and newest >= fenced.token.numbers
