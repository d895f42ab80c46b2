"""A second opinion from an iperf3 server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.core.throughput.lease import Way
from agent.runtime.quantities import Endpoint
from agent.throughput.iperf3 import Iperf3Result, cross_check
from tests.support.processes import eventually, free_port, running
from tests.support.requirements import require_binary


@pytest.mark.parametrize(
    ("printed", "result"),
    [
        ({"end": {"sum_received": {"bits_per_second": 5e9}}}, Iperf3Result(5e9)),
        (
            {"end": {}, "error": "error - the server is busy running a test. try again later"},
            Iperf3Result(None, "error - the server is busy running a test. try again later"),
        ),
        (
            {"end": {"sum_received": {"bits_per_second": 0}}},
            Iperf3Result(None, "iperf3 has received nothing"),
        ),
        ({"end": []}, Iperf3Result(None, "iperf3 says nothing that can be read")),
        ([], Iperf3Result(None, "iperf3 says nothing that can be read")),
    ],
)
def test_what_it_prints(printed: object, result: Iperf3Result) -> None:
    """A rate is that of the receiver; an error is one though it exits with 0; a rate of nothing is none."""
    assert Iperf3Result.parse(json.dumps(printed).encode()) == result


def test_nothing_printed() -> None:
    """What is no JSON is no result."""
    assert Iperf3Result.parse(b"") == Iperf3Result(None, "iperf3 says nothing that can be read")


async def test_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is no opinion, and it says so."""
    monkeypatch.setenv("PATH", "/nowhere")
    result = await cross_check(Endpoint("127.0.0.1", free_port()), Way.DOWN, 1, 1)
    assert result == Iperf3Result(None, "iperf3 is not installed")


async def test_one_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told which way, how long and with how many streams; what it prints is read whatever its status."""
    program = tmp_path / "iperf3"
    program.write_text('#!/bin/sh\necho "{\\"error\\": \\"$*\\"}"\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    result = await cross_check(Endpoint("192.0.2.1", 5201), Way.DOWN, 3, 4)
    assert result.error == "-J -c 192.0.2.1 -p 5201 -t 3 -P 4 -R"


async def test_a_real_server(tmp_path: Path) -> None:
    """Asked each way it tells a rate; while it serves another it says that it is busy, and there is no rate."""
    iperf3, log = require_binary("iperf3"), tmp_path / "serving.log"
    server = Endpoint("127.0.0.1", free_port())
    where = ("-p", str(server.port))

    async def said(words: str) -> None:
        async def found() -> bool:
            return words in log.read_text()

        await eventually(found, f"it says {words}")

    async with running([iperf3, "-s", "--forceflush", "-B", server.host, *where], log):
        await said("listening")
        other = [iperf3, "-c", server.host, *where, "-t", "30", "-b", "1M"]
        async with running(other, tmp_path / "other.log"):
            await said("connected to")
            refused = await cross_check(server, Way.DOWN, 1, 1)
        assert refused.goodput is None
        assert "busy" in refused.error
        await said("terminated")
        for way in Way:
            result = await cross_check(server, way, 1, 2)
            assert result.error == ""
            assert result.goodput is not None
            assert result.goodput > 1e6


async def test_no_server() -> None:
    """Where none listens the error is iperf3's own, in words, and there is no rate."""
    require_binary("iperf3")
    result = await cross_check(Endpoint("127.0.0.1", free_port()), Way.DOWN, 1, 1)
    assert result.goodput is None
    assert "Connection refused" in result.error
