"""Options that a replay must repeat, because a behaviour's observations depend on them."""

from __future__ import annotations

from dataclasses import dataclass, field

from conformance.core.timeouts import Patience
from conformance.core.value_types import Count, FenceScope, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """The options of a run that influence its calls and its connection. Contains no secrets."""

    examples: Count = 25
    fence_scope: FenceScope | None = None
    """The scope of the mark that the user requires; None if any scope is accepted (FEN-13)."""
    hold: Seconds = 0.0
    """The value of `--hold`; older releases did not have it."""
    use_idle: bool = False
    patience: Patience = field(default_factory=Patience)
    rpc_timeout: Seconds = 30.0
    fake: bool = False
    """True if the target was the embedded fake, whose address is not valid after the run."""
    headers: tuple[str, ...] = ()
    """The names of the headers that were sent with every call. Their values are secrets and are not stored."""
    server_name: str | None = None
    """The name in the provider's certificate; None if it is the host of the address."""
    faults: tuple[str, ...] = ()
    """The values of `--fault`."""
    lane_options: tuple[str, ...] = ()
    """The options of the lane as words of the command line; older releases did not record them."""
    commands: tuple[str, ...] = ()
    """The options whose commands controlled the provider, such as `provider-cmd`. The commands are not stored: they may
    hold secrets, and a record from another person must not run a program."""
