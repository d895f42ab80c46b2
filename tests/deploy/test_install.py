"""What `deploy/install` refuses before it touches anything, and what it says it would do; all else is tried on a
machine of its own (test_boot.py).
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

INSTALL = Path(__file__).resolve().parents[2] / "deploy/install"


def called(*arguments: str, path: str = os.environ["PATH"]) -> tuple[int, str, str]:
    """Exit status, what was printed, and what was complained of."""
    done = subprocess.run(
        [INSTALL, *arguments], capture_output=True, text=True, check=False, env={"PATH": path}, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("reflector",),
        ("agent", "collector"),
        ("check",),
        ("rollback", "agent"),
        ("check agent",),
        ("uninstall agent",),
        ("agent", "--force"),
        ("check", "agent", "--dry-run"),
        ("agent", "--purge"),
        ("rollback", "--purge"),
        ("uninstall", "agent", "--wheelhouse"),
    ],
)
def test_what_is_no_command_is_refused(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """With status 2, a word on why, and nothing done: neither stray options nor two words in one."""
    (tmp_path / "isochrone-1-py3-none-any.whl").touch()
    wheels = (str(tmp_path),) if arguments[-1:] == ("--wheelhouse",) else ()
    status, said, complained = called(*arguments, *wheels)
    assert (status, said) == (2, "")
    assert "usage: " in complained or "install: " in complained


def test_a_folder_without_our_wheels_is_no_wheelhouse(tmp_path: Path) -> None:
    """It is said at once, not by pip when half is done."""
    (tmp_path / "numpy-2-py3-none-any.whl").touch()
    for folder in (tmp_path, tmp_path / "none"):
        status, said, complained = called("agent", "--dry-run", "--wheelhouse", str(folder))
        assert (status, said) == (2, "")
        assert "--wheelhouse needs a folder of wheels, isochrone's among them" in complained


def test_another_python_is_another_release(tmp_path: Path) -> None:
    """Installing again after the system's Python has changed builds the environment anew; else it does not."""
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho 3 99\n", encoding="utf-8")
    python.chmod(0o755)
    names = []
    for path in (os.environ["PATH"], os.environ["PATH"], f"{tmp_path}:{os.environ['PATH']}"):
        status, said, _ = called("agent", "--dry-run", path=path)
        assert status == 0
        names += re.findall(r"python3 -m venv (\S+)", said)
    assert len(names) == 3
    assert names[0] == names[1] != names[2]
