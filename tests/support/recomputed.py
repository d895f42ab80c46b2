"""What the program that recomputes verdicts says of documents, in a process that has nothing but Python."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "deploy/recompute.py"


def recompute(document: Mapping[str, Any]) -> tuple[int, list[str]]:
    """The status and the lines of the program, on verdicts or breaches."""
    done = subprocess.run(
        [sys.executable, "-I", SCRIPT],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()
