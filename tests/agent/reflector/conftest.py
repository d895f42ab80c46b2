"""Reflectors and their peers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agent.reflector import stamp as reflector_module
from tests.support.reflectors import Stage


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """An empty stage."""
    made = Stage()
    yield made
    made.close()


@pytest.fixture(params=["few", "many"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one and as columns, whatever the number."""
    monkeypatch.setattr(reflector_module, "_FEW", 10_000 if request.param == "few" else 0)
