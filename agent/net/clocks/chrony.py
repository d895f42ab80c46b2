"""What chronyd knows of the local clock, asked over its command port on loopback.

The command protocol, not `chronyc`: one datagram each way, no process to start every second, no text to parse, and no
privilege, for chronyd answers TRACKING to everyone on loopback unless it is configured with `cmdport 0`. Only root
can sit on port 323 in its place.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import time
from collections.abc import Callable
from fractions import Fraction
from math import ceil
from typing import Final

from agent.core.exceptions import WireError
from agent.net.clock import PHI_PPB, ClockQuality, vouched
from agent.net.clocks.candm import LEAP_UNSYNCHRONISED, LOCAL_REFERENCE, Tracking, tracking_request

COMMAND_PORT: Final = 323
_TIMEOUT_S: Final = 0.2
_MOST_OCTETS: Final = 2048
_SECOND_NS: Final = 1_000_000_000
_PPM_TO_PPB: Final = 1000

_MAX_CLOCK_ERROR_PPB: Final = 1_000
"""`maxclockerror` by default: what chronyd adds to the skew when it lets its dispersion grow (reference.c)."""

_POLLS: Final = 8
_LEAST_POLL_S: Final = Fraction(64)
_GREATEST_POLL_S: Final = Fraction(1024)


class ChronyClock:
    """chronyd's account of the clock.

    The bound is |system time offset| + root dispersion + root delay / 2. chronyd lets the dispersion grow by skew +
    residual frequency + maxclockerror since its last update, up to the moment of the answer; so does the bound until
    the next answer, by no less than 15 ppm, for maxclockerror is not told.

    Nothing is vouched for where chronyd says so (leap status, stratum 0), where it follows only itself (`local`:
    dispersion 0 from no reference at all), or where its last update is too old: 8 polls, the number after which
    chronyd itself calls a source unreachable. A poll is taken to be as long as the last interval between updates, but
    at least 64 s and at most 1024 s, the default minpoll and maxpoll. After a step that chronyd has not made itself,
    nothing is vouched for until its next update.

    Args:
        port: where chronyd takes commands (`cmdport`).
        wall_ns: the wall clock.
    """

    def __init__(self, port: int = COMMAND_PORT, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._port = port
        self._wall_ns = wall_ns
        self._quality = _nothing("not asked yet")
        self._last: Tracking | None = None
        self._outdated_ns: int | None = None

    def quality(self) -> ClockQuality:
        """What chronyd said."""
        return self._quality

    def stepped(self) -> None:
        """Trust nothing but a new update; a step by chronyd itself moves the time of the last one along."""
        self._quality = _nothing("the clock was stepped since chronyd was asked")
        if self._last is not None:
            self._outdated_ns = self._last.updated_ns

    async def ask(self) -> None:
        """Ask chronyd, for 200 ms at most."""
        sequence = random.getrandbits(32)
        try:
            answer = await self._exchange(tracking_request(sequence))
            tracking = Tracking.parse(answer, sequence)
        except TimeoutError:
            self._quality = _nothing(f"chronyd does not answer on port {self._port}")
        except OSError as error:
            why = "nobody listens" if error.errno == errno.ECONNREFUSED else os.strerror(error.errno or 0)
            self._quality = _nothing(f"cannot ask chronyd on port {self._port}: {why}")
        except WireError as error:
            self._quality = _nothing(f"chronyd's answer is not understood: {error}")
        else:
            self._last = tracking
            if tracking.updated_ns == self._outdated_ns:
                self._quality = _nothing("the clock was stepped since chronyd's last update")
            else:
                self._outdated_ns = None
                self._quality = judge(tracking, self._wall_ns())

    async def _exchange(self, request: bytes) -> bytes:
        """One datagram there and one back.

        Raises:
            OSError: nobody listens; TimeoutError among them: nobody answers.
        """
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
            # connected: only chronyd's port can answer, and its absence is told
            asking.connect(("127.0.0.1", self._port))
            asking.send(request)
            async with asyncio.timeout(_TIMEOUT_S):
                return await loop.sock_recv(asking, _MOST_OCTETS)


def judge(tracking: Tracking, wall_ns: int) -> ClockQuality:
    """What a tracking report vouches for at wall time `wall_ns`."""
    if tracking.leap >= LEAP_UNSYNCHRONISED or tracking.stratum == 0:
        return _nothing("chronyd says that the clock is not synchronised")
    if tracking.reference_id == LOCAL_REFERENCE:
        return _nothing("chronyd follows only its own clock (local)")
    if min(tracking.root_delay, tracking.root_dispersion, tracking.skew_ppm, tracking.update_interval) < 0:
        return _nothing("chronyd's answer is not understood: negative errors")
    poll_s = min(max(tracking.update_interval, _LEAST_POLL_S), _GREATEST_POLL_S)
    age_ns = wall_ns - tracking.updated_ns
    if abs(age_ns) > _POLLS * poll_s * _SECOND_NS:
        ahead = "ahead of the clock" if age_ns < 0 else "ago"
        return _nothing(f"chronyd's last update was {abs(age_ns) // _SECOND_NS} s {ahead}")
    bound_ns = ceil(
        (abs(tracking.correction) + tracking.root_dispersion + tracking.root_delay / 2) * _SECOND_NS
    )
    growth_ppb = ceil((tracking.skew_ppm + abs(tracking.residual_ppm)) * _PPM_TO_PPB) + _MAX_CLOCK_ERROR_PPB
    return vouched("chrony", bound_ns, max(PHI_PPB, growth_ppb))


def _nothing(why: str) -> ClockQuality:
    return ClockQuality("chrony", None, why)
