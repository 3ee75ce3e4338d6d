"""MET: Get, List and acks show the metadata of Configure unchanged, until Drain removes it (contract §6).

One map holds many odd keys, so that all of them cost one binding. A failure names the keys that differ, so no second
binding is needed to find them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from conformance.core.lifecycle import State, Verb, state_of
from conformance.suite._metadata import IDLE_OR_BOUND, bind_to, check_shown, configure_with, readings_of_binding
from conformance.suite._names import CLUSTER_TAILS, CODE_LIKE, COLLATED, ENCODED
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour
from conformance.testkit.observer import observe

if TYPE_CHECKING:
    from conformance.testkit.trial import Trial

ORDINARY: Final = {
    "priority": "1000",
    "interruption-penalty": "0.25",
    "binding-generation": "9007199254740993",
    "slot/claim": "team-a/blue",
    "nobody-knows-this-key": "nor this value",
    "empty": "",
}

AWKWARD: Final = {
    "": "the empty key",
    "empty value": "",
    " leading": " leading",
    "trailing ": "trailing ",
    "only spaces": "   ",
    "tab\tin key": "\ttab\t",
    "line\nbreak": "one\ntwo\r\nthree\r",
    "trailing newline": "value\n",
    "nul\x00in key": "nul\x00in value",
    "only nul": "\x00",
    "controls": "".join(map(chr, [*range(1, 32), 127, *range(128, 160)])),
    "\x1b[31m": "\x1b]0;title\x07",
    "case": "lower",
    "Case": "title",
    "CASE": "upper",
    "quote\"'`": "\"'`\\\\n\\u0000",
    "a=b,c;d&e": "k=v,k=v;k&k",
    "path/../x": "../../etc/passwd",
    "json": '{"a": [1, 2.0, null, true], "a": "twice"}',
    "yaml": "- !!int 1\n- ~\n- no\n",
    "%s%n{}${HOME}": "%00 %d {0} ${PATH} $(id) `id`",
    "null": "null",
    "None": "None",
    "true": "true",
    "number": "007",
    "float": "1e400",
    "date": "2024-02-30T25:61:00Z",
    "base64": "AAEC/w==",
    "<xml a='b'/>": "<![CDATA[&amp;]]>",
    "sql'; --": "' OR 1=1; --",
}

FIELD_LIKE: Final = {
    "id": "not an id",
    "machine_id": "not a machine",
    "cluster": "not a cluster",
    "cluster_id": "not a cluster either",
    "state": "8",
    "last_error": "none",
    "shard_id": "somebody",
    "shard_epoch": "-1",
    "sequence_number": "9223372036854775807",
    "shard_metadata": "{}",
    "operation_id": "op-1",
    "labels": "a=b",
    "kubernetes.io/hostname": "node-1",
    "node.kubernetes.io/instance-type": "m0.none",
    "topology.kubernetes.io/zone": "nowhere",
    "bigfleet.io/reserved": "yes",
    "not a label value": "ends with a dash-",
    "x" * 300: "a key longer than a label may be",
    "longer than a label may be": "y" * 5000,
}

UNICODE_TEXTS: Final = {
    "é": "composed: é",
    "e\u0301": "decomposed: e\u0301",
    "Å": "a with ring",
    "\u212b": "the ångström sign",
    "ﬁ": "a ligature",
    "fi": "two letters",
    "①": "compatible with 1",
    "ß": "ss, SS, ẞ",
    "İi\u0307ıI": "İi\u0307ıI",
    "\u0301": "a lone accent",
    "q\u0323\u0307": "two marks",
    "q\u0307\u0323": "the same marks in another order",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467": "a family, joined",
    "\U0001f468\U0001f469\U0001f467": "the same family, apart",
    "\U0001d11e": "\U00010000\U0010fffd",
    "\ufeff": "\ufeffa byte order mark",
    "soft\u00adhyphen": "\u00ad",
    "zero\u200bwidth": "\u200b\u200c\u2060",
    "\u202eright to left\u202c": "\u2066\u05d0\u0628\u2069",
    "\u2028": "\u2028line, paragraph\u2029",
    "nbsp\u00a0": "\u00a0\u3000\u2003",
    "noncharacters": "\ufffe\uffff\U0010ffff\ufdd0",
    "replacement": "\ufffd",
    "private": "\ue000\U000f0000",
    "highest": "\ud7ff\ue000",
    "日本語": "日本語 — テスト",
}


@behaviour("MET-1a", machines=1, transitions=2)
async def test_get_and_list_echo_metadata(trial: Trial) -> None:
    await configure_with(trial.machine, ORDINARY)
    await check_shown(trial, trial.machine, ORDINARY)
    await check_shown(trial, trial.machine, ORDINARY)  # reading does not consume it


@behaviour("MET-1b", machines=1, transitions=2)
async def test_acks_echo_metadata(trial: Trial) -> None:
    machine = trial.machine
    first = await trial.begin(machine, Verb.CONFIGURE, machine.configure(metadata=ORDINARY))
    soon = await machine.configure(metadata=ORDINARY)
    expect.echoes(first.response.machine, ORDINARY, where="the ack of Configure")
    await trial.bring(machine, State.CONFIGURED)
    again = await expect.acked(machine.configure(metadata=ORDINARY))
    for call in (soon, again):
        if call.ok:
            expect.echoes(call.response.machine, ORDINARY, where="the ack of a repeated Configure")
    for drain in (await trial.begin(machine, Verb.DRAIN), await machine.drain()):
        if drain.ok and state_of(drain.response.machine.state) is State.DRAINING:
            expect.echoes(drain.response.machine, ORDINARY, where="the ack of Drain, DRAINING,")
    await trial.bring(machine, State.IDLE)


@behaviour("MET-1c", machines=1, transitions=2)
async def test_metadata_is_there_while_configuring(trial: Trial) -> None:
    machine = trial.machine
    async with observe(trial, machine, states=IDLE_OR_BOUND, enough=State.CONFIGURING) as seen:
        cluster, ack = await bind_to(trial, machine, CLUSTER_TAILS["path"], ORDINARY)
    for reading in readings_of_binding(seen, cluster):
        expect.echoes(reading.machine, ORDINARY, where=reading.where)
    seen.demand(trial, Verb.CONFIGURE, ack)


@behaviour("MET-1d", machines=1, transitions=2)
async def test_metadata_is_there_while_draining(trial: Trial) -> None:
    machine = trial.machine
    cluster, _ = await bind_to(trial, machine, CLUSTER_TAILS["escaped"], ORDINARY)
    async with observe(trial, machine, states=IDLE_OR_BOUND, enough=State.DRAINING) as seen:
        ack = await trial.drive(machine, Verb.DRAIN)
    for reading in readings_of_binding(seen, cluster):
        expect.echoes(reading.machine, ORDINARY, where=reading.where)
    seen.demand(trial, Verb.DRAIN, ack)


@behaviour("MET-1e", machines=1, transitions=2)
async def test_awkward_strings_come_back(trial: Trial) -> None:
    strings = AWKWARD | ENCODED
    call = await configure_with(trial.machine, strings)
    expect.echoes(call.response.machine, strings, where="the ack of Configure")
    await check_shown(trial, trial.machine, strings)


@behaviour("MET-1f", machines=1, transitions=2)
async def test_keys_that_look_like_something_else_are_only_keys(trial: Trial) -> None:
    machine, keys = trial.machine, FIELD_LIKE | CODE_LIKE
    idle = expect.at_rest(await machine.read())
    await configure_with(machine, keys)
    await check_shown(trial, machine, keys)
    seen = expect.at_rest(await machine.read())
    for name in ("id", "host", "instance_type", "zone", "capacity_type", "last_error"):
        before, after = getattr(idle, name), getattr(seen, name)
        expect.fact(before == after, wanted=f"metadata to leave {name} at {before!r}", got=repr(after))


@behaviour("MET-1g", machines=1, transitions=2)
async def test_unicode_is_not_normalised(trial: Trial) -> None:
    texts = UNICODE_TEXTS | COLLATED
    await configure_with(trial.machine, texts)
    await check_shown(trial, trial.machine, texts)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=24)
PAIRS = st.tuples(TEXT, TEXT)


@behaviour("MET-1h", machines=1, transitions=6)
async def test_any_text_comes_back(trial: Trial) -> None:
    drawn: dict[str, str] = {}

    async def keep(pair: tuple[str, str]) -> None:
        drawn[pair[0]] = pair[1]

    # Drawn first and judged together: each map costs a binding, and a failure names wrong keys without shrinking.
    await trial.explore(PAIRS, keep, examples=180)
    pairs = list(drawn.items())
    for number in range(3):
        metadata = dict(pairs[number::3][:60])
        await configure_with(trial.machine, metadata)
        await check_shown(trial, trial.machine, metadata)
        if number < 2:
            await trial.drive(trial.machine, Verb.DRAIN)


@behaviour("MET-2a", machines=1, transitions=2)
async def test_nothing_is_left_when_drain_has_settled(trial: Trial) -> None:
    machine = trial.machine
    await trial.bind(machine, cluster=machine.cluster, metadata=ORDINARY)
    await trial.drive(machine, Verb.DRAIN)
    await check_shown(trial, machine, {})
    seen = await machine.read()
    expect.fact(not seen.cluster, wanted="Get not to show a cluster at IDLE", got=f"cluster {seen.cluster!r}")
    again = await machine.create()  # a retry at IDLE
    if again.ok:
        expect.echoes(again.response.machine, {}, where="the ack of a repeated Create, IDLE,")


@behaviour("MET-2b", machines=1, transitions=2)
async def test_metadata_and_cluster_go_together(trial: Trial) -> None:
    machine = trial.machine
    cluster, _ = await bind_to(trial, machine, CLUSTER_TAILS["blanks"], ORDINARY)
    async with observe(trial, machine, states=IDLE_OR_BOUND) as seen:
        ack = await trial.drive(machine, Verb.DRAIN)
        again = await machine.drain()  # a retry if the machine is IDLE after the Drain (OPS-2)
    snapshots = [(s.where, s.machine) for s in readings_of_binding(seen, cluster, unbound=True)]
    snapshots += [(f"the ack of {c.rpc}", c.response.machine) for c in (ack, again) if c.ok]
    for where, snapshot in snapshots:
        expect.fact(
            bool(snapshot.cluster) == bool(snapshot.shard_metadata),
            wanted=f"{where} to show both cluster and metadata, or neither",
            got=f"cluster {snapshot.cluster!r} and {len(snapshot.shard_metadata)} metadata keys",
        )
        if state_of(snapshot.state) is State.IDLE:
            expect.echoes(snapshot, {}, where=where)


@behaviour("MET-2c", machines=1, transitions=4)
async def test_the_next_binding_shows_only_its_own(trial: Trial) -> None:
    machine = trial.machine
    first = {"shared": "first", "only first": "1", "": "empty key"}
    second = {"shared": "second", "only second": "2"}
    await bind_to(trial, machine, CLUSTER_TAILS["nul"], first)
    await trial.drive(machine, Verb.DRAIN)
    async with observe(trial, machine, states=IDLE_OR_BOUND, enough=State.CONFIGURING) as seen:
        _, call = await bind_to(trial, machine, CLUSTER_TAILS["decomposed"], second)
    expect.echoes(call.response.machine, second, where="the ack of the second Configure")
    await check_shown(trial, machine, second)
    for reading in seen.at(State.CONFIGURING, State.CONFIGURED, rpc="Get"):
        expect.echoes(reading.machine, second, where=reading.where)


@behaviour("MET-2d", machines=1, transitions=4)
async def test_a_binding_without_metadata_shows_none(trial: Trial) -> None:
    machine = trial.machine
    cluster, _ = await bind_to(trial, machine, CLUSTER_TAILS["long"], ORDINARY)
    await trial.drive(machine, Verb.DRAIN)
    await trial.bind(machine, cluster=cluster)  # the same cluster again, so that only the map differs
    await check_shown(trial, machine, {})
