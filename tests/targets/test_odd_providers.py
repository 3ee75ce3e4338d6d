"""Unusual but conformant providers are judged conformant, and a run leaves no machine on them."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

import pytest
from bigfleet.v1alpha1 import provider_pb2 as pb

import conformance.suite
from conformance.core import catalogue
from conformance.frontends import collection
from conformance.testkit.behaviour import declaration_of
from tests.provider_process import IDLE, SELECT, judge, serving

if TYPE_CHECKING:
    from pathlib import Path

ODD = {
    "few machines": (("--machines", "4"), ()),
    "a shard's mark": (("--fence-scope", "shard"), ("--fence-scope", "shard")),
    "a mark for each machine": (("--fence-scope", "shard-machine"), ("--fence-scope", "shard-machine")),
    "no revisions": (("--no-revisions",), ()),
    "far away": (("--rpc-delay", "50ms", "--machines", "16"), ()),
}


def machines_needed() -> int:
    """Returns the number of machines that the whole suite needs."""
    modules = (f"conformance.suite.{module.name}" for module in pkgutil.iter_modules(conformance.suite.__path__))
    bodies = [value for name in modules for value in vars(importlib.import_module(name)).values()]
    return max(b.needs.machines for b in collection.plan(catalogue.load(), [b for b in bodies if declaration_of(b)]))


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", ODD)
def test_an_odd_provider_is_conformant_and_all_machines_are_returned(name: str, tmp_path: Path) -> None:
    options, extra_options = ODD[name]
    with serving(*options) as provider:
        done = judge(provider, *SELECT, *extra_options, directory=tmp_path, limit=120)
        assert done.code == 0, done.text
        assert "CONFORMANT" in done.verdict
        assert provider.away() == {}


@pytest.mark.timeout(150)
@pytest.mark.parametrize("machines", ["64"])
def test_without_delete_created_machines_stay_idle_and_unbound(machines: str, tmp_path: Path) -> None:
    with serving("--no-delete", "--machines", machines) as provider:
        done = judge(provider, *SELECT, directory=tmp_path, limit=120)
        assert done.code == 0, done.text
        assert set(provider.states()) <= {"SPECULATIVE", "IDLE"}
        assert {m.cluster for m in provider.machines().values()} == {""}


@pytest.mark.timeout(150)
def test_a_pool_of_idle_machines_without_delete_needs_use_idle(tmp_path: Path) -> None:
    with serving("--no-delete", "--idle", "8", "--machines", "8") as provider:
        before = provider.machines()
        refused = judge(provider, *SELECT, directory=tmp_path / "without", limit=120)
        assert refused.code == 3
        assert "--use-idle" in refused.err
        assert provider.machines() == before
        done = judge(provider, *SELECT, "--use-idle", directory=tmp_path / "with", limit=120)
        assert done.code == 0, done.text
        assert provider.machines() == before


@pytest.mark.timeout(150)
def test_idle_machines_are_not_touched(tmp_path: Path) -> None:
    with serving("--idle", "8", "--machines", "16") as provider:
        before = provider.machines()
        done = judge(provider, *SELECT, directory=tmp_path, limit=120)
        assert done.code == 0, done.text
        assert provider.machines() == before
        ledger = (tmp_path / "ledger.ndjson").read_text(encoding="utf-8")
        idle = [i for i, m in before.items() if m.state == IDLE]
        assert len(idle) == 8
        assert not [i for i in idle if f'"{i}"' in ledger]


@pytest.mark.timeout(150)
def test_idle_machines_are_restored_if_they_may_be_used(tmp_path: Path) -> None:
    with serving("--idle", "8", "--machines", "16") as provider:
        before = provider.machines()
        done = judge(provider, *SELECT, "--use-idle", directory=tmp_path, limit=120)
        assert done.code == 0, done.text
        assert {i: m.state for i, m in provider.machines().items()} == {i: m.state for i, m in before.items()}
        assert {m.cluster for m in provider.machines().values()} == {""}


def test_too_few_machines_is_an_error_before_any_call(tmp_path: Path) -> None:
    needed = machines_needed()
    with serving("--machines", str(needed - 1)) as provider:
        listing = provider.stub.List(pb.ListFilter())
        done = judge(provider, directory=tmp_path)
        assert done.code == 3
        assert "too few machines" in done.err.splitlines()[0]
        assert "nothing was touched" in done.err.splitlines()[0]
        assert provider.stub.List(pb.ListFilter(since_revision=listing.revision)).machines == []
        assert provider.stub.List(pb.ListFilter()) == listing
        assert not (tmp_path / "ledger.ndjson").exists()
