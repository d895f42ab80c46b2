"""How values appear in messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.wording import alternatives, is_secret, key_path, one_line, quoted, without


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", '"a"'),
        (None, "nothing"),
        (True, '"true"'),
        (5, '"5"'),
        ({}, "a mapping"),
        ([1], "a list"),
        ("武汉", '"武汉"'),
        ("a\nb\x1b[31m", '"a\\nb\\x1b[31m"'),
        ("a" * 61, f'"{"a" * 60}…"'),
        ("https://user:pass@host:80/hook?access_token=x", '"https://host:80/…"'),
        ("https://host", '"https://host"'),
        ("https://host/", '"https://host"'),
        ("https://host?token=x", '"https://host/…"'),
    ],
)
def test_quoted(value: object, shown: str) -> None:
    """A value is shown in quotes, short, on one line, and a URL without what may be a credential."""
    assert quoted(value) == shown


@given(st.text())
def test_one_line(text: str) -> None:
    """Whatever the text, what is shown prints on one line."""
    assert one_line(text).isprintable()
    assert text.isprintable() == (one_line(text) == text)


def test_key_path() -> None:
    """Key paths are written as one would type them; what is no plain word stands in quotes."""
    assert key_path(()) == ""
    assert key_path(("paths", 1, "interval")) == "paths[1].interval"
    assert key_path(("tiers", "市内", "a.b", "")) == 'tiers.市内."a.b".""'
    assert key_path((0, "a")) == "[0].a"


def test_secrets_by_name() -> None:
    """A key is secret if its name, or that of what it is part of, says so."""
    assert is_secret(("hooks", 0, "secret_file"))
    assert is_secret(("api_KEYS", 0))
    assert not is_secret(("hooks", 0, "url"))


@pytest.mark.parametrize(
    ("message", "value", "safe"),
    [
        ('"abcdef" is no duration', "abcdef", "the value is no duration"),
        ("'abcdef' is no duration", "abcdef", "the value is no duration"),
        ("begins with abcd", "abcdef", "the value is not accepted"),
        ("at least 5", 5, "the value is not accepted"),
        ('"" is too short', "", '"" is too short'),
        ("is missing", {"a": 1}, "is missing"),
    ],
)
def test_without(message: str, value: object, safe: str) -> None:
    """A message about a secret shows neither the value nor its beginning."""
    assert without(message, value) == safe


def test_alternatives() -> None:
    """Choices read as a person would say them."""
    assert [alternatives(words) for words in ("a", "ab", "abc")] == ["a", "a or b", "a, b or c"]
