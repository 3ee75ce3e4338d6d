"""The values of options: durations, patience, latencies, targets, headers, selections."""

from __future__ import annotations

import math
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from conformance.core import catalogue
from conformance.core.timeouts import Patience, parse_duration, parse_durations, parse_patience
from conformance.rpc.target import Target, parse_address, parse_header
from fake_provider.latency import Latency
from tests.fuzz.search import SEARCH, TEXT, near, refused

DURATIONS = st.sampled_from(["90s", "200ms", "1h30m", "1.5", "create=20m,drain=1h"]).flatmap(near)
TARGETS = st.sampled_from(
    ["127.0.0.1:9000", "[::1]:1", "unix:/tmp/x", "dns:///a:1", "http://a:1/", "[fe80::1%eth0]:9"]
).flatmap(near)
HEADERS = st.sampled_from(["authorization=Bearer x", "x-a=", "grpc-a=1", "a-bin=1"]).flatmap(near)
SELECTIONS = st.sampled_from(["FEN-3a", "fen", "FEN-*", "LIF-1?", "[A-Z]*", "failed", "FEN,LIF-1a"]).flatmap(near)


@SEARCH
@given(TEXT | DURATIONS)
def test_a_duration_is_positive_or_a_usage_error(text: str) -> None:
    if not refused(parse_duration, text):
        seconds = parse_duration(text)
        assert math.isfinite(seconds)
        assert seconds > 0


@SEARCH
@given(TEXT | DURATIONS)
def test_a_patience_is_positive_for_each_verb_or_a_usage_error(text: str) -> None:
    if not refused(parse_patience, text):
        patience = parse_patience(text)
        assert isinstance(patience, Patience)
        assert 0 < patience.longest < math.inf
    assert refused(parse_durations, text, what="latency") == refused(parse_patience, text)


@SEARCH
@given(TEXT | DURATIONS | st.sampled_from(["100ms..300ms", "create=1s..2s,drain=500ms"]).flatmap(near))
def test_a_latency_of_the_fake_is_valid_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        latency = Latency.parse(text)
        assert 0 <= latency.create.low <= latency.create.high < math.inf


@SEARCH
@given(TEXT | TARGETS)
def test_a_target_is_a_valid_address_or_a_usage_error(text: str) -> None:
    if not refused(parse_address, text):
        address = parse_address(text)
        assert parse_address(address) == address
        assert Target(address=address)
        assert address.isprintable()
        address.encode()


@SEARCH
@given(TEXT | HEADERS)
def test_a_header_is_valid_or_a_usage_error(text: str) -> None:
    if not refused(parse_header, text):
        key, value = parse_header(text)
        assert key.isascii()
        assert key == key.lower()
        assert value.isascii()
        assert value.isprintable()


@SEARCH
@given(st.lists(TEXT | SELECTIONS, max_size=3), st.lists(SELECTIONS, max_size=2))
def test_a_selection_matches_behaviours_or_is_a_usage_error(select: list[str], exclude: list[str]) -> None:
    known = catalogue.load()
    patterns = catalogue.patterns(select), catalogue.patterns(exclude)
    if not refused(known.select, *patterns):
        assert set(known.select(*patterns)) <= set(known.entries)
