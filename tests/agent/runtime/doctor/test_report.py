"""Diagnoses as a person and as a program read them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.names import Name
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Severity, worst
from agent.runtime.doctor.report import document, exit_status, text
from agent.runtime.lifecycle import ExitStatus

KEYS = ("id", "subject", "severity", "found", "why", "remedy", "numbers")
CHECK = Check("some.thing", Name("为何", "why so"))

names = st.builds(Name, st.text(max_size=20), st.text(max_size=20))
diagnoses = st.builds(
    Diagnosis,
    st.sampled_from(["a.b", "c.d"]),
    st.sampled_from(Severity),
    names,
    names,
    st.none() | names,
    st.text(max_size=20),
    st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=3),
)


@given(st.lists(diagnoses, max_size=8))
def test_the_exit_status_is_that_of_the_worst(found: list[Diagnosis]) -> None:
    """1 where there is a problem, 0 where there is none, whatever else there is."""
    problems = any(one.severity is Severity.PROBLEM for one in found)
    assert exit_status(found) is (ExitStatus.FAILED if problems else ExitStatus.OK)
    assert all(one.severity <= worst(found) for one in found)


@given(st.lists(diagnoses, max_size=8))
def test_the_document_holds_every_finding(found: list[Diagnosis]) -> None:
    """In order, with the same keys in each, counted by severity; and it is JSON."""
    told = json.loads(json.dumps(document("isochrone-agent", None, found)))
    assert list(told) == ["program", "version", "config", "severity", "counts", "findings"]
    assert [one["id"] for one in told["findings"]] == [one.id for one in found]
    assert all(tuple(one) == KEYS for one in told["findings"])
    assert sum(told["counts"].values()) == len(found)
    assert told["severity"] == worst(found).label


@given(st.lists(diagnoses, max_size=8), st.sampled_from(["zh", "en"]))
def test_nothing_found_can_forge_a_line(found: list[Diagnosis], lang: str) -> None:
    """Each finding is one line with its sign, whatever a name or a subject holds."""
    lines = text(found, lang).split("\n")
    assert sum(line[:2] in ("✓ ", "· ", "! ", "✗ ") for line in lines) == len(found)
    assert not any(char < " " for line in lines for char in line)


def test_what_is_bad_comes_last_with_its_remedy() -> None:
    """And what several have in common is said once."""
    remedy = Name("这样做", "do this")
    found = [
        CHECK.problem(Name("坏", "bad"), remedy, "first"),
        CHECK.ok(Name("好", "good")),
        CHECK.problem(Name("坏", "bad"), remedy, "second"),
    ]
    assert text(found, "en").splitlines() == [
        "✓ ok some.thing: good",
        "✗ problem some.thing first: bad",
        "✗ problem some.thing second: bad",
        "    why: why so",
        "    remedy: do this",
        "",
        "2 problem, 1 ok",
    ]
    assert "处理: 这样做" in text(found, "zh")


@pytest.mark.parametrize("severity", Severity)
def test_severities_have_stable_labels(severity: Severity) -> None:
    """Programs read them."""
    assert severity.label in ("ok", "note", "warning", "problem")
