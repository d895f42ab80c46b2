"""The client of the control channel, where there is no server yet."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from agent.core.throughput.result import ErrorReason
from agent.runtime.quantities import Endpoint
from agent.throughput import control_client
from agent.throughput.control_client import ControlClient, NoTest


async def _entered(host: str) -> None:
    async with ControlClient(Endpoint(host, 1), "token"):
        pass


def test_a_name_that_hangs_keeps_neither_the_test_nor_the_end_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The resolver may take its own time: the test has failed by then, with its reason, and the process may end."""
    stuck = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: stuck.wait(30) or [])
    monkeypatch.setattr(control_client, "_ANSWERS_S", 0.1)
    begun = time.monotonic()
    with pytest.raises(NoTest) as none:
        asyncio.run(_entered("hangs.example"))
    took_s = time.monotonic() - begun
    stuck.set()
    assert none.value.reason is ErrorReason.UNREACHABLE
    assert took_s < 15
