"""Receivers and their secret files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.runtime.exceptions import ConfigError
from collector.alerts.targets import check_url, webhook_targets

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
    (target,) = webhook_targets(
        [Settings(url_file=Path("noc.url"), secret_file=Path("noc.secret"))], tmp_path / "fleet.yaml"
    )
    assert target.url == "https://noc.example/hook/abc"
    assert len(target.keys) == 2
    assert target.shown == "webhook:noc (noc.example)"


def test_a_receiver_without_files_is_taken_as_it_is(tmp_path: Path) -> None:
    """The address may stand in the fleet file, and messages may be unsigned."""
    (target,) = webhook_targets([Settings(url="http://127.0.0.1:1/x")], tmp_path / "fleet.yaml")
    assert (target.url, target.keys) == ("http://127.0.0.1:1/x", ())


def test_all_unusable_files_are_named_at_once_and_none_is_quoted(tmp_path: Path) -> None:
    """Each problem has its key path; what the files hold stays in them."""
    (tmp_path / "bad.url").write_text("ftp://very-secret/x")
    (tmp_path / "bad.secret").write_text("whsec_very-secret!")
    (tmp_path / "binary").write_bytes(b"\xffvery-secret")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "large").write_text("x" * 70_000)
    with pytest.raises(ConfigError) as refused:
        webhook_targets(
            [
                Settings(url_file=Path("bad.url")),
                Settings(url="http://a", secret_file=Path("bad.secret")),
                Settings(url="http://a", secret_file=Path("absent")),
                Settings(url="http://a", secret_file=Path("binary")),
                Settings(url="http://a", secret_file=Path("empty")),
                Settings(url="http://a", secret_file=Path("large")),
            ],
            tmp_path / "fleet.yaml",
        )
    lines = str(refused.value).splitlines()
    assert len(lines) == 6
    assert "alerts.webhooks[0].url_file: is no address to post to" in lines[0]
    assert "alerts.webhooks[1].secret_file: is no secret" in lines[1]
    assert "alerts.webhooks[2].secret_file: cannot be read: No such file or directory" in lines[2]
    assert "is not UTF-8 text" in lines[3]
    assert "is empty" in lines[4]
    assert "is larger than 64 KiB" in lines[5]
    assert "very-secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["", "noc.example/hook", "http://", "https://[::1", "http://a:99999", "http://a b/", "file:///etc"]
)
def test_what_cannot_be_posted_to_is_refused_unquoted(url: str) -> None:
    """The address may be a secret."""
    with pytest.raises(ValueError, match="is no address to post to") as refused:
        check_url(url)
    assert "example" not in str(refused.value)
