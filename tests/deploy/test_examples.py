"""The configurations that are shipped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.runtime.settings import load
from agent.settings import AgentSettings
from tests.support.requirements import require_binary

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
EXPOSURE_BAR = 1.8


@pytest.mark.parametrize(("program", "file"), [("agent", "agent.yaml"), ("collector", "fleet.yaml")])
def test_the_examples_pass_as_shipped(tmp_path: Path, program: str, file: str) -> None:
    """`check` has nothing against them, wherever they are put."""
    shutil.copy(DEPLOY / "examples" / file, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", program, "check", "--config", tmp_path / file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ok:" in done.stdout


def test_what_the_agents_example_only_mentions_can_be_said_too(tmp_path: Path) -> None:
    """Throughput, which is off there, is read as it stands when its comment signs are taken away."""
    shown, _, mentioned = (DEPLOY / "examples" / "agent.yaml").read_text().partition("# throughput:\n")
    lines = ["throughput:", *mentioned.splitlines()]
    said = [line.removeprefix("# ") for line in lines if not line.startswith("# Lines")]
    file = tmp_path / "agent.yaml"
    file.write_text(shown + "\n".join(said) + "\n")
    settings = load(file, AgentSettings, files=False)
    assert settings.throughput is not None
    assert len(settings.throughput_paths) == 1
    assert list(settings.warnings()) == []


@pytest.mark.parametrize("unit", ["isochrone-agent.service", "isochrone-collector.service"])
def test_units_are_exposed_little(unit: str) -> None:
    """systemd's own judgement of the sandbox stays at or below what we promise."""
    require_binary("systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", DEPLOY / "systemd" / unit],
        capture_output=True,
        text=True,
        check=True,
    )
    level = done.stdout.strip().splitlines()[-1].partition("service: ")[2].split()[0]
    assert float(level) <= EXPOSURE_BAR
