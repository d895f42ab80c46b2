"""Values and their lines."""

from __future__ import annotations

import pytest
import yaml

from agent.runtime import yaml_lines
from agent.runtime.yaml_lines import Location, read

TEXT = """\
# a comment
site: wuhan
clock:
  source: declared

paths:
  - target: a
    limits: {forward: 1,
             reverse: 2}
  -
    target: b
  - - 1
    - 2
text: |
  one
  two
"""


@pytest.mark.parametrize(
    ("location", "line"),
    [
        ((), 2),
        (("site",), 2),
        (("clock",), 3),
        (("clock", "source"), 4),
        (("clock", "bound"), 3),
        (("clock", "source", "more"), 4),
        (("paths",), 6),
        (("paths", 0), 7),
        (("paths", 0, "target"), 7),
        (("paths", 0, "limits"), 8),
        (("paths", 0, "limits", "reverse"), 9),
        (("paths", 0, "limits", "round_trip"), 8),
        (("paths", 1), 11),
        (("paths", 2, 1), 13),
        (("paths", 2, 7), 12),
        (("paths", 9), 6),
        (("paths", "x"), 6),
        (("nothing",), 2),
        ((0,), 2),
    ],
)
def test_lines(location: Location, line: int) -> None:
    """A key path has the line of the most specific part of it that stands in the file."""
    assert read(TEXT).line_of(location) == line


def test_values() -> None:
    """Only true, false, null, whole numbers and decimal fractions have a type; quotes make everything text."""
    document = read(
        "[a, 5, -5, +5, 0, 1.5, -0.25, true, false, null, ~, '5', \"true\", '', True, NULL, 05, 1., 1_0, 1.5.0, "
        "1.5e-07, 1e3, 1.5e3, 1.0e+999]"
    )
    assert document.problems == []
    assert document.value == [
        "a", 5, -5, 5, 0, 1.5, -0.25, True, False, None, None, "5", "true", "", "True", "NULL", "05", "1.", "1_0",
        "1.5.0", 1.5e-7, "1e3", "1.5e3", "1.0e+999",
    ]  # fmt: skip


def test_nothing_written() -> None:
    """A key without a value has none."""
    assert read("a:\nb: ''\nc: |\n").value == {"a": None, "b": "", "c": ""}


def test_lines_of_odd_ends() -> None:
    """Every line end of YAML counts as one, Windows' two characters too."""
    document = read("a: 1\r\nb: 2\rc: 3\nd: 4")
    assert [document.line_of((key,)) for key in "abcd"] == [1, 2, 3, 4]


def test_what_was_read() -> None:
    """A value that could not be read is known, and so is all that would stand in it."""
    document = read("a: {b: *c, d: 1}")
    assert not document.was_read(("a", "b"))
    assert not document.was_read(("a", "b", "e"))
    assert document.was_read(("a",))
    assert document.was_read(("a", "d"))


def test_escapes_beyond_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    """An escape that means no character is a problem, also where Python's own `chr` is the judge."""
    monkeypatch.setattr(yaml_lines, "_Loader", yaml.SafeLoader)
    assert [message for _, _, message in read('"\\U00110000"').problems] == [
        "not YAML: chr() arg not in range(0x110000)"
    ]


def test_wide_but_shallow() -> None:
    """Many values are no mistake: only aliases and depth are bounded."""
    document = read("- a\n" * 50_000)
    assert document.problems == []
    assert document.line_of((49_999,)) == 50_000


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{a: " * 10_000, "? " * 10_000, "- " * 10_000, "{? " * 10_000]
)
def test_depth_is_bounded(text: str) -> None:
    """However deep a file nests, reading it ends soon, with a problem."""
    document = read(text)
    assert document.value is None
    assert 1 <= len(document.problems) <= 33
