"""The rules about Lists: one by itself, several that belong together, and one against what machines must show."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from grpc import StatusCode

from conformance.core.lifecycle import State, state_of
from conformance.results.breach import Breach
from conformance.rpc.call import cut, describe_machine, describe_map

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.fleet.model.expected import Binding, Expected
    from conformance.rpc.call import Call

STATES: Final = frozenset[int](State)


def breaches_of_list(call: Call, owned: Mapping[str, Call | None]) -> Iterator[Breach]:
    """Yields the breaches of one List: a machine twice, too many machines, a state outside the filter, one is missing.

    `owned` are machines that exist, in whatever state, each with a call that tells of it.
    """
    machines, request = call.response.machines, call.request
    ids = {machine.id for machine in machines}
    if len(ids) < len(machines):
        twice = sorted(each for each, count in Counter(machine.id for machine in machines).items() if count > 1)
        yield Breach(
            behaviour="LST-3a",
            machine=twice[0],
            wanted="a List without a machine twice",
            got=f"{cut(twice[0], 60)!r} more than once",
            calls=(call,),
        )
    if 0 < request.max_results < len(machines):
        yield Breach(
            behaviour="LST-2a",
            wanted=f"at most {request.max_results} machines",
            got=f"{len(machines)}",
            calls=(call,),
        )
    wanted = set(request.states)
    known = wanted <= STATES  # WIR-2 judges a filter with other states, and is a SHOULD
    if wanted and known and not request.since_revision:  # a delta may also show machines that have left the states
        outside = next((machine for machine in machines if machine.state not in wanted), None)
        if outside is not None:
            yield Breach(
                behaviour="LST-1a",
                machine=outside.id,
                wanted=f"a List with a filter of {', '.join(state_of(state).name for state in wanted)} to keep to it",
                got=f"{outside.id} {state_of(outside.state).name}",
                calls=(call,),
            )
    if not (request.states or request.max_results or request.since_revision):
        missing = sorted(each for each in owned if each not in ids)
        if missing:
            by = owned[missing[0]]
            yield Breach(
                behaviour="LST-1d",
                machine=missing[0],
                wanted=f"a List without a filter and a cap to contain {missing[0]}",
                got=f"{len(ids)} machines without {some(missing)}",
                calls=(call,) if by is None else (by, call),
            )


def of_foreign_binding(
    machine_id: str, shown: pb.Machine, call: Call, own: Sequence[Binding], others: Iterable[tuple[str, Binding]]
) -> Breach | None:
    """Returns the breach of LIF-6 or MET-3 if a machine shows a cluster or metadata that was sent to another one only.

    `own` are the bindings that were ever sent to it, with an answer or not; `others` those of other machines.
    """
    metadata = dict(shown.shard_metadata)
    strange_cluster = shown.cluster and all(each.cluster != shown.cluster for each in own)
    strange_metadata = metadata and all(each.metadata != metadata for each in own)
    if not (strange_cluster or strange_metadata):
        return None
    for other, binding in others:
        if strange_cluster and binding.cluster == shown.cluster:
            behaviour, what = "LIF-6a", "cluster"
        elif strange_metadata and binding.metadata == metadata:
            behaviour, what = "MET-3a", "metadata"
        else:
            continue
        by = (binding.by,) if binding.by is not None else ()
        return Breach(
            behaviour=behaviour,
            machine=machine_id,
            wanted=f"{machine_id} not to show the {what} that was sent to {other}",
            got=describe_machine(shown),
            calls=(*by, call),
            other_client_possible=True,
        )
    return None


def of_view(behaviour: str, view: str, expected: Expected, shown: pb.Machine, call: Call) -> Breach | None:
    """Returns the breach if a view of the fleet shows a machine at rest in another way than Get does.

    The view is a List, or a replica that follows the deltas; `call` is the last one that it has read.
    """
    state, binding = state_of(shown.state), expected.binding
    metadata = dict(shown.shard_metadata)
    if expected.state is None:
        return None
    if state is not expected.state:
        wanted, got = f"{shown.id} {expected.state.name}", describe_machine(shown)
    elif all(expected.host) and shown.host.ref != expected.host[1]:
        wanted, got = f"{shown.id} with host {cut(expected.host[1])}", f"host {cut(shown.host.ref) or 'none'}"
    elif binding is not None and shown.cluster != binding.cluster:
        wanted = f"{shown.id}, {state.name}, with cluster {cut(binding.cluster) or 'none'}"
        got = f"cluster {cut(shown.cluster) or 'none'}"
    elif binding is not None and metadata != binding.metadata:
        wanted = f"{shown.id}, {state.name}, with metadata {describe_map(dict(binding.metadata))}"
        got = f"metadata {describe_map(metadata)}"
    else:
        return None
    return Breach(
        behaviour=behaviour,
        machine=shown.id,
        wanted=f"{view} to show {wanted}, as Get does",
        got=got,
        calls=(call,) if expected.by is None else (expected.by, call),
        other_client_possible=True,
    )


def of_returned_host(behaviour: str, view: str, host: str, shown: pb.Machine, call: Call) -> Breach | None:
    """Returns the breach if a view of the fleet still shows the host of a life that has ended."""
    if not host or shown.host.ref != host:
        return None
    return Breach(
        behaviour=behaviour,
        machine=shown.id,
        wanted=f"{view} not to show the host {cut(host)} of {shown.id}, which was returned",
        got=describe_machine(shown),
        calls=(call,),
        other_client_possible=True,
    )


def of_pages(pages: Sequence[Call], changed: Collection[str]) -> Breach | None:
    """Returns the breach of LST-9 if the pages of a delta, read to the end, lack a machine that has changed."""
    missing = sorted(set(changed).difference(*({each.id for each in page.response.machines} for page in pages)))
    if not missing:
        return None
    return Breach(
        behaviour="LST-9a",
        machine=missing[0],
        wanted=f"pages of {pages[0].request.max_results} machines to reach all {len(changed)} changed machines",
        got=f"{len(pages)} pages without {some(missing)}",
        calls=tuple(pages[-2:]),
    )


def of_delta(delta: Call, changed: Collection[str]) -> Breach | None:
    """Returns the breach of LST-6 if a delta lacks a machine that has changed since its revision."""
    missing = sorted(set(changed) - {each.id for each in delta.response.machines})
    if not missing:
        return None
    return Breach(
        behaviour="LST-6a",
        machine=missing[0],
        wanted=f"a delta with all {len(changed)} machines that have changed since its revision",
        got=f"{len(delta.response.machines)} machines without {some(missing)}",
        calls=(delta,),
    )


def of_union(before: Call, singles: Sequence[Call], after: Call) -> Iterator[Breach]:
    """Yields the breaches of LST-1 if the Lists of single states do not add up to the whole List.

    `before` and `after` are whole Lists around them. A machine that changed meanwhile is not judged, nor is one that is
    in the List of another state; other clients may drive machines, so a caller should ask more than once.
    """
    first, last = _states(before), _states(after)
    united = {machine.id for single in singles for machine in single.response.machines}
    for machine_id in sorted(united - first.keys() - last.keys()):
        single = next(each for each in singles if any(machine.id == machine_id for machine in each.response.machines))
        yield Breach(
            behaviour="LST-1d",
            machine=machine_id,
            wanted=f"a List without a filter to contain {machine_id}, as that of one state does",
            got=f"{len(first)} machines without it, before and after",
            calls=(before, single, after),
            other_client_possible=True,
        )
    by_state = {single.request.states[0]: single for single in singles}
    for machine_id in sorted(first.keys() - united):
        lacking = by_state.get(first[machine_id][0])
        if lacking is not None and first[machine_id] == last.get(machine_id):
            name = state_of(first[machine_id][0]).name
            yield Breach(
                behaviour="LST-1a",
                machine=machine_id,
                wanted=f"a List of {name} to contain {machine_id}, which whole Lists show {name} before and after",
                got=f"{len(lacking.response.machines)} machines without it",
                calls=(before, lacking, after),
                other_client_possible=True,
            )


def of_whole_page(before: Call, page: Call, after: Call) -> Iterator[Breach]:
    """Yields the breach of LST-2 if a page that has room for the whole fleet is shorter than the whole List."""
    wanted = min(page.request.max_results, len(before.response.machines), len(after.response.machines))
    if len(page.response.machines) < wanted:
        yield Breach(
            behaviour="LST-2a",
            wanted=f"{wanted} machines in a List of at most {page.request.max_results}, as many as there are",
            got=f"{len(page.response.machines)} machines",
            calls=(before, page, after),
        )


def of_unread(before: Call, gets: Iterable[Call], after: Call) -> Iterator[Breach]:
    """Yields the breaches of LST-4 if Get does not find a machine that whole Lists show before and after it."""
    first, last = _states(before), _states(after)
    for get in gets:
        machine_id = get.machine_id
        lost = get.answered and (get.code is StatusCode.NOT_FOUND or (get.ok and get.response.id != machine_id))
        if lost and machine_id in first and machine_id in last:
            yield Breach(
                behaviour="LST-4a",
                machine=machine_id,
                wanted=f"Get to find {machine_id}, which List shows",
                got=get.outcome(),
                calls=(before, get, after),
            )


def _states(call: Call) -> dict[str, tuple[int, str, str]]:
    """Returns the state, host and cluster of each machine in a List."""
    return {each.id: (each.state, each.host.ref, each.cluster) for each in call.response.machines}


def some(ids: Sequence[str]) -> str:
    """Returns the first three ids, and the number of the others."""
    return ", ".join(cut(each) for each in ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
