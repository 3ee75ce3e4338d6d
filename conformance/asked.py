"""What a run was asked for, as far as what a behaviour sees depends on it: a replay asks for the same again."""

from __future__ import annotations

from dataclasses import dataclass, field

from conformance.patience import Patience
from conformance.value_types import Count, FenceScope, Seconds


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
