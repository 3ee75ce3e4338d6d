"""What a run was asked for, as far as what a behaviour sees depends on it: a replay asks for the same again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.patience import Patience
from conformance.value_types import Count, FenceScope, Seconds

if TYPE_CHECKING:
    from conformance.run_options import Options
    from conformance.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of a run that decide what is sent, and how the target was dialled. Holds no secret."""

    examples: Count = 25
    fence_scope: FenceScope | None = None
    """The scope of the mark that was demanded; None where any will do (FEN-13)."""
    use_idle: bool = False
    patience: Patience = field(default_factory=Patience)
    rpc_timeout: Seconds = 30.0
    fake: bool = False
    """Whether the target was the embedded fake, whose address died with the run."""
    headers: tuple[str, ...] = ()
    """The names of the headers that went with every call; their values are nobody's business."""
    server_name: str | None = None
    """The name that the provider's certificate was checked for, where it is not the address's."""
    faults: tuple[str, ...] = ()
    """The weather of the run, as it was asked for."""


def asked(options: Options, target: Target) -> Asked:
    """What a run of `options` on `target` is asked for."""
    return Asked(
        examples=options.examples,
        fence_scope=options.fence_scope,
        use_idle=options.use_idle,
        patience=options.patience,
        rpc_timeout=options.rpc_timeout,
        fake=options.fake,
        headers=tuple(name for name, _ in target.headers),
        faults=tuple(fault.text for fault in options.faults),
        server_name=target.tls.server_name if target.tls else None,
    )
