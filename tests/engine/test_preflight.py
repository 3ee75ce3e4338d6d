from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from conformance.core import catalogue
from conformance.core.errors import TargetError
from conformance.core.lifecycle import State
from conformance.engine import preflight
from conformance.results.target_info import CAPABILITIES
from conformance.testkit.recording import BINDING
from tests.runs import proof
from tests.values import a_found

if TYPE_CHECKING:
    from conformance.testkit.behaviour import Behaviour

CREATES: dict[str, Any] = {"start": State.SPECULATIVE, "creates": True}


def test_every_needed_capability_has_a_skip_reason() -> None:
    needed = {need for each in catalogue.load().entries for need in each.needs} | {"create"}
    assert needed <= set(preflight.SKIP_REASONS) <= {*CAPABILITIES, *preflight.MEANS}


def test_a_target_can_have_all_capabilities() -> None:
    everything = a_found(tls=True, client_certificate=True)
    assert all(everything.has(name) for name in CAPABILITIES)


@pytest.mark.parametrize("name", CAPABILITIES)
def test_a_target_can_lack_each_capability(name: str) -> None:
    without: dict[str, dict[str, Any]] = {"health": {"health": None}, "zones": {"zones": ()}, "create": {}}
    lacking = a_found(speculative=(), **without.get(name, {name.replace("-", "_"): False}))
    assert not lacking.has(name)


def test_an_unknown_capability_is_a_bug() -> None:
    with pytest.raises(KeyError):
        a_found().has("teleport")


def test_the_first_missing_capability_is_named() -> None:
    needy = proof(capabilities=["revisions", "delete"])
    assert preflight.missing_capability(needy, a_found()) is None
    assert preflight.missing_capability(needy, a_found(delete=False)) == "delete"
    assert preflight.missing_capability(needy, a_found(delete=False, revisions=False)) == "revisions"


def test_what_the_options_of_a_run_allow_is_a_capability_too() -> None:
    needy, restarts = proof(capabilities=["backend"]), proof(restarts=True)
    assert preflight.missing_capability(needy, a_found()) == "backend"
    assert preflight.missing_capability(needy, a_found(), preflight.means(backend=True)) is None
    assert preflight.missing_capability(restarts, a_found(), ["backend"]) == "restarts"
    assert preflight.missing_capability(restarts, a_found(), preflight.means(restarts=True)) is None


def test_a_newer_version_needs_a_provider_that_may_be_restarted_too() -> None:
    upgrades = proof(upgrades=True)
    assert preflight.missing_capability(upgrades, a_found()) == "restarts"
    assert preflight.missing_capability(upgrades, a_found(), preflight.means(restarts=True)) == "next-version"
    assert preflight.missing_capability(upgrades, a_found(), preflight.means(restarts=True, next_version=True)) is None
    assert "--next-cmd" in preflight.SKIP_REASONS["next-version"]


def test_a_behaviour_that_restarts_the_provider_is_alone() -> None:
    assert proof(restarts=True).needs.alone


def test_a_behaviour_that_starts_at_a_slot_needs_one() -> None:
    slot, idle = proof(machines=1, start=State.SPECULATIVE), proof(machines=1)
    bare = a_found(speculative=())
    assert (preflight.missing_capability(slot, bare), preflight.missing_capability(idle, bare)) == ("create", None)
    assert preflight.missing_capability(proof(), bare) is None


def size(*needed: int, slots: int = 4, use_idle: bool = False, most: int | None = None, **found: Any) -> TargetError:
    plan = tuple(proof(behaviour_id=f"TST-{n}a", machines=machines) for n, machines in enumerate(needed, 1))
    with pytest.raises(TargetError) as caught:
        preflight.check_size(plan, a_found(**found), slots=slots, use_idle=use_idle, max_machines=most)
    return caught.value


def test_a_plan_that_fits_is_accepted() -> None:
    preflight.check_size((proof(machines=4), proof()), a_found(), slots=4, use_idle=False, max_machines=None)
    preflight.check_size((proof(machines=2),), a_found(), slots=4, use_idle=False, max_machines=2)


