from __future__ import annotations

import pytest

from conformance.core import catalogue
from conformance.core.catalogue import Level
from conformance.core.errors import UsageError

TEXT = """
[clause.FEN-1]
level = "MUST"
text = "Equal is   not newer."
[clause.FEN-12]
level = "SHOULD"
text = "Marks last."
[clause.LIF-1]
level = "MUST"
text = "Four edges."

[behaviour.FEN-1a]
title = "An equal token is fenced"
observed = "Twice."
since = "0.1.0"
[behaviour.FEN-1b]
title = "A lower one too"
observed = "Twice."
since = "0.1.0"
level = "MAY"
needs = ["delete"]
[behaviour.FEN-12a]
title = "A mark outlives a drain"
observed = "Drained."
since = "0.2.0"
rests_on = ["FEN-1a"]
[behaviour.LIF-1a]
title = "All the way round"
observed = "Get."
since = "0.1.0"
[behaviour.LIF-1b]
title = "No more"
observed = "Get."
since = "0.1.0"
retired = "0.2.0: LIF-1a does it"
"""


def parsed(text: str) -> catalogue.Catalogue:
    return catalogue.parse({"area.toml": text})


KNOWN = parsed(TEXT)


def ids(*patterns: str) -> list[str]:
    return sorted(KNOWN.match(patterns))


def test_an_entry_has_the_level_of_its_clause_unless_it_sets_one() -> None:
    assert [entry.level for entry in KNOWN.entries] == [Level.MUST, Level.MAY, Level.SHOULD, Level.MUST]
    assert KNOWN["FEN-1a"].clause.text == "Equal is not newer."
    assert KNOWN["FEN-1b"].needs == ("delete",)
    assert KNOWN["FEN-1a"].area == "FEN"


def test_a_retired_entry_is_no_longer_judged() -> None:
    assert "LIF-1b" not in {entry.id for entry in KNOWN.entries}


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["FEN-1a"], ["FEN-1a"]),
        (["fen-1A"], ["FEN-1a"]),
        (["FEN-1"], ["FEN-1a", "FEN-1b"]),
        (["fen"], ["FEN-12a", "FEN-1a", "FEN-1b"]),
        (["FEN-1*"], ["FEN-12a", "FEN-1a", "FEN-1b"]),
        (["*-1a"], ["FEN-1a", "LIF-1a"]),
        (["LIF", "FEN-1[b-z]"], ["FEN-1b", "LIF-1a"]),
        ([], []),
    ],
)
def test_a_pattern_is_an_id_a_clause_an_area_or_a_glob(patterns: list[str], chosen: list[str]) -> None:
    assert ids(*patterns) == chosen


@pytest.mark.parametrize(
    ("pattern", "near"), [("FEM-1b", "FEN-1b"), ("FEN-1c", "FEN-1"), ("LFI", "LIF"), ("FEN-2*", "FEN")]
)
def test_an_unknown_pattern_is_refused_with_the_nearest_names(pattern: str, near: str) -> None:
    with pytest.raises(UsageError, match="matches no behaviour") as caught:
        ids("LIF-1a", pattern)
    assert caught.value.hint is not None
    assert near in caught.value.hint.partition("?")[0]
    assert "conformance list" in caught.value.hint


def test_without_a_near_name_the_hint_is_only_the_list() -> None:
    with pytest.raises(UsageError) as caught:
        ids("xyzzy")
    assert caught.value.hint == "`conformance list` shows them all"


def test_an_unknown_id_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UsageError, match=r"no behaviour 'FEN-1x'; did you mean .*FEN-1"):
        KNOWN["FEN-1x"]


def test_a_selection_keeps_the_catalogues_order_and_omits_excluded_entries() -> None:
    assert [e.id for e in KNOWN.select(["LIF", "FEN"], ["FEN-1b"])] == ["FEN-1a", "FEN-12a", "LIF-1a"]
    assert [e.id for e in KNOWN.select([], ["FEN"])] == ["LIF-1a"]


def test_an_empty_selection_is_refused() -> None:
    with pytest.raises(UsageError, match="leaves no behaviour"):
        KNOWN.select(["FEN"], ["FEN-*"])


def test_an_unknown_exclusion_is_refused() -> None:
    with pytest.raises(UsageError, match="matches no behaviour"):
        KNOWN.select([], ["FEM-1"])


ENTRY = '\n[behaviour.{}]\ntitle = "t"\nobserved = "o"\nsince = "0.1.0"\n{}'


@pytest.mark.parametrize("name", ["FEN-9a", "FEN-1", "fen-1a", "FEN-1A"])
def test_an_entry_of_an_unknown_clause_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^area.toml: behaviour .* names no clause"):
        parsed(TEXT + ENTRY.format(name, ""))


def test_a_misspelt_key_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^area.toml: behaviour FEN-1z has unknown keys \['need'\]"):
        parsed(TEXT + ENTRY.format("FEN-1z", 'need = ["delete"]'))


