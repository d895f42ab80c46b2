"""The network card that stamps packets in hardware, where there is one, and its clock.

What a card can do it says itself (ETHTOOL_GET_TS_INFO), what it was told to do is SIOCGHWTSTAMP's to say; both are
asked of every interface, through bonds and VLANs, and need no privilege. Whether stamps really come only packets tell.

    struct ifreq           0 name(16)   16 pointer(8)   24 unused(16)
    ethtool_ts_info        0 command(4)   4 so_timestamping(4)   8 clock(4)   12 tx_types(4)   16 reserved(12)
                           28 rx_filters(4)   32 reserved(12)
    hwtstamp_config        0 flags(4)   4 tx_type(4)   8 rx_filter(4)

Of two cards that stamp nobody could say which clock a time is by: then none is used.

Source: Documentation/networking/timestamping.rst of the kernel, section 3; linux/ethtool.h, linux/net_tstamp.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np

from agent.core.card_time import CardTime, Comparison
from agent.core.interval import UNKNOWN_NS, Integers
from agent.net.clocks.phc import OpenClock

_SIOCETHTOOL: Final = 0x8946
_SIOCSHWTSTAMP: Final = 0x89B0
_SIOCGHWTSTAMP: Final = 0x89B1
_ETHTOOL_GET_TS_INFO: Final = 0x41
_TX_HARDWARE, _RX_HARDWARE, _RAW_HARDWARE = 1, 4, 64
_TX_OFF, _TX_ON, _RX_NONE, _RX_ALL = 0, 1, 0, 1

_REQUEST: Final = struct.Struct("=16sQ16x")
_INFO: Final = struct.Struct("=IIiI12xI12x")
_CONFIG: Final = struct.Struct("=iii")
_AGAIN_NS: Final = 100_000_000

log = logging.getLogger(__name__)


class Card(NamedTuple):
    """A card that stamps.

    Attributes:
        interface: its name.
        clock: the number of its clock, N of /dev/ptpN.
        receives: whether it stamps all that it receives, and not only what it sends.
    """

    interface: str
    clock: int
    receives: bool


class Kernel(Protocol):
    """Asks the kernel about an interface."""

    def __call__(self, request: int, interface: str, data: bytearray) -> None:
        """Make a request of an interface, whose data are read and written.

        Raises:
            OSError: the interface, its driver or the kernel refuses.
        """


def ask_kernel(request: int, interface: str, data: bytearray) -> None:
    """See `Kernel`."""
    buffer = (ctypes.c_char * len(data)).from_buffer(data)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, request, _REQUEST.pack(interface.encode(), ctypes.addressof(buffer)))


def card_of(interface: str, ask: Kernel = ask_kernel, *, turn_on: bool = True) -> Card | None:
    """The card of an interface, if it stamps; None where it does not, or cannot.

    Args:
        interface: its name.
        ask: asks the kernel.
        turn_on: tell a card that nobody uses for it to stamp everything, where this program may (CAP_NET_ADMIN). One
            that is in use, by ptp4l perhaps, is left as it is.
    """
    info = bytearray(_INFO.pack(_ETHTOOL_GET_TS_INFO, 0, 0, 0, 0))
    try:
        ask(_SIOCETHTOOL, interface, info)
        _, able, clock, _, _ = _INFO.unpack(info)
        if clock < 0 or not able & _TX_HARDWARE or not able & _RAW_HARDWARE:
            return None
        sends, receives = _configured(interface, ask)
        if turn_on and (sends, receives) == (_TX_OFF, _RX_NONE):
            sends, receives = _turn_on(interface, ask, receives=bool(able & _RX_HARDWARE))
    except OSError:
        return None
    return Card(interface, clock, receives == _RX_ALL) if sends == _TX_ON else None


def _configured(interface: str, ask: Kernel) -> tuple[int, int]:
    config = bytearray(_CONFIG.size)
    ask(_SIOCGHWTSTAMP, interface, config)
    _, sends, receives = _CONFIG.unpack(config)
    return sends, receives


def _turn_on(interface: str, ask: Kernel, *, receives: bool) -> tuple[int, int]:
    config = bytearray(_CONFIG.pack(0, _TX_ON, _RX_ALL if receives else _RX_NONE))
    try:
        ask(_SIOCSHWTSTAMP, interface, config)
    except PermissionError:
        log.info(
            "%s could stamp in hardware, and is not told to: as root, hwstamp_ctl -i %s -t 1 -r 1",
            interface,
            interface,
        )
    return _configured(interface, ask)


class CardClock:
    """The times of a card by the system clock.

    Args:
        card: which.
        clock: its clock, to be compared with.
        monotonic_ns: monotonic clock.

    Attributes:
        card: the same.
        fault: why it is not used any more; empty while it is.
    """

    def __init__(
        self, card: Card, clock: OpenClock, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.card = card
        self.fault = ""
        self._clock = clock
        self._monotonic_ns = monotonic_ns
        self._time = CardTime()
        # a socket's sending thread may ask too
        self._asking = threading.Lock()
        self._compared_ns = 0
        self._compare()

    def system_ns(self, card_ns: Integers) -> tuple[Integers, Integers]:
        """Times that the card took until now by the system clock; see `CardTime.system_ns`.

        The clocks are compared right then, where that was not done since the latest of these times.
        """
        with self._asking:
            newest_ns = self._time.newest_ns
            if not self.fault and (newest_ns is None or newest_ns <= card_ns.max(initial=0)):
                self._compare()
            if self.fault:
                return card_ns, np.full(len(card_ns), UNKNOWN_NS, np.int64)
            return self._time.system_ns(card_ns)

    def keep_compared(self) -> None:
        """Compare the clocks if that is a tenth of a second ago: the nearer two comparisons are, the more they say."""
        if not self.fault and self._monotonic_ns() - self._compared_ns >= _AGAIN_NS:
            with self._asking:
                self._compare()

    def close(self) -> None:
        """Use it no more."""
        if not self.fault:
            self.fault = "closed"
        self._clock.close()

    def _compare(self) -> None:
        try:
            compared: Comparison = self._clock.compare()
        except OSError as error:
            self.fault = f"the clock of {self.card.interface} cannot be read: {error}"
            log.warning("no more times by the card: %s", self.fault)
            return
        self._time.observe(compared)
        self._compared_ns = self._monotonic_ns()


class CardChoice(NamedTuple):
    """What was found.

    Attributes:
        clock: of the card whose times are used; None: of none.
        explanation: which that is, or why there is none.
    """

    clock: CardClock | None
    explanation: str


def choose_card(
    interfaces: Sequence[str] | None = None,
    ask: Kernel = ask_kernel,
    open_clock: Callable[[Path], OpenClock] = OpenClock,
    *,
    turn_on: bool = True,
) -> CardChoice:
    """The card whose times are used: the one that stamps, if its clock can be read.

    Args:
        interfaces: names; None: all of this host.
        ask: asks the kernel.
        open_clock: opens a card's clock.
        turn_on: as of `card_of`.
    """
    names = [name for _, name in socket.if_nameindex()] if interfaces is None else interfaces
    found = [card for name in names if (card := card_of(name, ask, turn_on=turn_on)) is not None]
    clocks = sorted({card.clock for card in found})
    stamping = ", ".join(card.interface for card in found)
    if not found:
        return CardChoice(None, "no interface stamps in hardware")
    if len(clocks) > 1:
        return CardChoice(None, f"more than one card stamps, which cannot be told apart: {stamping}")
    device = Path(f"/dev/ptp{clocks[0]}")
    try:
        clock = open_clock(device)
    except OSError as error:
        return CardChoice(None, f"{stamping} stamps in hardware, and its clock cannot be read: {error}")
    return CardChoice(CardClock(found[0], clock), f"{stamping} stamps in hardware, by {device}")
