"""What linuxptp's ptp4l knows of the local clock, asked through `pmc`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from agent.core.card_time import Comparison
from agent.net.clock import MAX_FREQUENCY_PPB, PHI_PPB, ClockQuality, vouched
from agent.net.clocks.phc import compare_with_card
from agent.net.clocks.pmc import FOLLOWING, LOCKED, QUESTIONS, PtpStatus, Unanswered

SERVERS: Final = (Path("/run/ptp4lro"), Path("/run/ptp4l"))
"""Where ptp4l takes management messages: read-only for everyone (linuxptp 4), and for root."""

_TIMEOUT_S: Final = 1.0
_RECENT: Final = 16
_SILENCE_NS: Final = 8_000_000_000
_SECOND_NS: Final = 1_000_000_000
_HARDWARE: Final = "HARDWARE"


class PtpClock:
    """ptp4l's account of the clock.

    The bound is the sum of what is measured and of what the grandmaster says of itself:

    - the largest |master offset| of the last 16 answers: one sample says where the clock was at one Sync, the largest
      of many how far the servo lets it wander in between;
    - the mean path delay: the offset presumes that the way there takes as long as the way back, and however unequal
      the two are, the error is at most half the round trip;
    - both once for each step to the grandmaster: only the last link is measured here, and the clocks in between are
      taken to be no worse;
    - the grandmaster's clockAccuracy;
    - with hardware timestamps, |system clock - card's clock| as measured now, and how well that could be measured:
      ptp4l then disciplines the card's clock only, and phc2sys does not say how well it makes the system clock follow.

    Until it is asked again the bound grows by 15 ppm, or by 500 ppm while the servo has not locked.

    Nothing is vouched for without a grandmaster, by one that is not traceable, of unknown accuracy or unknown
    distance from UTC, or where no Sync has come for 8 s.

    Args:
        domain: PTP domain.
        servers: where ptp4l may take management messages; the first that exists is asked.
        folder: for our end of the conversation, a socket that ptp4l can write to.
        compare: compares the system clock with the clock of a network interface.
        monotonic_ns: monotonic clock.
    """

    def __init__(
        self,
        domain: int = 0,
        *,
        servers: Sequence[Path] = SERVERS,
        folder: Path | None = None,
        compare: Callable[[str], Comparison] = compare_with_card,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._domain = domain
        self._servers = servers
        self._local = (folder or _runtime_folder()) / f"isochrone-pmc-{os.getpid()}"
        self._compare = compare
        self._monotonic_ns = monotonic_ns
        self._quality = _nothing("not asked yet")
        self._offsets_ns: deque[int] = deque(maxlen=_RECENT)
        self._ingress_ns: int | None = None
        self._heard_ns = 0

    def quality(self) -> ClockQuality:
        """What ptp4l said."""
        return self._quality

    def stepped(self) -> None:
        """Forget the offsets from before."""
        self._offsets_ns.clear()
        self._quality = _nothing("the clock was stepped since ptp4l was asked")

    async def ask(self) -> None:
        """Ask ptp4l, for a second at most."""
        try:
            self.learn(PtpStatus.parse(await self._query()))
        except Unanswered as error:
            self._quality = _nothing(f"ptp4l's answer is not understood: {error}")
        except TimeoutError:
            self._quality = _nothing("ptp4l does not answer")
        except OSError as error:
            self._quality = _nothing(f"cannot ask ptp4l: {error}")

    def learn(self, status: PtpStatus) -> None:
        """Take in what ptp4l says now."""
        now_ns = self._monotonic_ns()
        if status.ingress_ns != self._ingress_ns:
            self._ingress_ns, self._heard_ns = status.ingress_ns, now_ns
        if (fault := self._fault(status, now_ns)) is not None:
            self._offsets_ns.clear()
            self._quality = _nothing(fault)
            return
        assert status.accuracy_ns is not None
        self._offsets_ns.append(abs(status.offset_ns))
        link_ns = max(self._offsets_ns) + status.path_delay_ns
        bound_ns = link_ns * max(1, status.steps_removed) + status.accuracy_ns
        if status.timestamping == _HARDWARE:
            assert status.timescale_offset_s is not None
            try:
                card = self._compare(status.interface)
            except OSError as error:
                self._quality = _nothing(
                    f"cannot compare the system clock with the card's that ptp4l sets: {error}"
                )
                return
            bound_ns += abs(card.offset_ns + status.timescale_offset_s * _SECOND_NS) + card.uncertainty_ns
        drift_ppb = PHI_PPB if status.port_state == LOCKED else MAX_FREQUENCY_PPB
        self._quality = vouched("ptp", bound_ns, drift_ppb)

    def _fault(self, status: PtpStatus, now_ns: int) -> str | None:
        """Why nothing is vouched for; None: something is."""
        if not status.grandmaster_present or status.port_state not in FOLLOWING:
            return f"ptp4l follows no grandmaster (port {status.port_state})"
        if now_ns - self._heard_ns > _SILENCE_NS:
            return f"no Sync for {(now_ns - self._heard_ns) // _SECOND_NS} s"
        if not status.traceable:
            return "the grandmaster's time is not traceable to a primary reference"
        if status.accuracy_ns is None:
            return "the grandmaster does not say how accurate it is"
        if status.timescale_offset_s is None:
            return "the grandmaster does not know how far PTP time is from UTC"
        return None

    async def _query(self) -> str:
        """What pmc prints.

        Raises:
            OSError: there is no ptp4l or no pmc, or it cannot be run.
            TimeoutError: it does not end.
        """
        pmc, server = _find_pmc(), self._server()
        asked = await asyncio.create_subprocess_exec(
            pmc,
            *("-u", "-b", "0", "-d", str(self._domain), "-s", str(server), "-i", str(self._local)),
            *QUESTIONS,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                printed, _ = await asked.communicate()
        finally:
            if asked.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    asked.kill()
                await asked.wait()
        return printed.decode(errors="replace")

    def _server(self) -> Path:
        there = [server for server in self._servers if server.exists()]
        for server in there:
            if os.access(server, os.W_OK):
                return server
        if there:
            raise PermissionError(f"{there[0]} is not ours to write to")
        raise FileNotFoundError("it does not run")


def _find_pmc() -> str:
    """Where pmc is; services often have a PATH without /usr/sbin."""
    found = shutil.which("pmc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise FileNotFoundError("pmc is not installed")
    return found


def _runtime_folder() -> Path:
    """A folder of our own where systemd gave us one (RuntimeDirectory=): ptp4l sees no private /tmp."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return Path(given or tempfile.gettempdir())


def _nothing(why: str) -> ClockQuality:
    return ClockQuality("ptp", None, why)