def test_an_id_is_defined_once() -> None:
    with pytest.raises(ValueError, match="FEN-1a"):
        parsed(TEXT + ENTRY.format("FEN-1a", ""))


def test_a_level_is_one_of_three() -> None:
    with pytest.raises(ValueError, match=r"^area.toml: .*OUGHT"):
        parsed(TEXT + ENTRY.format("FEN-1z", 'level = "OUGHT"'))


def test_an_entry_without_a_required_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^area.toml: behaviour FEN-1z lacks 'observed'"):
        parsed(TEXT + '\n[behaviour.FEN-1z]\ntitle = "t"\nsince = "0.1.0"\n')


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[clause.FEN-3]\ntext = 't'", "clause FEN-3 lacks 'level'"),
        ("[clause.FEN-3]\nlevel = 'MUST'\ntext = 't'\nsince = '0.1.0'", r"clause FEN-3 has unknown keys \['since'\]"),
        ("[behavior.FEN-1z]\ntitle = 't'", r"unknown tables \['behavior'\]"),
        ("[clause.FEN-3", "Expected "),
    ],
)
def test_a_malformed_file_is_refused_with_its_name(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=f"^lane.toml: {error}"):
        catalogue.parse({"area.toml": TEXT, "lane.toml": text})


@pytest.mark.parametrize("text", ['[clause.FEN-1]\nlevel = "MUST"\ntext = "t"\n', ENTRY.format("FEN-1a", "")])
def test_an_id_is_defined_in_one_file(text: str) -> None:
    with pytest.raises(ValueError, match=r"^lane.toml: FEN-1a? is already defined in another file"):
        catalogue.parse({"area.toml": TEXT, "lane.toml": text})


def test_behaviours_may_belong_to_a_clause_of_another_file_and_rest_on_its_behaviours() -> None:
    both = catalogue.parse({"lane.toml": ENTRY.format("FEN-1scale", 'rests_on = ["FEN-1a"]'), "area.toml": TEXT})
    assert both["FEN-1scale"].clause is both["FEN-1a"].clause


def test_a_lane_reads_its_own_file() -> None:
    clauses = {clause.id: clause for clause in KNOWN.clauses}
    (entry,) = catalogue.read_entries(ENTRY.format("FEN-1scale", ""), clauses=clauses, source="scale.toml")
    assert (entry.id, entry.clause, entry.level) == ("FEN-1scale", clauses["FEN-1"], Level.MUST)
    with pytest.raises(ValueError, match=r"^scale.toml: behaviour FEN-9scale names no clause"):
        catalogue.read_entries(ENTRY.format("FEN-9scale", ""), clauses=clauses, source="scale.toml")


def test_a_must_that_no_behaviour_judges_is_uncovered() -> None:
    bare = parsed(TEXT + '\n[clause.FEN-2]\nlevel = "MUST"\ntext = "t"\n[clause.LIF-9]\nlevel = "MUST"\ntext = "t"\n')
    assert catalogue.uncovered(bare, sections=["FEN"]) == ["FEN-2"]
    assert catalogue.uncovered(KNOWN, sections=["FEN", "LIF"]) == []


def test_the_kits_own_catalogue_can_be_read() -> None:
    assert {"FEN-1a", "LIF-1a"} <= {entry.id for entry in catalogue.load().entries}


def test_an_option_may_be_repeated_and_hold_several_patterns() -> None:
    assert catalogue.patterns(["FEN-1a, LIF", "MET-*", " ,"]) == ("FEN-1a", "LIF", "MET-*")


def test_an_entry_names_what_it_rests_on() -> None:
    assert KNOWN["FEN-12a"].rests_on == ("FEN-1a",)


@pytest.mark.parametrize("ground", ["FEN-9z", "LIF-1b"])
def test_an_entry_cannot_rest_on_an_unknown_or_retired_one(ground: str) -> None:
    with pytest.raises(ValueError, match=f"FEN-12a rests on {ground}: no such behaviour"):
        parsed(TEXT.replace('rests_on = ["FEN-1a"]', f'rests_on = ["{ground}"]'))


def test_entries_cannot_rest_on_each_other() -> None:
    text = TEXT.replace('title = "An equal token is fenced"', 'title = "E"\nrests_on = ["FEN-12a"]')
    with pytest.raises(ValueError, match=r"behaviours rest on each other: .*FEN-1a"):
        parsed(text)


def test_the_grounds_of_omitted_entries_are_inherited() -> None:
    """Otherwise two failures with one cause would be reported as two causes."""
    known = catalogue.load()
    chain = ["FEN-1a"]
    while known[chain[-1]].rests_on:
        chain.append(known[chain[-1]].rests_on[0])
    top, *between, bottom = chain
    assert between
    chosen = {entry.id: entry for entry in known.among({top, bottom})}
    assert chosen[top].rests_on == (bottom,)
    assert chosen[bottom].rests_on == ()


def test_the_grounds_of_a_whole_catalogue_stay_the_same() -> None:
    known = catalogue.load()
    assert known.among({entry.id for entry in known.entries}) == known.entries
