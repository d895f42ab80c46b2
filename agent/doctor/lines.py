"""What the host makes of throughput tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.core.names import Name
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers

CONGESTION: Final = Check(
    "throughput.congestion_control",
    Name(
        "测试的 TCP 流要用 CUBIC：BBR 之类按自己的节奏发包，到不了线路的速率，也掩盖丢包，原因就判不准。",
        "Streams of tests are to be controlled by CUBIC: others, such as BBR, pace by themselves, fall short of the "
        "line's rate and hide its loss, so that the cause is told wrongly.",
    ),
)

_WANTED: Final = "cubic"
_AS_GOOD: Final = "reno"
"""Goes by losses too."""


@dataclass(frozen=True, slots=True)
class LineFacts:
    """How the kernel controls TCP connections.

    Attributes:
        usual: net.ipv4.tcp_congestion_control; empty: not told.
        allowed: net.ipv4.tcp_allowed_congestion_control, what a process without privilege may choose.
    """

    usual: str
    allowed: tuple[str, ...]


def judge_lines(facts: LineFacts) -> Iterator[Diagnosis]:
    """Whether streams will be controlled as they are to be."""
    numbers: Numbers = {"usual": facts.usual or None, "allowed": " ".join(facts.allowed)}
    if not facts.usual:
        yield CONGESTION.note(Name("内核没有说明", "the kernel does not tell"), numbers=numbers)
        return
    found = Name(
        f"默认 {facts.usual}，允许 {' '.join(facts.allowed)}",
        f"{facts.usual} by default, {' '.join(facts.allowed)} allowed",
    )
    if facts.usual in (_WANTED, _AS_GOOD) or _WANTED in facts.allowed:
        yield CONGESTION.ok(found, numbers=numbers)
        return
    allowed = " ".join((*facts.allowed, _WANTED))
    command = f"modprobe tcp_cubic; sysctl -w net.ipv4.tcp_allowed_congestion_control='{allowed}'"
    yield CONGESTION.warning(
        found,
        Name(
            f"{command}，并写进 /etc/sysctl.d/60-isochrone.conf。",
            f"{command}, and into /etc/sysctl.d/60-isochrone.conf.",
        ),
        numbers=numbers,
    )


def gather_lines(proc: Path = Path("/proc")) -> LineFacts:
    """What the kernel says."""
    tcp = proc / "sys/net/ipv4"
    return LineFacts(
        _text(tcp / "tcp_congestion_control"), tuple(_text(tcp / "tcp_allowed_congestion_control").split())
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
