"""Nothing that is looked at can keep doctor waiting."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from agent.core.names import Name
from agent.runtime.apart import apart
from agent.runtime.doctor.bounded import UNFINISHED, Shared, each, examine
from agent.runtime.doctor.diagnosis import Check, Diagnosis

WELL = Check("well", Name("", "")).ok(Name("", ""))


async def well() -> Sequence[Diagnosis]:
    """A step that ends."""
    return [WELL]


async def hangs() -> Sequence[Diagnosis]:
    """A step that does not."""
    await asyncio.Event().wait()
    return []


async def test_what_hangs_is_given_up_and_said_to_be() -> None:
    """The others' diagnoses are there, in the order of the steps."""
    begun = time.monotonic()
    found = await examine({"slow": hangs(), "quick": well()}, total_s=0.1)
    assert time.monotonic() - begun < 2
    assert [one.id for one in found] == [UNFINISHED.id, WELL.id]
    assert found[0].subject == "slow"


async def test_what_the_system_refuses_takes_nothing_else_along() -> None:
    """It is told by itself; a fault of ours is not hidden."""

    async def refused() -> Sequence[Diagnosis]:
        raise PermissionError(1, "not permitted")

    async def wrong() -> Sequence[Diagnosis]:
        raise ZeroDivisionError

    found = await examine({"odd": refused(), "quick": well()})
    assert [(one.id, one.subject) for one in found] == [(UNFINISHED.id, "odd"), (WELL.id, "")]
    assert "not permitted" in found[0].found.en
    with pytest.raises(ZeroDivisionError):
        await examine({"wrong": wrong()})


def test_a_thread_that_blocks_is_not_waited_for() -> None:
    """Neither by the examination nor by the end of the event loop."""
    stuck = threading.Event()

    async def step() -> Sequence[Diagnosis]:
        await apart(stuck.wait)
        return []

    begun = time.monotonic()
    found = asyncio.run(examine({"stuck": step()}, total_s=0.1))
    assert time.monotonic() - begun < 5
    assert [one.subject for one in found] == ["stuck"]
    stuck.set()


async def test_no_more_than_so_many_are_asked_at_once() -> None:
    """Each key once, in order, however often it is named."""
    under_way = most = 0

    async def ask(key: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return 2 * key

    assert await each([3, 1, 3, 2], ask, 2) == {3: 6, 1: 2, 2: 4}
    assert most == 2


async def test_what_is_shared_is_found_out_once() -> None:
    """And a step that is given up leaves it to the others."""
    shared, asked = Shared(), 0
    go = asyncio.Event()

    async def find() -> int:
        nonlocal asked
        asked += 1
        await go.wait()
        return 7

    first, second = (asyncio.create_task(shared.once("it", find)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await second == 7
    assert asked == 1
    await shared.close()
