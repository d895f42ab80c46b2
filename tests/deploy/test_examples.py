"""The configurations that are shipped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
