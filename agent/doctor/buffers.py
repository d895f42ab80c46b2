"""The kernel's room for packets that wait, against what the configured rates need."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.core.names import Name
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers

RECEIVE: Final = Check(
    "socket.receive_buffer",
    Name(
        "程序一时得不到处理器时，包在内核里等；等不下的就丢了，看起来像网络丢包。",
        "While the program waits for a processor packets wait in the kernel; what does not fit is lost, and looks like "
        "loss on the way.",
    ),
)
SEND: Final = Check(
    "socket.send_buffer",
    Name(
        "同一毫秒到期的探测包一起发出；放不下的不会发出，记为未发送。",
        "Probes that are due within a millisecond leave together; what does not fit is not sent, and counted as that.",
    ),
)
FILES: Final = Check(
    "limit.open_files",
    Name(
        "每个在途的 TCP 探测占一个套接字；超出的不会发出。",
        "Every TCP probe under way has a socket; those beyond the limit are not sent.",
    ),
)

PROBING_OCTETS: Final = 4 << 20
REFLECTING_OCTETS: Final = 16 << 20
"""What the agent asks for (`agent.net.datagram`)."""
_QUEUED_REPLY: Final = 2048
"""A reply and a transmit time, as the kernel counts them (`agent.probes.outlet`)."""
_QUEUED_REQUEST: Final = 1024
_QUEUED_PROBE: Final = 1024
_ENOUGH_S: Final = 0.1
"""The agent plans beats of 50 ms at most; twice that is what a busy machine makes of it."""
_BUNCH_S: Final = 0.001
_MOST_SOCKETS: Final = 16_384


@dataclass(frozen=True, slots=True)
class BufferFacts:
    """What the kernel allows and what is asked of it.

    Attributes:
        receive_most: net.core.rmem_max, octets; None: not told.
        send_usual: net.core.wmem_default, octets; None: not told.
        send_most: net.core.wmem_max, octets; None: not told.
        probes_per_second: replies that may wait.
        requests_per_second: that the reflector would answer; 0: there is none.
        tcp_under_way: connections open at once.
        open_files: how many descriptors a process may have.
    """

    receive_most: int | None
    send_usual: int | None
    send_most: int | None
    probes_per_second: float
    requests_per_second: int
    tcp_under_way: float
    open_files: int


def judge_buffers(facts: BufferFacts) -> Iterator[Diagnosis]:
    """Whether what is asked for fits, and for how long."""
    if facts.probes_per_second:
        yield _receive(facts, "probes", PROBING_OCTETS, _QUEUED_REPLY, facts.probes_per_second)
    if facts.requests_per_second:
        yield _receive(facts, "reflector", REFLECTING_OCTETS, _QUEUED_REQUEST, facts.requests_per_second)
    if facts.probes_per_second:
        yield _send(facts)
    if facts.tcp_under_way:
        yield _files(facts)


def _receive(facts: BufferFacts, subject: str, asked: int, each: int, per_second: float) -> Diagnosis:
    # The kernel doubles what is asked for, for its own bookkeeping (`man 7 socket`).
    given = 2 * min(asked, facts.receive_most if facts.receive_most is not None else asked)
    covers_s = given / each / per_second
    numbers: Numbers = {
        "rmem_max": facts.receive_most,
        "asked_octets": asked,
        "given_octets": given,
        "packets_per_second": per_second,
        "covers_seconds": covers_s,
    }
    found = Name(
        f"缓冲 {given >> 10} KiB，按每秒 {per_second:.0f} 个包可等 {covers_s * 1e3:.0f} 毫秒",
        f"{given >> 10} KiB hold {covers_s * 1e3:.0f} ms of {per_second:.0f} packets/s",
    )
    if covers_s >= _ENOUGH_S:
        return RECEIVE.ok(found, subject, numbers)
    remedy = Name(
        f"sysctl -w net.core.rmem_max={asked}，并写进 /etc/sysctl.d/60-isochrone.conf，然后重启代理。",
        f"sysctl -w net.core.rmem_max={asked}, and into /etc/sysctl.d/60-isochrone.conf; then restart the agent.",
    )
    if given == 2 * asked:
        remedy = Name(
            "这样的速率超过一个套接字能等的量：降低速率（interval，reflector.rate），或分给几台主机。",
            "No socket of the agent holds more: lower the rate (interval, reflector.rate), or divide it among hosts.",
        )
        return RECEIVE.note(found, remedy, subject, numbers)
    return RECEIVE.warning(found, remedy, subject, numbers)


def _send(facts: BufferFacts) -> Diagnosis:
    needed = int(facts.probes_per_second * _BUNCH_S * _QUEUED_PROBE)
    numbers: Numbers = {
        "wmem_default": facts.send_usual,
        "wmem_max": facts.send_most,
        "needed_octets": needed,
    }
    if facts.send_usual is None:
        return SEND.note(Name("内核没有说明发送缓冲", "the kernel does not tell"), numbers=numbers)
    found = Name(
        f"发送缓冲 {facts.send_usual >> 10} KiB，一毫秒的探测包要 {needed / 1024:.1f} KiB",
        f"{facts.send_usual >> 10} KiB, a millisecond's probes need {needed / 1024:.1f} KiB",
    )
    if facts.send_usual >= needed:
        return SEND.ok(found, numbers=numbers)
    usual = 1 << (2 * needed - 1).bit_length()
    most = max(usual, facts.send_most or 0)
    command = f"sysctl -w net.core.wmem_default={usual} net.core.wmem_max={most}"
    return SEND.warning(
        found, Name(f"{command}，然后重启代理。", f"{command}, then restart the agent."), numbers=numbers
    )


def _files(facts: BufferFacts) -> Diagnosis:
    places = min(_MOST_SOCKETS, facts.open_files // 2)
    numbers: Numbers = {
        "open_files": facts.open_files,
        "tcp_under_way": facts.tcp_under_way,
        "places": places,
    }
    found = Name(
        f"最多同时 {facts.tcp_under_way:.0f} 个 TCP 探测在途，可用 {places} 个套接字",
        f"up to {facts.tcp_under_way:.0f} TCP probes under way at once, {places} sockets for them",
    )
    if facts.tcp_under_way <= places:
        return FILES.ok(found, numbers=numbers)
    wanted = 2 * int(facts.tcp_under_way) + 64
    return FILES.warning(
        found,
        Name(
            f"单元里写 LimitNOFILE={wanted}，或加长 tcp 路径的间隔、缩短超时。",
            f"LimitNOFILE={wanted} in the unit, or longer intervals and shorter timeouts of tcp paths.",
        ),
        numbers=numbers,
    )


def gather_buffers(
    probes_per_second: float, requests_per_second: int, tcp_under_way: float, proc: Path = Path("/proc")
) -> BufferFacts:
    """What the kernel allows, for these rates."""
    core = proc / "sys/net/core"
    return BufferFacts(
        _number(core / "rmem_max"),
        _number(core / "wmem_default"),
        _number(core / "wmem_max"),
        probes_per_second,
        requests_per_second,
        tcp_under_way,
        resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
