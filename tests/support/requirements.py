"""What a test needs of its machine. Where that is missing the test is skipped and says what; in a run that must be
complete (ISOCHRONE_REQUIRE_ALL=1) it fails instead.
"""

from __future__ import annotations

import os
import shutil
import socket

import pytest


def require(condition: bool, reason: str) -> None:
    """Go on only where the condition holds.

    Args:
        condition: what is needed.
        reason: what is missing, in words.
    """
    if condition:
        return
    if os.environ.get("ISOCHRONE_REQUIRE_ALL") == "1":
        pytest.fail(f"required: {reason}")
    pytest.skip(reason)


def require_binary(name: str) -> str:
    """Go on only where a program is installed; its path."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    require(found is not None, f"{name} is not installed")
    return found or name


def require_root() -> None:
    """Go on only as root."""
    require(os.geteuid() == 0, "not root")


def require_ipv6() -> None:
    """Go on only where IPv6 works on loopback."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as trial:
            trial.bind(("::1", 0))
    except OSError as error:
        require(False, f"no IPv6 on loopback: {error}")
