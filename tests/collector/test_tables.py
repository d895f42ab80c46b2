"""Tables for a terminal."""

from __future__ import annotations

from collector.documents import breach_document, judgement_document
from collector.sla.verdict import Verdict
from collector.tables import aligned, breaches_table, bucket_text, verdicts_table, width
from tests.support.verdicts import NAMES, breach, closed, judgement


def test_a_chinese_character_takes_two_columns() -> None:
    """And an accent that stands on the letter before it none."""
    assert width("武汉 → a") == 8
    assert width("e\u0301") == 1


def test_columns_stand_below_each_other_whatever_the_script() -> None:
    """Measured in columns of the terminal."""
    lines = aligned([("结论", "x"), ("PASS", "y"), ("", "z")]).splitlines()
    assert [width(line[: line.rindex(mark)]) for line, mark in zip(lines, "xyz", strict=True)] == [6, 6, 6]


def test_verdicts_are_listed_with_numbers_and_reason() -> None:
    """In the language that was asked for."""
    document = {
        "verdicts": [
            judgement_document(judgement(verdict), NAMES) for verdict in (Verdict.FAIL, Verdict.NO_DATA)
        ]
    }
    zh, en = verdicts_table(document, "zh").splitlines(), verdicts_table(document, "en").splitlines()
    assert zh[0].startswith("结论")
    assert en[0].startswith("verdict")
    assert en[1].startswith("FAIL")
    for expected in (
        "wuhan → qingyang",
        "≤ 10 ms, P99.9",
        "≤ 7.5 ms",
        "3000",
        "2921/15/3",
        "100%",
        "at least 96.9 %",
    ):
        assert expected in en[1]
    assert "至少 96.9%" in zh[1]
    assert "–" in en[2]


def test_a_percentile_is_shown_as_exactly_as_it_is_known() -> None:
    """The edge of its bucket, beyond the last edge, or nothing."""
    assert bucket_text({"above_seconds": 0.0004, "at_most_seconds": 0.0005}) == "≤ 0.5 ms"
    assert bucket_text({"above_seconds": 1.0, "at_most_seconds": None}) == "> 1000 ms"
    assert bucket_text(None) == "–"


def test_breaches_are_listed_with_their_times_of_day() -> None:
    """Shanghai time; an open one has no end."""
    open_breach = breach()
    document = {"breaches": [breach_document(one, NAMES) for one in (open_breach, closed(open_breach))]}
    head, first, second = breaches_table(document, "en").splitlines()
    assert head.split() == ["state", "opened", "closed", "summary"]
    assert first.startswith("open ")
    assert second.count("+08:00") == 3
    assert "时延" in breaches_table(document, "zh")
