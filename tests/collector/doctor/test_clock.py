"""The collector's clock against others'."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.doctor.diagnosis import Severity
from agent.runtime.doctor.reach import NameAnswer
from collector.doctor.clock import DifferenceFacts, gather_difference, judge_difference
from tests.support.processes import free_port

NAMES = {"127.0.0.1": NameAnswer(("127.0.0.1",))}


@given(st.dictionaries(st.text(max_size=3), st.floats(-1e5, 1e5), min_size=1, max_size=9))
def test_most_decide(ahead: dict[str, float]) -> None:
    """One that is wrong among many that agree with ours changes nothing; ahead or behind is the same."""
    (found,) = judge_difference(DifferenceFacts(ahead))
    (mirrored,) = judge_difference(DifferenceFacts({name: -seconds for name, seconds in ahead.items()}))
    assert found.severity is mirrored.severity
    within = sum(abs(seconds) < 2 for seconds in ahead.values())
    if 2 * within > len(ahead) + 1:
        assert found.severity is Severity.OK


@pytest.mark.parametrize(
    ("seconds", "severity"), [(0.4, Severity.OK), (3.0, Severity.WARNING), (-3600.0, Severity.PROBLEM)]
)
def test_differences(seconds: float, severity: Severity) -> None:
    """A second is within what a header can tell."""
    (found,) = judge_difference(DifferenceFacts({"am": seconds}))
    assert found.severity is severity


async def test_any_answer_tells_the_time() -> None:
    """Whatever its status; who does not answer, or tells no time, is not compared with."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        date = formatdate(time() + 100, usegmt=True)
        writer.write(f"HTTP/1.1 404 No\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        here = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/-/healthy"
        found = await gather_difference([here, f"http://127.0.0.1:{free_port()}/"], NAMES)
    assert list(found.ahead_seconds) == [here]
    assert found.ahead_seconds[here] == pytest.approx(100, abs=1.5)
    (note,) = judge_difference(await gather_difference([], NAMES))
    assert note.severity is Severity.NOTE
