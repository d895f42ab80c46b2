"""Receivers and their secret files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from collector.alerts.targets import UnusableFile, file_problem, webhook_target
from collector.urls import split

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True)
class Settings:
    """A receiver in the fleet file."""

    name: str = "noc"
    url: str | None = None
    url_file: Path | None = None
    secret_file: Path | None = None


def test_files_are_found_beside_the_fleet_file(tmp_path: Path) -> None:
    """Address and secrets are read, lines trimmed; two secrets are two keys."""
    (tmp_path / "noc.url").write_text("https://noc.example/hook/abc\n")
    (tmp_path / "noc.secret").write_text(f"{SECRET}\n\n  {SECRET}\n")
    target = webhook_target(Settings(url_file=Path("noc.url"), secret_file=Path("noc.secret")), tmp_path)
    assert target.url == "https://noc.example/hook/abc"
    assert len(target.keys) == 2
    assert target.shown == "webhook:noc (noc.example)"


def test_a_receiver_without_files_is_taken_as_it_is(tmp_path: Path) -> None:
    """The address may stand in the fleet file, and messages may be unsigned."""
    target = webhook_target(Settings(url="http://127.0.0.1:1/x"), tmp_path)
    assert (target.url, target.keys) == ("http://127.0.0.1:1/x", ())


@pytest.mark.parametrize(
    ("key", "content", "complaint"),
    [
        ("url_file", b"ftp://very-secret/x", "is no address to post to"),
        ("secret_file", b"whsec_very-secret!", "is no secret"),
        ("secret_file", None, "cannot be read: No such file or directory"),
        ("secret_file", b"\xffvery-secret", "is not UTF-8 text"),
        ("secret_file", b"\n", "is empty"),
        ("secret_file", b"x" * 70_000, "is larger than 64 KiB"),
    ],
)
def test_an_unusable_file_is_named_and_not_quoted(
    tmp_path: Path, key: str, content: bytes | None, complaint: str
) -> None:
    """The key that names it is told; what the file holds stays in it."""
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(UnusableFile, match=complaint) as refused:
        webhook_target(replace(Settings(url="http://a"), **{key: Path("file")}), tmp_path)  # type: ignore[arg-type]
    assert refused.value.key == key
    assert "very-secret" not in str(refused.value)


def test_each_file_of_a_receiver_is_judged_by_itself(tmp_path: Path) -> None:
    """An unusable address hides no unusable secret."""
    both = Settings(url_file=Path("none.url"), secret_file=Path("none.secret"))
    for key in ("url_file", "secret_file"):
        assert file_problem(both, key, tmp_path) == "cannot be read: No such file or directory"
        assert file_problem(Settings(url="http://a"), key, tmp_path) is None


@pytest.mark.parametrize(
    "url", ["", "noc.example/hook", "http://", "https://[::1", "http://a:99999", "http://a b/", "file:///etc"]
)
def test_what_cannot_be_posted_to_is_refused_unquoted(url: str) -> None:
    """The address may be a secret."""
    with pytest.raises(ValueError, match="is no address to post to") as refused:
        split(url)
    assert "example" not in str(refused.value)
