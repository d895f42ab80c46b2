"""Files with secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.runtime.exceptions import ConfigError
from agent.runtime.secret_files import bears, load_token

TOKEN = "a-token-of-the-tests-0123456789"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a token, for its owner's eyes."""
    made = tmp_path / "token"
    made.write_text(TOKEN + "\n", encoding="ascii")
    made.chmod(0o600)
    return made


def test_a_token_is_the_one_line_of_its_file(file: Path) -> None:
    """Without the line's end."""
    assert load_token(file) == TOKEN


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_open_is_refused(file: Path, mode: int) -> None:
    """Whoever they are."""
    file.chmod(mode)
    with pytest.raises(ConfigError, match="others have access") as refused:
        load_token(file)
    assert TOKEN not in str(refused.value)


def test_a_credential_that_systemd_hands_over_is_not_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its access list shows in the mode as the group's right to read; what lies elsewhere is refused as ever."""
    file.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent))
    assert load_token(file) == TOKEN
    file.chmod(0o444)
    with pytest.raises(ConfigError, match="others have access"):
        load_token(file)
    file.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent / "elsewhere"))
    with pytest.raises(ConfigError, match="others have access"):
        load_token(file)


@pytest.mark.parametrize(
    "header", ["", TOKEN, f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer t\xf6k\xe9n", "Bearer \udc80"]
)
def test_only_the_token_itself_is_accepted(header: str) -> None:
    """As a bearer token."""
    assert not bears(header, TOKEN)
    assert bears(f"Bearer {TOKEN}", TOKEN)
    assert bears(f"bearer {TOKEN}", TOKEN)
