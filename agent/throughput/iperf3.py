"""A second opinion from an iperf3 server: run as a client of it, and read by what it says, not by how it exits.

With `-J` iperf3 3.12 exits with status 0 where the server is busy or refuses: what has failed stands in `error`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from dataclasses import dataclass
from typing import Any, Final

from agent.core.throughput.lease import Way
from agent.runtime.quantities import Endpoint

PORT: Final = 5_201
_GRACE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Iperf3Result:
    """What it says of one way.

    Attributes:
        goodput: at the receiver, bit/s; None: it has measured nothing.
        error: why not; empty: it has.
    """

    goodput: float | None
    error: str = ""

    @classmethod
    def parse(cls, printed: bytes) -> Iperf3Result:
        """Read what `iperf3 -J` prints."""
        try:
            document: Any = json.loads(printed)
            if error := document.get("error"):
                return cls(None, str(error))
            rate = float(document["end"]["sum_received"]["bits_per_second"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls(None, "iperf3 says nothing that can be read")
        return cls(rate) if rate > 0 else cls(None, "iperf3 has received nothing")


async def cross_check(server: Endpoint, way: Way, seconds: int, streams: int) -> Iperf3Result:
    """Measure TCP against an iperf3 server, one way.

    Args:
        server: that is asked.
        way: as we have it: down comes here.
        seconds: how long.
        streams: how many.
    """
    program = shutil.which("iperf3")
    if program is None:
        return Iperf3Result(None, "iperf3 is not installed")
    command = [
        program,
        "-J",
        "-c",
        server.host,
        "-p",
        str(server.port),
        "-t",
        str(seconds),
        "-P",
        str(streams),
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        *(["-R"] if way is Way.DOWN else []),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(seconds + _GRACE_S):
            printed, _ = await process.communicate()
    except TimeoutError:
        return Iperf3Result(None, f"iperf3 does not end within {seconds + _GRACE_S:g} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return Iperf3Result.parse(printed)
