"""From the configured clock to the one that is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.clock_choice import clock_of
from agent.net.clock import DeclaredClock, UnsynchronisedClock
from agent.net.clocks.adjtimex import AdjtimexClock
from agent.net.clocks.automatic import AutomaticClock
from agent.net.clocks.chrony import ChronyClock
from agent.net.clocks.ptp import PtpClock
from agent.runtime.exceptions import ConfigError
from agent.runtime.settings import load
from agent.settings import AgentSettings


def configured(folder: Path, clock: str) -> AgentSettings:
    """The settings of an agent with this clock."""
    file = folder / "agent.yaml"
    file.write_text(f"site: wuhan\nreflector: {{listen: ['127.0.0.1:8620'], allow: [127.0.0.1]}}\n{clock}\n")
    return load(file, AgentSettings)


@pytest.mark.parametrize(
    ("clock", "kind", "source"),
    [
        ("", AutomaticClock, "auto"),
        ("clock: {source: auto}", AutomaticClock, "auto"),
        ("clock: {source: auto, ptp_domain: 24}", AutomaticClock, "auto"),
        ("clock: {source: ptp, ptp_domain: 24}", PtpClock, "ptp"),
        ("clock: {source: chrony}", ChronyClock, "chrony"),
        ("clock: {source: adjtimex}", AdjtimexClock, "adjtimex"),
        ("clock: {source: declared, error_bound: 50us}", DeclaredClock, "declared"),
        ("clock: {source: unsynchronised}", UnsynchronisedClock, "unsynchronised"),
    ],
)
def test_the_named_clock_is_asked(clock: str, kind: type, source: str, tmp_path: Path) -> None:
    """Where none is named, it is chosen by itself."""
    settings = configured(tmp_path, clock).clock
    assert settings.source == source
    assert isinstance(clock_of(settings), kind)


@pytest.mark.parametrize(
    ("clock", "key"),
    [
        ("{source: chrony, ptp_domain: 24}", "clock.ptp_domain"),
        ("{source: ptp, ptp_domain: 128}", "clock.ptp_domain"),
        ("{source: auto, error_bound: 1ms}", "clock.error_bound"),
        ("{source: gps}", "clock.source"),
    ],
)
def test_what_a_clock_does_not_take_is_refused(clock: str, key: str, tmp_path: Path) -> None:
    """With the key that is wrong."""
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, f"clock: {clock}")
    assert [problem.key for problem in caught.value.problems] == [key]
