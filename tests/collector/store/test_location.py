"""Where a collector's state is, as the fleet file says it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import URL

from agent.runtime.exceptions import ConfigError
from agent.runtime.settings import parse
from collector.fleet.settings import FleetSettings
from collector.store.location import location
from tests.support.fleets import FLEET


def refusal(tmp_path: Path, text: str) -> str:
    """What is said of a fleet file with these lines more."""
    with pytest.raises(ConfigError) as refused:
        parse(FLEET + text, FleetSettings, "fleet.yaml", tmp_path)
    return str(refused.value)


def test_a_database_is_an_address_without_a_password_or_a_file_with_one(tmp_path: Path) -> None:
    """A password in a fleet file ends up in its repository."""
    (tmp_path / "state.url").write_text("postgresql://me:pw@db/isochrone\n")
    for accepted in ("state: postgresql://me@db/isochrone\n", "state_url_file: state.url\n"):
        read = parse(FLEET + accepted, FleetSettings, "fleet.yaml", tmp_path)
        where = location(read.state, read.state_url_file, tmp_path)
        assert isinstance(where, URL)
        assert (where.host, where.database) == ("db", "isochrone")
        assert "pw" not in f"{read!r} {where}"
    assert location("state.sqlite", None, tmp_path) == tmp_path / "state.sqlite"


def test_what_libpq_calls_it_the_driver_is_told_in_its_own_words(tmp_path: Path) -> None:
    """And a password among the parameters is as little shown as one before the host."""
    (tmp_path / "state.url").write_text(
        "postgresql://me@db/isochrone?sslmode=require&password=pw&host=a&host=b\n"
    )
    where = location("", Path("state.url"), tmp_path)
    assert isinstance(where, URL)
    assert where.query == {"ssl": "require", "host": ("a", "b")}
    assert where.password == "pw"
    assert "pw" not in f"{where} {where!r}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("state: 'postgresql://me:pw@db/isochrone'", "state: holds a password"),
        ("state: 'postgresql://me@db/isochrone?password=pw'", "state: holds a password"),
        (
            "state: 'postgresql://me@db/isochrone?sslcert=/x'",
            "state: has the parameter sslcert; accepted: host",
        ),
        ("state: 'postgresql://me@db/isochrone?port=x'", "state: has a port that is no number"),
        ("state: 'postgresql://me@db/isochrone?user=a&user=b'", "state: has the parameter user twice"),
        ("state_url_file: unknown", "state_url_file: has the parameter pass; accepted: host"),
        ("state: 'mysql://me@db/isochrone'", "state: is no address of a database"),
        ("state: 'postgresql://me@db'", "state: is no address of a database"),
        ("state: 'postgresql://me@db:x/isochrone'", "state: is no address of a database"),
        ("{state: a, state_url_file: good}", "state_url_file: one of state and state_url_file"),
        ("state_url_file: nowhere", "state_url_file: cannot be read"),
        ("state_url_file: other", "state_url_file: is no address of a database"),
        ("state_url_file: binary", "state_url_file: is not UTF-8"),
        ("state_url_file: large", "state_url_file: is larger"),
        ("minutes_kept_months: 0", "minutes_kept_months: "),
    ],
)
def test_what_is_no_database_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """With the key and what would be accepted, and never with what may be a secret."""
    (tmp_path / "good").write_text("postgresql://me:pw@db/isochrone")
    (tmp_path / "other").write_text("mysql://me:pw@db/isochrone")
    (tmp_path / "unknown").write_text("postgresql://me@db/isochrone?pass=pw")
    (tmp_path / "binary").write_bytes(b"postgresql://me:pw\xff@db/isochrone")
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    lines = text.strip("{}").replace(", ", "\n") if text.startswith("{") else text
    message = refusal(tmp_path, f"{lines}\n")
    assert said in message
    assert "pw" not in message
