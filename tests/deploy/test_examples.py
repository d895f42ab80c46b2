"""The configurations that are shipped."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from agent.runtime.settings import load
from agent.settings import AgentSettings
from collector.fleet.settings import FleetSettings
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


def test_what_the_fleets_example_mentions_of_lines_can_be_said_too(tmp_path: Path) -> None:
    """Pilots and their objective are read as they stand, where their sites take part."""
    text = (DEPLOY / "examples" / "fleet.yaml").read_text()
    first, lines, rest = re.split("(?s)(# throughput:.*?\n)(?=\n)", text, maxsplit=1)
    text = first.replace("  # - {id: pilots", "  - {id: pilots") + re.sub("(?m)^# ", "", lines) + rest
    fleet = yaml.safe_load(text)
    example, second = fleet["sites"]
    example["throughput"] = {"token_file": "token", "listen": "127.0.0.1:9462"}
    second |= {"agent": "192.0.2.1:9461", "throughput": {"token_file": "token"}}
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(fleet))
    settings = load(file, FleetSettings, files=False)
    assert len(settings.lines) == 1
    assert [one.measure.value for one in settings.objectives] == ["delay", "throughput"]
    assert not [one for one in settings.warnings() if "throughput" in one or "pilots" in one]


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