def test_the_error_names_needed_and_found_machines() -> None:
    message = size(1, 5, 6).message
    assert message == "too few machines: up to 6 needed by 2 behaviours, found 4 SPECULATIVE; nothing was touched"


def test_the_hint_names_use_idle_if_there_are_idle_machines() -> None:
    assert "--use-idle lets the kit drive the 1 IDLE ones" in str(size(5).hint)
    assert "--use-idle" not in str(size(9, slots=5, use_idle=True).hint)
    assert "and 1 free IDLE" in size(9, slots=5, use_idle=True).message


def test_the_hint_names_the_exclusion_if_other_behaviours_can_run() -> None:
    assert "--exclude TST-2a,TST-3a runs the others" in str(size(1, 5, 6).hint)
    assert "--exclude" not in str(size(5, 6).hint)


def test_without_other_fixes_the_hint_asks_for_more_machines() -> None:
    assert size(5, idle=()).hint == "give the provider at least 5 SPECULATIVE machines"


def test_the_error_names_max_machines() -> None:
    assert "--max-machines 2" in size(3, most=2).message


def test_behaviours_that_do_not_apply_need_no_machines() -> None:
    plan = (proof(machines=9, capabilities=["delete"]),)
    preflight.check_size(plan, a_found(delete=False), slots=1, use_idle=False, max_machines=None)


def test_a_shortage_of_slots_at_a_provider_without_delete_is_known_before_the_run() -> None:
    plan = tuple(proof(behaviour_id=f"TST-{n}a", machines=1, **CREATES) for n in range(1, 6))
    warning = preflight.check_slots(plan, a_found(delete=False), slots=4)
    assert warning is not None
    assert "5 behaviours need 5 of 4 SPECULATIVE machines" in warning
    assert preflight.check_slots(plan, a_found(delete=False), slots=6) is None
    assert preflight.check_slots(plan, a_found(), slots=4) is None
    assert preflight.check_slots(plan, a_found(delete=False, speculative=()), slots=4) is None


@pytest.mark.parametrize(
    ("machines", "slots", "jobs", "most", "size"),
    [
        ([], 100, None, None, 0),
        ([1], 100, None, None, 1),
        ([1] * 200, 100, None, None, 50),  # half of the slots are left to other clients
        ([1] * 200, 100, None, 7, 7),
        ([1] * 200, 100, 3, None, 3),
        ([4, 1, 1], 100, 2, None, 8),
        ([4, 1, 1], 5, None, None, 4),  # the behaviour with the most machines gets them
        ([4, 1, 1], 100, None, 4, 4),
    ],
)
def test_the_pool_size_is_between_the_largest_need_and_the_limits(
    machines: list[int], slots: int, jobs: int | None, most: int | None, size: int
) -> None:
    plan = tuple(proof(behaviour_id=f"TST-{n}a", machines=count, transitions=4) for n, count in enumerate(machines, 1))
    assert preflight.pool_size(plan, slots=slots, jobs=jobs, max_machines=most) == size


def test_short_chains_share_machines_while_a_long_one_runs() -> None:
    long = proof(machines=1, transitions=20)
    short = tuple(proof(behaviour_id=f"TST-{n}a", machines=1, transitions=2) for n in range(2, 12))
    assert preflight.pool_size((long, *short), slots=100, jobs=None, max_machines=None) <= 3
    assert preflight.pool_size((long,) * 10, slots=100, jobs=None, max_machines=None) >= 6


def test_a_watched_lifecycle_counts_once() -> None:
    def watchers(count: int) -> tuple[Behaviour, ...]:
        needs: dict[str, Any] = {"machines": 1, "transitions": 4, "watches": BINDING}
        return tuple(proof(behaviour_id=f"TST-{n}a", **needs) for n in range(1, count + 1))

    one, many = (preflight.pool_size(watchers(count), slots=100, jobs=None, max_machines=None) for count in (1, 20))
    assert one == many
