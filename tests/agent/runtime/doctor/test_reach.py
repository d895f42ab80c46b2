"""Names and connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.doctor import reach
from agent.runtime.doctor.diagnosis import Severity
from agent.runtime.doctor.reach import MOST_SHOWN, NameAnswer, connect, judge_names, look_up
from tests.support.processes import free_port
from tests.support.requirements import require_binary

RESOLVED = NameAnswer(("192.0.2.1",), seconds=0.01)


@given(st.integers(0, 40), st.integers(0, 3), st.integers(0, 3))
def test_every_name_that_fails_is_counted(failed: int, slow: int, addresses: int) -> None:
    """One by one as long as they are few; addresses are no names, and slow ones only a warning."""
    answers = {f"failed{number}.example": NameAnswer(failure="no such name") for number in range(failed)}
    answers |= {f"slow{number}.example": NameAnswer(("192.0.2.2",), seconds=3.0) for number in range(slow)}
    answers |= {f"192.0.2.{10 + number}": RESOLVED for number in range(addresses)}
    found = list(judge_names(answers))
    problems = [one for one in found if one.severity is Severity.PROBLEM]
    assert len(problems) == min(failed, MOST_SHOWN) + (failed > MOST_SHOWN)
    assert any(one.severity is Severity.WARNING for one in found) is (slow > 0)
    assert any(one.severity is Severity.OK for one in found) is (not failed and not slow)


async def test_hosts_are_looked_up_once_and_addresses_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as the system resolves it; what is no name fails without an exception."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def counted(host: str, *arguments: object, **more: object) -> object:
        asked.append(host)
        return real(host, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", counted)
    found = await look_up(["localhost", "127.0.0.1", "::1", "localhost", "a" * 64])
    assert sorted(asked) == ["a" * 64, "localhost"]
    assert found["127.0.0.1"] == NameAnswer(("127.0.0.1",))
    assert {"127.0.0.1", "::1"} & set(found["localhost"].addresses)
    assert found["a" * 64].addresses == ()
    assert found["a" * 64].failure


async def test_a_dead_resolver_takes_no_more_time_of_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that it was not asked for any more fail as well, and say so; addresses are none of them."""
    stuck = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: stuck.wait() or [])
    monkeypatch.setattr(reach, "_LOOKUPS_S", 0.2)
    begun = time.monotonic()
    found = await look_up(["192.0.2.1", *(f"{number}.example" for number in range(200))])
    stuck.set()
    assert time.monotonic() - begun < 3
    assert found.pop("192.0.2.1").addresses
    assert {answer.addresses for answer in found.values()} == {()}
    assert sum(answer.failure.startswith("not asked") for answer in found.values()) == 200 - 32


async def test_a_server_is_reached_or_not() -> None:
    """Without a word to it."""
    said = asyncio.Event()

    async def hears(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        said.set()
        writer.close()

    async with await asyncio.start_server(hears, "127.0.0.1", 0) as server:
        found = await connect("127.0.0.1", server.sockets[0].getsockname()[1])
        await asyncio.wait_for(said.wait(), 5)
    assert (found.failure, found.certificate_days) == ("", None)
    assert (await connect("127.0.0.1", free_port())).failure == "Connection refused"


async def test_a_certificate_that_nobody_vouches_for_is_told(tmp_path: Path) -> None:
    """And a server without TLS too."""
    openssl = require_binary("openssl")
    subprocess.run(
        [
            openssl,
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-keyout", tmp_path / "key", "-out", tmp_path / "certificate"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")

    async def ends(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(ends, "127.0.0.1", 0, ssl=context) as server:
        found = await connect("127.0.0.1", server.sockets[0].getsockname()[1], "localhost")
    assert found.certificate
    assert "self" in found.failure
    async with await asyncio.start_server(ends, "127.0.0.1", 0) as plain:
        found = await connect("127.0.0.1", plain.sockets[0].getsockname()[1], "localhost")
    assert found.failure
    assert not found.certificate
