"""Names of targets: a bad one harms nobody, a changed one is followed."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agent.probes import resolution
from agent.probes.resolution import Resolver
from agent.runtime.hosts import addresses_of
from agent.runtime.quantities import Endpoint


class Names:
    """What the system's resolver says; of a name that it does not know of, nothing for as long as the test lasts."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.asked: list[str] = []
        self.over = threading.Event()

    def look_up(self, host: str, port: None, **_: object) -> list[Any]:
        """In the place of `socket.getaddrinfo`."""
        self.asked.append(host)
        if host not in self.known:
            self.over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (self.known[host], 0))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    """A resolver that hangs."""
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.look_up)
    monkeypatch.setattr(resolution, "_AGAIN_S", 0.01)
    yield names
    names.over.set()


async def test_names_that_hang_keep_no_other_from_moving(names: Names) -> None:
    """Nor a thread of the loop's own from its work, nor the end from coming: 300 of them, each asked for once."""
    found: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
    resolver = Resolver(lambda row, address: found.put_nowait((row, address)))
    names.known["good.example"] = "192.0.2.1"
    for row in range(301):
        resolver.look_up(row, Endpoint(f"bad{row}.example" if row else "good.example", 862))
    begun = time.monotonic()
    first = asyncio.create_task(resolver.resolve(range(301)))
    again = asyncio.create_task(resolver.keep_resolving())
    assert await asyncio.wait_for(found.get(), 10) == (0, "192.0.2.1")
    names.known["good.example"] = "192.0.2.2"
    assert await asyncio.wait_for(found.get(), 10) == (0, "192.0.2.2")
    assert await asyncio.to_thread(lambda: "free") == "free"
    for task in (first, again):
        task.cancel()
    await asyncio.gather(first, again, return_exceptions=True)
    assert time.monotonic() - begun < 15
    hanging = [host for host in names.asked if host != "good.example"]
    assert len(hanging) == len(set(hanging)) < 300


async def test_a_name_of_many_paths_is_asked_for_once(names: Names) -> None:
    """And told to all of them, those included that come while it is asked for."""
    found: dict[int, str] = {}
    resolver = Resolver(found.__setitem__)
    names.known["one.example"] = "192.0.2.1"
    for row in range(50):
        resolver.look_up(row, Endpoint("one.example", 862 + row))
    await asyncio.gather(resolver.resolve(range(25)), resolver.resolve(range(25, 50)))
    assert found == dict.fromkeys(range(50), "192.0.2.1")
    assert names.asked == ["one.example"]


async def test_a_failure_is_said_where_it_begins(names: Names, caplog: pytest.LogCaptureFixture) -> None:
    """Not every half minute; and again once the name had been known."""
    names.over.set()
    found: dict[int, str] = {}
    resolver = Resolver(found.__setitem__)
    resolver.look_up(0, Endpoint("late.example", 862))
    for _ in range(3):
        await resolver.resolve([0])
    assert len(caplog.messages) == 1
    names.known["late.example"] = "192.0.2.1"
    await resolver.resolve([0])
    assert found == {0: "192.0.2.1"}
    resolver.look_up(1, Endpoint("late.example", 863))
    del names.known["late.example"]
    await resolver.resolve([0, 1])
    assert len(caplog.messages) == 2
    assert found == {0: "192.0.2.1"}


@pytest.mark.parametrize("host", ["a" * 64, "a..b", ".a"])
def test_what_is_no_name_fails_as_one_that_is_unknown(host: str) -> None:
    """Whatever the system's resolver makes of it."""
    with pytest.raises(OSError, match="not a name"):
        addresses_of(host)
