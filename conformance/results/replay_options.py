"""The options that a replay must repeat, because what a behaviour sees depends on them."""

from __future__ import annotations

from dataclasses import dataclass, field

from conformance.core.timeouts import Patience
from conformance.core.value_types import Count, FenceScope, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """The options of a run that decide what is sent, and how the target was dialled. Holds no secret."""

    examples: Count = 25
    fence_scope: FenceScope | None = None
    """The scope of the mark that the user demands; None if any will do (FEN-13)."""
    use_idle: bool = False
    patience: Patience = field(default_factory=Patience)
    rpc_timeout: Seconds = 30.0
    fake: bool = False
    """Whether the target was the embedded fake, whose address died with the run."""
    headers: tuple[str, ...] = ()
    """The names of the headers that went with every call. Their values are secrets and are not kept."""
    server_name: str | None = None
    """The name that the provider's certificate was checked for; None if it is the address's."""
    faults: tuple[str, ...] = ()
    """The injected faults, as they were given."""
