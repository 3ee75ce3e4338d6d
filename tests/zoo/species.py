"""What a species of the zoo is, and what the kit owes whoever points it at one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.zoo.cage import Cage

    Life = Callable[[Cage], Awaitable[None]]

HABITATS: Final = ("transport", "frames", "tls", "statuses", "answers", "machines", "lifetimes")
"""The modules of this package in which species live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Species:
    """One kind of hostile target, and how a run against it must end."""

    habitat: str
    name: str
    story: str
    """What it does, in a line: its docstring's first."""
    life: Life
    says: str
    """A pattern that the first line about what is wrong must hold: it names that in the user's words."""
    mend: str
    """What the hint after that line must hold; empty where there need be none."""
    codes: frozenset[int]
    connect: float
    """Seconds of --connect-timeout. Short only where the point is that there is no connection."""
    rpc: float
    """Seconds of --rpc-timeout. Short only where the point is that nothing is answered."""
    patience: float
    """Seconds of --patience. Short only where the point is that something never settles."""
    timeout: float
    """Seconds of --timeout."""
    select: str
    """What is judged in the short form."""
    rare: bool
    """Whether it is met in the long form only, as another one takes the kit the same way."""

    @property
    def key(self) -> str:
        """`transport.silent`."""
        return f"{self.habitat}.{self.name}"

    @property
    def options(self) -> tuple[str, ...]:
        """The patience of a run against it, as options."""
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
    mend: str = "",
    codes: frozenset[int] = frozenset({3}),
    connect: float = 10.0,
    rpc: float = 10.0,
    patience: float = 10.0,
    timeout: float = 20.0,
    select: str = "LIF-1a,FEN-1a",
    rare: bool = False,
) -> Callable[[Life], Life]:
    """Take a life into the zoo, with what the kit must say of it. Exit 0 is never among the `codes`."""

    def take(life: Life) -> Life:
        habitat, name = life.__module__.rpartition(".")[2], life.__name__
        kind = Species(
            habitat=habitat,
            name=name,
            story=(life.__doc__ or "").strip().splitlines()[0],
            life=life,
            says=says,
            mend=mend,
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

    return take
