"""The role that installs agents by the hundred."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.support.requirements import require_binary

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ANSIBLE = DEPLOY / "ansible"


def test_ansible_understands_the_playbook(tmp_path: Path) -> None:
    """With the role, its handlers and the example inventory."""
    playbook = require_binary("ansible-playbook")
    done = subprocess.run(
        [playbook, "--syntax-check", "--inventory", ANSIBLE / "inventory.yaml", ANSIBLE / "site.yaml"],
        cwd=ANSIBLE,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_it_calls_what_the_guide_calls() -> None:
    """The same commands with the same arguments: what is tried there holds here."""
    role = "\n".join(file.read_text(encoding="utf-8") for file in ANSIBLE.glob("roles/*/*/*.yaml"))
    guide = (DEPLOY / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"(?:cmd: |^)(/srv/isochrone/deploy/install [^}\n]*)", role, re.MULTILINE)
    assert len(commands) == 2
    assert all(command.rstrip("}") in guide for command in commands)
