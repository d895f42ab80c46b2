"""What a direction of a path is held against: a limit of delay, or, of a line that is tested, a floor of throughput.

A line is tested from its source: what comes down to it goes the way of replies, what goes up that of probes.
"""

from __future__ import annotations

from typing import Final

from agent.core.metrics import LINE_KIND
from agent.core.names import Name
from agent.core.outcome import Direction, Limit
from agent.core.throughput.cause import Cause
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import Layer
from agent.core.throughput.result import Floor

Promise = Limit | Floor

DIRECTION_OF: Final = {Way.DOWN: Direction.REVERSE, Way.UP: Direction.FORWARD}
_WAY_OF: Final = {direction: way for way, direction in DIRECTION_OF.items()}

DIRECTION_LABELS: Final = (*(one.value for one in Direction), *(way.value for way in Way))
"""All that a `direction` label may say."""

LAYER_NAMES: Final = {
    Layer.IP: Name("IP 层", "IP layer"),
    Layer.GOODPUT: Name("净荷", "goodput"),
}
CAUSE_NAMES: Final = {
    Cause.PATH_RATE: Name("路径速率", "the path's rate"),
    Cause.PATH_LOSS: Name("路径丢包", "loss on the path"),
    Cause.RECEIVER_WINDOW: Name("接收窗口", "the receiver's window"),
    Cause.SEND_BUFFER: Name("发送缓冲区", "the send buffer"),
    Cause.SENDER_CPU: Name("发送端 CPU", "the sender's CPU"),
    Cause.HOST_STARVED: Name("主机资源不足", "a starved host"),
    Cause.PACING_CAP: Name("测试自身的限速", "the pace of the test itself"),
    Cause.APPLICATION: Name("测试程序", "the testing program"),
}
_DIRECTION_NAMES: Final = {
    Direction.FORWARD: Name("去程", "forward"),
    Direction.REVERSE: Name("回程", "reverse"),
    Direction.ROUND_TRIP: Name("往返", "round trip"),
}
_WAY_NAMES: Final = {Way.DOWN: Name("下行", "down"), Way.UP: Name("上行", "up")}
_UNITS: Final = ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"))


def direction_label(kind: str, direction: Direction) -> str:
    """The `direction` label of a path of this kind: down or up of a line, as its agent has it."""
    return _WAY_OF[direction].value if kind == LINE_KIND and direction in _WAY_OF else direction.value


def direction_name(kind: str, direction: Direction) -> Name:
    """What people call a direction of a path of this kind."""
    if kind == LINE_KIND and direction in _WAY_OF:
        return _WAY_NAMES[_WAY_OF[direction]]
    return _DIRECTION_NAMES[direction]


def rate_text(rate: float) -> str:
    """A rate (bit/s) as people write it: `9.87 Gbit/s`."""
    size, unit = next((one for one in _UNITS if rate >= one[0]), _UNITS[-1])
    return f"{rate / size:.4g} {unit}"


def promise_name(promise: Promise) -> Name:
    """A promise as people write it: `<= 10 ms`, `≥ 1 Gbit/s (IP layer)`."""
    return floor_name(promise) if isinstance(promise, Floor) else Name(str(promise), str(promise))


def floor_name(floor: Floor) -> Name:
    """A floor as people write it."""
    layer, rate = LAYER_NAMES[floor.layer], rate_text(floor.rate)
    return Name(f"≥ {rate}（{layer.zh}）", f"≥ {rate} ({layer.en})")
