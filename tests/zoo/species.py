"""A species of the zoo: a hostile target, and the required result of a run against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.zoo.sandbox import Sandbox

    Life = Callable[[Sandbox], Awaitable[None]]

HABITATS: Final = ("transport", "frames", "tls", "statuses", "answers", "machines", "lifetimes")
"""The modules of this package that define species."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Species:
    """One kind of hostile target, and the required result of a run against it."""

    habitat: str
    name: str
    story: str
    """Describes in one line what the target does: the first line of its docstring."""
    life: Life
    says: str
    """A pattern for the kit's first line about the problem, which must name it in the user's words."""
    hint: str
    """A text that the hint after that line must contain; empty if no hint is required."""
    codes: frozenset[int]
    """The allowed exit codes."""
    connect: float
    """Seconds of --connect-timeout. Short only if the species never accepts a connection."""
    rpc: float
    """Seconds of --rpc-timeout. Short only if the species does not answer calls."""
    patience: float
    """Seconds of --patience. Short only if a transition never ends."""
    timeout: float
    """Seconds of --timeout."""
    select: str
    """The behaviours that are selected unless CONFORMANCE_ZOO=whole."""
    rare: bool
    """True if it is tested only with CONFORMANCE_ZOO=all, because another species has the same effect on the kit."""

    @property
    def key(self) -> str:
        """`transport.silent`."""
        return f"{self.habitat}.{self.name}"

    @property
    def options(self) -> tuple[str, ...]:
        """The command-line options for the time limits of a run."""
        limits = {
            "--connect-timeout": self.connect,
            "--rpc-timeout": self.rpc,
            "--patience": self.patience,
            "--timeout": self.timeout,
        }
        return tuple(word for option, seconds in limits.items() for word in (option, f"{seconds:g}s"))


ZOO: Final[dict[str, Species]] = {}
"""All species whose habitats were imported, by their keys."""


def species(
    says: str,
    *,
    hint: str = "",
    codes: frozenset[int] = frozenset({3}),
    connect: float = 10.0,
    rpc: float = 10.0,
    patience: float = 10.0,
    timeout: float = 20.0,
    select: str = "LIF-1a,FEN-1a",
    rare: bool = False,
) -> Callable[[Life], Life]:
    """Registers a species and the required result of a run against it. The `codes` never include exit code 0."""

    def register(life: Life) -> Life:
        habitat, name = life.__module__.rpartition(".")[2], life.__name__
        kind = Species(
            habitat=habitat,
            name=name,
            story=(life.__doc__ or "").strip().splitlines()[0],
            life=life,
            says=says,
            hint=hint,
            codes=codes,
            connect=connect,
            rpc=rpc,
            patience=patience,
            timeout=timeout,
            select=select,
            rare=rare,
        )
        assert codes <= {1, 3}
        assert kind.key not in ZOO
        ZOO[kind.key] = kind
        return life

    return register
