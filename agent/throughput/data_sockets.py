"""Data sockets as who has a lease opens them: connected, and each proven to the server and the server to it."""

from __future__ import annotations

import asyncio
import secrets
import socket
from typing import Final

from agent.core.throughput.handshake import Progress, Requester
from agent.core.throughput.lease import Protocol, Way
from agent.core.throughput.preamble import NONCE_OCTETS, PREAMBLE_OCTETS
from agent.core.throughput.result import ErrorReason
from agent.throughput.congestion_control import choose_congestion_control
from agent.throughput.control_client import NoTest
from agent.throughput_documents import Grant

_AGAIN_S: Final = 0.2


async def open_all(
    grant: Grant, address: str, protocol: Protocol, ways: tuple[Way, ...], streams: int
) -> dict[tuple[Way, int], socket.socket]:
    """Open the data sockets of a lease, all at once.

    Args:
        grant: the lease.
        address: of the server.
        ways, streams: that are tested.

    Raises:
        NoTest: one of them cannot be opened; none is left open then.
    """
    wanted = [(way, stream) for way in ways for stream in range(streams)]
    opening = [_opened(grant, address, protocol, way, stream) for way, stream in wanted]
    results = await asyncio.gather(*opening, return_exceptions=True)
    opened = {at: one for at, one in zip(wanted, results, strict=True) if isinstance(one, socket.socket)}
    failures = [result for result in results if isinstance(result, BaseException)]
    if not failures:
        return opened
    for one in opened.values():
        one.close()
    failure = failures[0]
    if isinstance(failure, TimeoutError):
        failure = NoTest(ErrorReason.UNREACHABLE, f"data port {grant.port}: does not answer")
    elif isinstance(failure, OSError):
        failure = NoTest(ErrorReason.UNREACHABLE, f"data port {grant.port}: {failure.strerror or failure}")
    raise failure


async def _opened(grant: Grant, address: str, protocol: Protocol, way: Way, stream: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol is Protocol.TCP else socket.SOCK_DGRAM
    one = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    if protocol is Protocol.TCP:
        choose_congestion_control(one)
    requester = Requester(grant.id, grant.token, way, stream, secrets.token_bytes(NONCE_OCTETS))
    try:
        async with asyncio.timeout(grant.start_by_ns / 1e9):
            await asyncio.get_running_loop().sock_connect(one, (address, grant.port))
            if protocol is Protocol.TCP:
                await _prove_on_stream(one, requester)
            else:
                await _prove_by_datagrams(one, requester)
        if requester.progress is not Progress.OPEN:
            raise NoTest(ErrorReason.REFUSED, f"data port {grant.port}: {way} stream {stream} is refused")
    except BaseException:
        one.close()
        raise
    return one


async def _prove_on_stream(one: socket.socket, requester: Requester) -> None:
    loop = asyncio.get_running_loop()
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while requester.progress in (Progress.ASKING, Progress.PROVING):
        await loop.sock_sendall(one, requester.message)
        answer = b""
        while len(answer) < PREAMBLE_OCTETS:
            piece = await loop.sock_recv(one, PREAMBLE_OCTETS - len(answer))
            if not piece:
                raise NoTest(ErrorReason.REFUSED, "the data connection is closed without a word")
            answer += piece
        if not requester.receive(answer):
            raise NoTest(ErrorReason.MALFORMED, "the data port does not answer as one of ours does")


async def _prove_by_datagrams(one: socket.socket, requester: Requester) -> None:
    loop = asyncio.get_running_loop()
    while requester.progress in (Progress.ASKING, Progress.PROVING):
        await loop.sock_sendall(one, requester.message)
        asked = requester.progress
        try:
            async with asyncio.timeout(_AGAIN_S):
                while requester.progress is asked:
                    requester.receive(await loop.sock_recv(one, PREAMBLE_OCTETS + 1))
        except TimeoutError:
            continue
