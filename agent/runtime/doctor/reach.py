"""Names, and servers that the program talks to: whether they resolve, and whether a connection comes about.

A connection is opened, its certificate looked at where it is TLS, and closed; nothing is asked over it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from agent.core.names import Name
from agent.runtime.apart import apart
from agent.runtime.doctor.bounded import each
from agent.runtime.doctor.diagnosis import Check, Diagnosis
from agent.runtime.hosts import addresses_of, is_address

NAMES: Final = Check(
    "name.resolution",
    Name(
        "解析不了的目标不会被探测，解析不了的服务收不到任何东西。",
        "A target that does not resolve is not probed, and a server that does not is told nothing.",
    ),
)

MOST_SHOWN: Final = 20
"""Of a kind of fault so many are told one by one; of more, how many there are."""

_LOOKUP_S: Final = 5.0
_LOOKUPS_S: Final = 15.0
_LOOKUPS_AT_ONCE: Final = 32
_CONNECT_S: Final = 5.0
_SLOW_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class NameAnswer:
    """What came of looking up a host.

    Attributes:
        addresses: best first; none where it failed.
        failure: why; empty where it did not.
        seconds: how long it took.
    """

    addresses: tuple[str, ...] = ()
    failure: str = ""
    seconds: float = 0.0


def judge_names(answers: Mapping[str, NameAnswer]) -> Iterator[Diagnosis]:
    """Which names do not resolve, or slowly; addresses need no looking up and are not counted."""
    names = {host: answer for host, answer in answers.items() if not is_address(host)}
    failed = {host: answer for host, answer in names.items() if not answer.addresses}
    slow = [host for host, answer in names.items() if answer.addresses and answer.seconds > _SLOW_S]
    numbers = {"names": len(names), "failed": len(failed), "slow": len(slow)}
    if not names:
        yield NAMES.ok(Name("配置里只有地址，没有域名", "only addresses, no names"), numbers=numbers)
    elif not failed and not slow:
        longest_ms = max(answer.seconds for answer in names.values()) * 1e3
        found = Name(
            f"{len(names)} 个名字都能解析，最慢 {longest_ms:.0f} 毫秒",
            f"{len(names)} names resolve, the slowest in {longest_ms:.0f} ms",
        )
        yield NAMES.ok(found, numbers=numbers)
    resolver = Name(
        "核对拼写；看 /etc/resolv.conf 与 getent ahosts 的结果；不依赖 DNS 的做法是直接写地址。",
        "Check the spelling, /etc/resolv.conf and what `getent ahosts` says; writing addresses needs no DNS.",
    )
    for host in list(failed)[:MOST_SHOWN]:
        answer = failed[host]
        yield NAMES.problem(
            Name(f"不能解析：{answer.failure}", f"does not resolve: {answer.failure}"),
            resolver,
            subject=host,
            numbers={"seconds": answer.seconds},
        )
    yield from judge_more(NAMES, len(failed), resolver)
    if slow:
        longest_s = max(names[host].seconds for host in slow)
        yield NAMES.warning(
            Name(
                f"{len(slow)} 个名字解析很慢，最慢 {longest_s:.1f} 秒",
                f"{len(slow)} names resolve slowly, the slowest in {longest_s:.1f} s",
            ),
            resolver,
            numbers=numbers,
        )


def judge_more(check: Check, count: int, remedy: Name) -> Iterator[Diagnosis]:
    """How many faults of a kind were not told one by one."""
    if count > MOST_SHOWN:
        more = count - MOST_SHOWN
        yield check.problem(
            Name(f"另有 {more} 个同样的问题", f"and {more} more"), remedy, subject="…", numbers={"more": more}
        )


async def look_up(hosts: Iterable[str]) -> dict[str, NameAnswer]:
    """Look up hosts, each for 5 s at most and all for 15; an address is its own answer.

    However many names a dead resolver is asked for, there is time left for what else is to be found out.
    """
    distinct = list(dict.fromkeys(hosts))
    found = {host: NameAnswer((host,)) for host in distinct if is_address(host)}
    names = [host for host in distinct if host not in found]
    end = time.monotonic() + _LOOKUPS_S
    return found | await each(names, lambda host: _look_up(host, end), _LOOKUPS_AT_ONCE)


async def _look_up(host: str, end: float) -> NameAnswer:
    begun = time.monotonic()
    if begun >= end:
        return NameAnswer(failure=f"not asked: the names before it took {_LOOKUPS_S:g} s")
    try:
        async with asyncio.timeout(min(_LOOKUP_S, end - begun)):
            found = await apart(addresses_of, host)
    except TimeoutError:
        took_s = time.monotonic() - begun
        return NameAnswer(failure=f"no answer within {took_s:.0f} s", seconds=took_s)
    except OSError as error:
        return NameAnswer(failure=str(error.strerror or error), seconds=time.monotonic() - begun)
    return NameAnswer(found, seconds=time.monotonic() - begun)


@dataclass(frozen=True, slots=True)
class Connection:
    """What came of connecting to a server.

    Attributes:
        failure: why there is no connection; empty where there is.
        seconds: until it was there.
        certificate_days: for how long its certificate is still good; None: no TLS.
        certificate: whether it is the certificate that was refused.
    """

    failure: str = ""
    seconds: float = 0.0
    certificate_days: float | None = None
    certificate: bool = False


async def connect(address: str, port: int, server_name: str | None = None) -> Connection:
    """Open a connection and close it.

    Args:
        address: not a name.
        port: of TCP.
        server_name: whose certificate is expected, where it is TLS.
    """
    context = None if server_name is None else await apart(ssl.create_default_context)
    begun = time.monotonic()
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=server_name)
    except TimeoutError:
        return Connection(f"no answer within {_CONNECT_S:g} s", _CONNECT_S)
    except ssl.SSLCertVerificationError as error:
        return Connection(error.verify_message, time.monotonic() - begun, certificate=True)
    except ssl.SSLError as error:
        return Connection(f"no TLS: {error.reason}", time.monotonic() - begun)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        return Connection(why, time.monotonic() - begun)
    took = time.monotonic() - begun
    secured = writer.get_extra_info("ssl_object")
    days = None if secured is None else _days_left(secured.getpeercert())
    writer.transport.abort()
    return Connection(seconds=took, certificate_days=days)


def _days_left(certificate: Mapping[str, object]) -> float | None:
    until = certificate.get("notAfter")
    if not isinstance(until, str):
        return None
    return (ssl.cert_time_to_seconds(until) - datetime.now(UTC).timestamp()) / 86_400
