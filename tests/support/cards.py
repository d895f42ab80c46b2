"""A network card that stamps, as the kernel shows it, and its clock: no real one is at hand."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from agent.core.card_time import Comparison
from agent.net.clocks.card import Card, CardClock
from agent.net.clocks.phc import OpenClock, compare
from agent.net.control import CONTROL_OCTETS, MSG_ERRQUEUE, SO_TIMESTAMPING
from agent.net.mmsg import IncomingBatch

TAI_NS = 37_000_000_000


class FakeClock(OpenClock):
    """A card's clock that counts TAI; `gone` is that of a card which was taken out."""

    def __init__(self, device: Path = Path("/dev/ptp0")) -> None:
        self.device = device
        self.gone = False
        self.closed = False

    def now_ns(self) -> int:
        """What it shows."""
        return time.time_ns() + TAI_NS

    def compare(self) -> Comparison:
        """See `OpenClock.compare`."""
        if self.gone:
            raise OSError(19, "No such device")
        return compare(self.now_ns)

    def close(self) -> None:
        """See `OpenClock.close`."""
        self.closed = True


def card_clock(clock: FakeClock | None = None) -> CardClock:
    """A card on eth7 that stamps everything."""
    return CardClock(Card("eth7", 0, receives=True), clock or FakeClock())


def stamp_by_card(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock | None = None, *, offset_ns: int = TAI_NS
) -> None:
    """Let what the real kernel says be as if a card had taken the times: in the third timespec, by the card's clock.

    Of what was sent the kernel then gives no time of its own, of what came it gives both.

    Args:
        monkeypatch: undoes it.
        clock: of the card; none are given any more once it is gone.
        offset_ns: of the card's clock.
    """
    fill = IncomingBatch.fill

    def filled(batch: IncomingBatch, descriptor: int, flags: int) -> int:
        count = fill(batch, descriptor, flags)
        if clock is not None and clock.gone:
            return count
        for at in range(0, count * CONTROL_OCTETS, CONTROL_OCTETS):
            _, level, kind, seconds, nanos = struct.unpack_from("=Qiiqq", batch.control, at)
            if (level, kind) == (1, SO_TIMESTAMPING) and seconds:
                card = divmod(seconds * 10**9 + nanos + offset_ns, 10**9)
                kernel = (0, 0) if flags & MSG_ERRQUEUE else (seconds, nanos)
                struct.pack_into("=6q", batch.control, at + 16, *kernel, 0, 0, *card)
        return count

    monkeypatch.setattr(IncomingBatch, "fill", filled)


class FakeCards:
    """The kernel's answers about interfaces: linux/ethtool.h and linux/net_tstamp.h, written down once more.

    Args:
        able: of each interface: so_timestamping, the number of its clock.
        told: of each interface: tx_type and rx_filter that it was told; none: it cannot be told.
        permitted: whether it may be told anew.
    """

    def __init__(
        self,
        able: dict[str, tuple[int, int]],
        told: dict[str, tuple[int, int]],
        *,
        permitted: bool = True,
    ) -> None:
        self.able = able
        self.told = told
        self.permitted = permitted

    def __call__(self, request: int, interface: str, data: bytearray) -> None:
        """Answer as the kernel does."""
        match request:
            case 0x8946:
                assert struct.unpack_from("=I", data) == (0x41,)
                if interface not in self.able:
                    raise OSError(95, "Operation not supported")
                struct.pack_into("=Ii", data, 4, *self.able[interface])
            case 0x89B1:
                if interface not in self.told:
                    raise OSError(95, "Operation not supported")
                struct.pack_into("=iii", data, 0, 0, *self.told[interface])
            case 0x89B0:
                if not self.permitted:
                    raise PermissionError(1, "Operation not permitted")
                _, sends, receives = struct.unpack("=iii", data)
                self.told[interface] = sends, receives
            case _:
                raise AssertionError(hex(request))
