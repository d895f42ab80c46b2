"""The collector's clock, held against those of the servers it talks to.

Verdicts do not depend on it by more than a second or two (which minute a count is of, when a breach began), so the
`Date` of any HTTP answer, in whole seconds, is as good a comparison as is needed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from agent.core.names import Name
from agent.runtime.doctor.bounded import each
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers
from agent.runtime.doctor.reach import NameAnswer
from collector.doctor.resolver import KnownNames

DIFFERENCE: Final = Check(
    "clock.difference",
    Name(
        "采集器的时钟决定计数属于哪一分钟、违约何时开始；错几秒就会与 Prometheus 和日志对不上。",
        "The collector's clock says to which minute counts belong, and when a breach began: seconds off, nothing fits.",
    ),
)

_RESOLUTION_S: Final = 1.0
_WARNING_S: Final = 2.0
_PROBLEM_S: Final = 60.0
_MOST_ASKED: Final = 16
_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class DifferenceFacts:
    """By how much others' clocks are ahead of ours, in seconds, by their addresses; of those that answered."""

    ahead_seconds: Mapping[str, float]


def judge_difference(facts: DifferenceFacts) -> Iterator[Diagnosis]:
    """Whether ours agrees with most of them."""
    ahead = facts.ahead_seconds
    if not ahead:
        yield DIFFERENCE.note(
            Name("没有服务可以对照", "nobody to compare with answers"), numbers={"compared": 0}
        )
        return
    median = statistics.median(ahead.values())
    numbers: Numbers = {"compared": len(ahead), "others_ahead_seconds": median}
    found = Name(
        f"与 {len(ahead)} 个服务相比，中位数相差 {abs(median):.1f} 秒",
        f"{abs(median):.1f} s from the median of {len(ahead)} servers",
    )
    remedy = Name(
        "安装 chrony（apt install chrony）或启用 systemd-timesyncd，timedatectl 查看是否已同步。",
        "Install chrony (apt install chrony) or enable systemd-timesyncd; timedatectl says whether it is synchronised.",
    )
    if abs(median) >= _PROBLEM_S:
        yield DIFFERENCE.problem(found, remedy, numbers=numbers)
    elif abs(median) >= _WARNING_S:
        yield DIFFERENCE.warning(found, remedy, numbers=numbers)
    else:
        yield DIFFERENCE.ok(found, numbers=numbers)


async def gather_difference(urls: Sequence[str], names: Mapping[str, NameAnswer]) -> DifferenceFacts:
    """Ask servers for anything, and read when they say it is.

    Args:
        urls: to be read from; of many the first.
    """
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        connector=aiohttp.TCPConnector(resolver=KnownNames(names)),
    ) as session:

        async def ahead(url: str) -> float | None:
            try:
                async with session.get(url, allow_redirects=False) as response:
                    now = time.time()
                    said = parsedate_to_datetime(response.headers["Date"]).timestamp()
            except (aiohttp.ClientError, TimeoutError, OSError, KeyError, ValueError):
                return None
            # what it says was cut to the second
            return said + _RESOLUTION_S / 2 - now

        found = await each(urls[:_MOST_ASKED], ahead, _MOST_ASKED)
    return DifferenceFacts({url: seconds for url, seconds in found.items() if seconds is not None})
