"""The kernel's transmit and receive times, proven by sending: setsockopt may agree and no time ever come."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.core.names import Name
from agent.net.addresses import encode_address
from agent.net.datagram import TimestampedSocket
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers

STAMPS: Final = Check(
    "timestamps.kernel",
    Name(
        "没有内核时间戳，程序自己读的时间在忙时会错几毫秒，1 毫秒的限值无从判定。",
        "Without them only the program's own times are left, wrong by milliseconds when busy: no verdict on 1 ms.",
    ),
)

_DATAGRAMS: Final = 20
_PAUSE_S: Final = 0.01
_WAIT_S: Final = 1.0
_REMEDY: Final = Name(
    "换用支持 SO_TIMESTAMPING 软件时间戳的网卡驱动与内核（ethtool -T 网卡；Linux 5.4 以上），"
    "不要用用户态网络栈或 gVisor 之类的沙箱。",
    "Use a driver and a kernel that give software SO_TIMESTAMPING (ethtool -T INTERFACE; Linux 5.4 or newer), no "
    "network stack in user space and no sandbox such as gVisor.",
)


@dataclass(frozen=True, slots=True)
class StampFacts:
    """What came of sending.

    Attributes:
        where: `loopback IPv4`, or the socket of which kind of probe.
        sent: datagrams.
        transmitted: transmit times that came for them.
        received: datagrams that came.
        stamped: of those, with a receive time.
        failure: why nothing could be sent; empty where it could.
        lag_ns: from the program's own transmit time to the kernel's, the median; None: not known.
    """

    where: str
    sent: int
    transmitted: int
    received: int
    stamped: int
    failure: str = ""
    lag_ns: int | None = None


def judge_stamps(facts: StampFacts) -> Diagnosis:
    """Whether the kernel gives times for what is sent and received there.

    The first few datagrams after the first such socket of a host was opened may come without: the kernel is turning
    stamping on. Those that never left have none, as where no neighbour answers: without a single one that came, it is
    not known whether any did.
    """
    numbers: Numbers = {
        "sent": facts.sent,
        "transmit_times": facts.transmitted,
        "received": facts.received,
        "receive_times": facts.stamped,
        "lag_seconds": None if facts.lag_ns is None else facts.lag_ns / 1e9,
    }
    if facts.failure:
        return STAMPS.problem(
            Name(f"发不出去：{facts.failure}", f"nothing could be sent: {facts.failure}"),
            _REMEDY,
            facts.where,
            numbers,
        )
    found = Name(
        f"发送时间戳 {facts.transmitted}/{facts.sent}，接收时间戳 {facts.stamped}/{facts.received}",
        f"{facts.transmitted} transmit times for {facts.sent} datagrams, {facts.stamped} receive times for "
        f"{facts.received}",
    )
    if facts.lag_ns is not None:
        lag_us = facts.lag_ns / 1e3
        found = Name(
            f"{found.zh}；内核比程序晚 {lag_us:.1f} 微秒（中位数）",
            f"{found.en}; the kernel's are {lag_us:.1f} µs after the program's (median)",
        )
    if facts.received and not (facts.transmitted and facts.stamped):
        return STAMPS.problem(found, _REMEDY, facts.where, numbers)
    if 2 * facts.transmitted < facts.received or 2 * facts.stamped < facts.received:
        return STAMPS.warning(found, _REMEDY, facts.where, numbers)
    if not facts.received:
        unproven = Name("接收时间戳", "receive times") if facts.transmitted else Name("时间戳", "times")
        return STAMPS.note(
            Name(f"{found.zh}：{unproven.zh}还没有证明", f"{found.en}: {unproven.en} are not proven yet"),
            subject=facts.where,
            numbers=numbers,
        )
    return STAMPS.ok(found, facts.where, numbers)


def judge_all_stamps(facts: list[StampFacts]) -> Iterator[Diagnosis]:
    """Wherever it was tried."""
    return map(judge_stamps, facts)


async def gather_loopback() -> list[StampFacts]:
    """Send to ourselves over loopback, by IPv4 and, where the host has it, by IPv6."""
    found = [await _sent_to_self(socket.AF_INET, "127.0.0.1", "loopback IPv4")]
    if socket.has_ipv6:
        over_ipv6 = await _sent_to_self(socket.AF_INET6, "::1", "loopback IPv6")
        found += [over_ipv6] if not over_ipv6.failure else []
    return found


async def _sent_to_self(family: socket.AddressFamily, host: str, where: str) -> StampFacts:
    try:
        socket_ = TimestampedSocket(family, (host, 0))
    except OSError as error:
        return StampFacts(where, 0, 0, 0, 0, os.strerror(error.errno or 0))
    try:
        return await _exchange(socket_, encode_address(host, socket_.address[1]), where)
    finally:
        socket_.close()


async def _exchange(socket_: TimestampedSocket, to: bytes, where: str) -> StampFacts:
    sent_ns: dict[int, int] = {}
    lags: list[int] = []
    received = stamped = 0

    async def take() -> None:
        nonlocal received, stamped, lags
        await asyncio.sleep(_PAUSE_S)
        for datagram in socket_.receive():
            received += 1
            stamped += datagram.received_ns is not None
        lags += [
            stamp.transmitted_ns - sent_ns[stamp.transmit_id]
            for stamp in socket_.transmit_stamps()
            if stamp.transmit_id in sent_ns
        ]

    for _ in range(_DATAGRAMS):
        wall_ns = time.time_ns()
        (result,) = socket_.send([(b"isochrone-agent doctor", to, b"")])
        if result < 0:
            return StampFacts(where, len(sent_ns), len(lags), received, stamped, os.strerror(-result))
        sent_ns[result] = wall_ns
        await take()
    deadline = time.monotonic() + _WAIT_S
    while (received < _DATAGRAMS or len(lags) < _DATAGRAMS) and time.monotonic() < deadline:
        await take()
    lag_ns = sorted(lags)[len(lags) // 2] if lags else None
    return StampFacts(where, len(sent_ns), len(lags), received, stamped, lag_ns=lag_ns)
