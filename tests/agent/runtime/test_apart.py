"""Threads that nobody waits for."""

from __future__ import annotations

import threading

import pytest

from agent.runtime.apart import apart


async def test_what_a_thread_raises_comes_back() -> None:
    """As if it had been called here."""
    with pytest.raises(ZeroDivisionError):
        await apart(divmod, 1, 0)
    assert await apart(divmod, 7, 2) == (3, 1)


async def test_a_thread_that_cannot_be_had_is_an_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the unit's TasksMax is reached; whoever looks up a name tries again later."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(BlockingIOError, match="can't start new thread"):
        await apart(divmod, 7, 2)
