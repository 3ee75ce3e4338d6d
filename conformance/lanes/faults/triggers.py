"""The triggers of a provider: the values in requests and labels that make a transition fail (contract §9)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from conformance.core.errors import UsageError
from conformance.core.lifecycle import CREATE_FAULT_LABEL, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One trigger: the verb whose transition fails, and the value that causes it.

    `value` is a `cluster_id`; of a Create, the label of a slot, as `key=value`. Empty: the provider does not have it.
    """

    name: str
    verb: Verb
    value: str
    given: bool = False
    """True if the user has given the value: then it must have an effect."""

    @property
    def text(self) -> str:
        """The trigger as a user knows it."""
        return f"the label {self.value}" if self.verb is Verb.CREATE else f"cluster_id {self.value!r}"


def _defaults() -> Iterable[Trigger]:
    for name in ("error", "timeout", "slow-ok", "readiness-block"):
        yield Trigger(name=name, verb=Verb.CONFIGURE, value=f"fault-{name}")
    yield Trigger(name="drain-error", verb=Verb.DRAIN, value="fault-drain-error")
    for kind in ("error", "timeout", "slow-ok"):
        yield Trigger(name=f"create-{kind}", verb=Verb.CREATE, value=f"{CREATE_FAULT_LABEL}={kind}")


DEFAULTS: Final[Mapping[str, Trigger]] = MappingProxyType({trigger.name: trigger for trigger in _defaults()})
"""The triggers of the contract, by name."""


def parse(text: str) -> tuple[str, str]:
    """Returns the name and the value in `NAME=VALUE`. Raises UsageError."""
    name, equals, value = text.partition("=")
    if name not in DEFAULTS:
        raise UsageError(f"--fault-trigger: unknown trigger {name!r}", hint=f"use one of {', '.join(DEFAULTS)}")
    if not equals:
        raise UsageError(f"--fault-trigger {name} has no value", hint=f"write {name}=VALUE, or {name}= for none")
    if DEFAULTS[name].verb is Verb.CREATE and value and "=" not in value:
        raise UsageError(f"--fault-trigger {name}: {value!r} is not a label of a slot", hint=f"write {name}=KEY=VALUE")
    return name, value


def parse_all(texts: Iterable[str]) -> Mapping[str, Trigger]:
    """Returns all triggers by name, with the values that the user has given. Raises UsageError."""
    given = dict(map(parse, texts))
    return {
        name: replace(trigger, value=given[name], given=True) if name in given else trigger
        for name, trigger in DEFAULTS.items()
    }
