"""Files of secrets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.doctor.diagnosis import Severity
from agent.runtime.doctor.files import SecretFacts, gather_secret, judge_secret, look_as_service

CONTENT = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@given(st.integers(0, 0o777), st.booleans(), st.sampled_from(["", "is empty"]))
def test_a_secret_that_others_can_read_is_a_problem(mode: int, handed_over: bool, complaint: str) -> None:
    """Unless systemd has handed it over, whose access list stands in the mode for a group's rights."""
    facts = SecretFacts("api.token_file", Path("token"), mode, 0, "", handed_over, complaint)
    is_open = bool(mode & 0o077) and not handed_over
    assert (judge_secret(facts).severity is Severity.PROBLEM) is (is_open or bool(complaint))


@pytest.mark.parametrize(("mode", "severity"), [(0o600, Severity.OK), (0o644, Severity.PROBLEM)])
def test_a_file_is_looked_at_and_never_into(tmp_path: Path, mode: int, severity: Severity) -> None:
    """Its mode and its name are shown."""
    file = tmp_path / "key"
    file.write_text(CONTENT, encoding="ascii")
    file.chmod(mode)
    found = judge_secret(gather_secret("alerts.webhooks[0].secret_file", file))
    assert found.severity is severity
    assert found.numbers == {"mode": f"{mode:04o}", "owner": os.geteuid()}
    assert CONTENT not in str(found.document())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Is a problem; one that systemd hands to the service alone is only said to be unseen."""
    missing = judge_secret(gather_secret("credentials", tmp_path / "none"))
    assert missing.severity is Severity.PROBLEM
    assert "No such file" in missing.found.en
    unseen = judge_secret(
        gather_secret("credentials", Path("/run/credentials/isochrone-none.service/secret_key"))
    )
    assert unseen.severity is Severity.NOTE


def test_a_unit_without_credentials_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is what systemd gave to this process forgotten."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/given")
    look_as_service("isochrone-none.service")
    assert os.environ["CREDENTIALS_DIRECTORY"] == "/given"
