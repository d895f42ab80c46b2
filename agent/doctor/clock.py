"""The clock: who vouches for it, how far it may be off, and which limits that can prove."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.core.names import Name
from agent.core.outcome import Limit, Operator
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers

SOURCE: Final = Check(
    "clock.source",
    Name(
        "单向时延是两台机器时钟读数之差：时钟可能错多少，结论就可能错多少，平均也消除不了。",
        "A one-way delay is the difference of two clocks: as wrong as they may be, and no averaging helps.",
    ),
)
LIMIT: Final = Check(
    "clock.limit",
    Name(
        "误差界不小于限值的时钟，一个包也证明不了；往返短到限值以内时，往返本身就能证明两个方向。",
        "A clock whose bound is not below the limit proves nothing of any packet; a round trip shorter than the limit "
        "proves both directions by itself.",
    ),
)

USUAL_LIMITS: Final = (
    ("city", Limit(1_000_000, Operator.BELOW)),
    ("province", Limit(3_000_000, Operator.BELOW)),
    ("hub", Limit(10_000_000, Operator.AT_MOST)),
)
"""The plan's tiers, where no configuration says otherwise."""

_DISCIPLINE: Final = Name(
    "安装 chrony（apt install chrony），在 /etc/chrony/chrony.conf 里用近处的服务器："
    "server 服务器 iburst minpoll 2 maxpoll 4 xleave，并写 hwtimestamp *；"
    "或用 PTP（linuxptp 的 ptp4l 和 phc2sys）；或接 GNSS，用 clock: {source: declared, "
    "error_bound: …} 声明误差界。",
    "Install chrony (apt install chrony) with a server nearby in /etc/chrony/chrony.conf: server HOST iburst minpoll 2 "
    "maxpoll 4 xleave, and hwtimestamp *; or PTP (ptp4l and phc2sys of linuxptp); or GNSS, declared by clock: {source: "
    "declared, error_bound: …}.",
)


@dataclass(frozen=True, slots=True)
class PromisedLimit:
    """What one-way delays of some paths are held against.

    Attributes:
        tier: of the paths; empty where they have none.
        direction: forward or reverse; empty where both are alike.
        limit: the limit.
        floor_ns: the largest floor among the paths.
        paths: how many there are.
        by_round_trip: whether a round trip just measured was so short that it proves the limit without any clock, on
            all of these paths; None: none was measured.
    """

    tier: str
    direction: str
    limit: Limit
    floor_ns: int = 0
    paths: int = 0
    by_round_trip: bool | None = None


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """What is known of the clock.

    Attributes:
        source: ptp, chrony, adjtimex, declared or unsynchronised.
        bound_ns: how far it may be off; None: nobody vouches for it.
        explanation: why nobody does.
        limits: what it is to prove.
        needed: whether any path measures one-way delays, or a reflector tells its times to those that do.
    """

    source: str
    bound_ns: int | None
    explanation: str = ""
    limits: tuple[PromisedLimit, ...] = ()
    needed: bool = True


def judge_clock(facts: ClockFacts) -> Iterator[Diagnosis]:
    """Who vouches for the clock, and what that is good for."""
    numbers = {
        "source": facts.source,
        "bound_seconds": None if facts.bound_ns is None else facts.bound_ns / 1e9,
    }
    if facts.bound_ns is not None:
        found = Name(
            f"{facts.source}，误差界 {_ms(facts.bound_ns)} 毫秒",
            f"{facts.source}, off by at most {_ms(facts.bound_ns)} ms",
        )
        yield SOURCE.ok(found, numbers=numbers)
    else:
        found = Name(f"无人担保：{facts.explanation}", f"nobody vouches for it: {facts.explanation}")
        if facts.needed:
            yield SOURCE.warning(found, _DISCIPLINE, numbers=numbers)
        else:
            yield SOURCE.note(found, _DISCIPLINE, numbers=numbers)
    for promised in facts.limits:
        yield _limit(facts, promised)


def _limit(facts: ClockFacts, promised: PromisedLimit) -> Diagnosis:
    bound_ns, limit = facts.bound_ns, promised.limit
    subject = " ".join(part for part in (promised.tier, promised.direction, str(limit)) if part)
    numbers: Numbers = {
        "limit_seconds": limit.limit_ns / 1e9,
        "bound_seconds": None if bound_ns is None else bound_ns / 1e9,
        "floor_seconds": promised.floor_ns / 1e9,
        "paths": promised.paths,
        "by_round_trip": promised.by_round_trip,
    }
    limit_ms = f"{limit.limit_ns / 1e6:g}"
    bound = Name("误差界未知", "bound unknown")
    if bound_ns is not None:
        bound = Name(f"误差界 {_ms(bound_ns)} 毫秒", f"bound {_ms(bound_ns)} ms")
    if bound_ns is not None and limit.met_by(promised.floor_ns + bound_ns):
        share = bound_ns / limit.limit_ns
        if share <= 0.5:
            return LIMIT.ok(
                Name(
                    f"能证明单向 {limit_ms} 毫秒：{bound.zh}（限值的 {share:.0%}）",
                    f"can prove {limit_ms} ms one-way: {bound.en} ({share:.0%} of the limit)",
                ),
                subject,
                numbers,
            )
        return LIMIT.warning(
            Name(
                f"勉强能证明单向 {limit_ms} 毫秒：{bound.zh}，占限值的 {share:.0%}，加上对端的误差往往无法判定",
                f"can barely prove {limit_ms} ms one-way: {bound.en}, {share:.0%} of the limit without the peer's",
            ),
            _DISCIPLINE,
            subject,
            numbers,
        )
    cannot = Name(
        f"这个时钟证明不了单向 {limit_ms} 毫秒：{bound.zh}",
        f"this clock cannot prove {limit_ms} ms one-way: {bound.en}",
    )
    if promised.by_round_trip:
        return LIMIT.warning(
            Name(
                f"{cannot.zh}；目前往返够短，不用时钟也能证明，路径一变长就不能了",
                f"{cannot.en}; for now round trips are short enough to prove it without, until the way gets longer",
            ),
            _DISCIPLINE,
            subject,
            numbers,
        )
    return LIMIT.problem(cannot, _DISCIPLINE, subject, numbers)


def _ms(duration_ns: int) -> str:
    """Milliseconds to two significant digits, rounded up: `0.053`, `3.2`."""
    digits = 1
    while digits * 100 <= duration_ns:
        digits *= 10
    return f"{-(-duration_ns // digits) * digits / 1e6:g}"
