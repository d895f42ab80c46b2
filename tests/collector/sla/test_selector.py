"""Which paths a selector means."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.sla.selector import PathFacts, Selector
from collector.sla.verdict import PathKey

FACTS = PathFacts(
    PathKey("wuhan", "yichang", "province", "telecom", "stamp", 0),
    districts=frozenset({"洪山区", "西陵区"}),
    sites=frozenset({"wuhan", "yichang"}),
    tags=frozenset({"direct-link"}),
)
NAMED = {
    "tiers": "province",
    "providers": "telecom",
    "districts": "西陵区",
    "sites": "yichang",
    "sources": "wuhan",
    "targets": "yichang",
    "tags": "direct-link",
}


def test_an_empty_selector_means_every_path() -> None:
    """Also one of which nothing is known."""
    assert Selector().matches(FACTS)
    assert Selector().matches(PathFacts(FACTS.key))


@pytest.mark.parametrize("field", [field.name for field in fields(Selector)])
def test_each_field_chooses_by_what_it_names(field: str) -> None:
    """One of several names is enough; none of them is not."""
    assert Selector(**{field: frozenset({NAMED[field], "other"})}).matches(FACTS)
    assert not Selector(**{field: frozenset({"other"})}).matches(FACTS)


@given(st.dictionaries(st.sampled_from(sorted(NAMED)), st.booleans()))
def test_all_fields_must_agree(right: dict[str, bool]) -> None:
    """One that names something else is enough to let the path out."""
    selector = Selector(
        **{field: frozenset({NAMED[field] if yes else "other"}) for field, yes in right.items()}
    )
    assert selector.matches(FACTS) == all(right.values())


def test_source_and_target_are_told_apart() -> None:
    """A site is at either end, a source at one."""
    assert Selector(sites=frozenset({"wuhan"})).matches(FACTS)
    assert not Selector(targets=frozenset({"wuhan"})).matches(FACTS)
