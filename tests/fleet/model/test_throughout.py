"""The catalogue says what the model checks: a sentence for exactly the clauses that the model can find broken."""

from __future__ import annotations

import re
from pathlib import Path

from conformance import lanes
from conformance.core import catalogue
from conformance.core.catalogue import clause_of
from conformance.fleet import model

BEHAVIOUR = re.compile(r'"([A-Z]{3}-\d+[a-z])"')


def test_the_catalogue_describes_exactly_the_clauses_that_the_model_judges() -> None:
    sources = Path(model.__file__).parent.glob("*.py")
    named = {name for path in sources for name in BEHAVIOUR.findall(path.read_text(encoding="utf-8"))}
    assert {entry.id for entry in lanes.entries()} >= named
    judged = {clause_of(name) for name in named}
    assert {clause.id for clause in catalogue.load().clauses if clause.throughout} == judged
