"""The addresses that the configuration listens at: whether they can be bound, or who has them already.

A trial binds and closes; it neither listens nor receives, so a running program is not disturbed. Whose a taken port is
comes from /proc as far as this user may see; what cannot be seen there may still be recognised by its health check.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from agent.core.names import Name
from agent.runtime.apart import apart
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers
from agent.runtime.quantities import Endpoint

PORT: Final = Check(
    "port.listen",
    Name(
        "绑定不了配置里的地址，程序就不能启动。",
        "A program that cannot bind what its configuration names does not start.",
    ),
)

Protocol = Literal["udp", "tcp"]
_KINDS: Final = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
_LISTENING: Final = {"udp": "07", "tcp": "0A"}
_HEALTHY: Final = b"healthy"
_TIMEOUT_S: Final = 2.0
_MOST_OCTETS: Final = 4096


@dataclass(frozen=True, slots=True)
class Own:
    """By what a running program of ours is known.

    Attributes:
        program: `isochrone-agent` or `isochrone-collector`.
        config: the file it was started with; None: any.
        pid: of the running service, where systemd knows it; else 0.
    """

    program: str
    config: Path | None = None
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a port.

    Attributes:
        ours: whether it is the same program with the same configuration, running.
        pid, command: None and empty where this user may not see them.
        uid: the user that opened it; None: not known.
    """

    ours: bool
    pid: int | None = None
    command: str = ""
    uid: int | None = None


@dataclass(frozen=True, slots=True)
class PortFacts:
    """An address that is to be listened at.

    Attributes:
        endpoint, protocol: the address.
        code: errno with which binding it was refused; 0: it was not.
        holder: who has it, where somebody has.
        granted: whether the service may bind what this process may not.
    """

    endpoint: Endpoint
    protocol: Protocol
    code: int = 0
    holder: Holder | None = None
    granted: bool = False


def judge_port(facts: PortFacts, program: str) -> Diagnosis:
    """Whether the program can, or does, listen there."""
    subject = f"{facts.protocol} {facts.endpoint}"
    name = errno.errorcode.get(facts.code, str(facts.code))
    numbers: Numbers = {"errno": name if facts.code else None}
    if not facts.code:
        return PORT.ok(Name("空闲，可以绑定", "free, and can be bound"), subject, numbers)
    if facts.code == errno.EADDRINUSE:
        return _taken(facts, program, subject, numbers)
    if facts.code in (errno.EACCES, errno.EPERM):
        found = Name("这个进程无权绑定", "this process may not bind it")
        if facts.granted:
            return PORT.ok(
                Name(f"{found.zh}，服务单元有权", f"{found.en}, the service's unit may"), subject, numbers
            )
        return PORT.problem(
            found,
            Name(
                "单元里写 AmbientCapabilities=CAP_NET_BIND_SERVICE，或改用 1024 以上的端口。",
                "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, or listen at a port from 1024 on.",
            ),
            subject,
            numbers,
        )
    why = os.strerror(facts.code) if facts.code > 0 else "unknown host"
    return PORT.problem(
        Name(f"不能绑定：{why}", f"cannot be bound: {why}"),
        Name(
            "写本机网卡上的地址（ip address），或 0.0.0.0、[::]。",
            "Name an address of this host (ip address), or 0.0.0.0, [::].",
        ),
        subject,
        numbers,
    )


def _taken(facts: PortFacts, program: str, subject: str, numbers: Numbers) -> Diagnosis:
    holder = facts.holder or Holder(ours=False)
    numbers = {**numbers, "pid": holder.pid, "uid": holder.uid, "ours": holder.ours}
    if holder.ours:
        pid = "" if holder.pid is None else f" (pid {holder.pid})"
        return PORT.ok(
            Name(f"由正在运行的 {program} 使用{pid}", f"used by the running {program}{pid}"), subject, numbers
        )
    if holder.pid is not None:
        who = Name(f"{holder.command}（pid {holder.pid}）", f"{holder.command} (pid {holder.pid})")
    elif holder.uid is not None:
        who = Name(f"用户 {holder.uid} 的进程", f"a process of user {holder.uid}")
    else:
        who = Name("看不到的进程", "a process that cannot be seen")
    port = facts.endpoint.port
    return PORT.problem(
        Name(f"已被{who.zh}占用", f"taken by {who.en}"),
        Name(
            f"停掉它，或改用别的端口；以 root 查看是谁：ss -lpn 'sport = :{port}'。",
            f"Stop that, or listen elsewhere; as root, see who it is: ss -lpn 'sport = :{port}'.",
        ),
        subject,
        numbers,
    )


def judge_ports(facts: list[PortFacts], program: str) -> Iterator[Diagnosis]:
    """All of them."""
    return (judge_port(one, program) for one in facts)


# Gathering


async def gather_port(
    endpoint: Endpoint,
    protocol: Protocol,
    own: Own,
    health: Endpoint | None,
    *,
    granted: bool = False,
    proc: Path = Path("/proc"),
) -> PortFacts:
    """Try to bind an address, and see who has it where it is taken.

    Args:
        own: whose port it is to be.
        health: where a running one would answer its health check.
        granted: whether the service may bind privileged ports.
    """
    code = await apart(try_bind, endpoint, protocol)
    holder = None
    if code == errno.EADDRINUSE:
        holder = await apart(holder_of, endpoint.port, protocol, own, proc)
        if holder.pid is None and health is not None and await is_healthy(health):
            holder = Holder(ours=True, uid=holder.uid)
    return PortFacts(endpoint, protocol, code, holder, granted)


def try_bind(endpoint: Endpoint, protocol: Protocol) -> int:
    """Bind an address and let it go again; the errno of the refusal, 0 where there is none, -1 for an unknown name."""
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=_KINDS[protocol], flags=socket.AI_PASSIVE
        )
    except OSError:
        return -1
    try:
        with socket.socket(family, kind) as trial:
            if family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if protocol == "tcp":  # as the server does: what lingers of the last run is in nobody's way
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def holder_of(port: int, protocol: Protocol, own: Own, proc: Path = Path("/proc")) -> Holder:
    """Who has a port, as far as /proc tells this user."""
    uid: int | None = None
    inodes: set[str] = set()
    for table in (protocol, f"{protocol}6"):
        for fields in _sockets(proc / "net" / table):
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == _LISTENING[protocol]:
                uid = int(fields[7])
                inodes.add(fields[9])
    links = {f"socket:[{inode}]" for inode in inodes}
    for folder in proc.glob("[0-9]*"):
        if _has_one_of(folder, links):
            pid = int(folder.name)
            command = _command(folder)
            ours = pid == own.pid or (is_program(command, own.program) and _same_config(folder, command, own))
            return Holder(ours, pid, _short(command), uid)
    return Holder(ours=False, uid=uid)


def _sockets(table: Path) -> Iterator[list[str]]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) > 9:
            yield fields


def _has_one_of(folder: Path, links: set[str]) -> bool:
    try:
        return any(str(descriptor.readlink()) in links for descriptor in (folder / "fd").iterdir())
    except OSError:
        return False  # not ours to see, or gone


def _command(folder: Path) -> list[str]:
    try:
        return (folder / "cmdline").read_text(encoding="utf-8", errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def is_program(command: list[str], program: str) -> bool:
    """Whether a command line runs a program of ours: `isochrone-agent run …` or `python -m agent run …`."""
    module = program.removeprefix("isochrone-")
    named = any(Path(word).name == program for word in command[:3])
    as_module = any(pair == ("-m", module) for pair in itertools.pairwise(command))
    return "run" in command and (named or as_module)


def _same_config(folder: Path, command: list[str], own: Own) -> bool:
    """Whether a process of /proc was started with our configuration; where that cannot be told, it is believed."""
    given = [word.partition("=")[2] for word in command if word.startswith("--config=")]
    given += [after for before, after in itertools.pairwise(command) if before == "--config"]
    if own.config is None or not given:
        return True
    try:
        theirs = ((folder / "cwd").readlink() / given[-1]).resolve()
    except OSError:
        return True
    return theirs == own.config.resolve()


def _short(command: list[str]) -> str:
    """The names of the program and of what it runs: other arguments may hold secrets."""
    return " ".join(Path(word).name for word in command[:2] if not word.startswith("-"))


async def is_healthy(endpoint: Endpoint) -> bool:
    """Whether a program of ours answers its health check there."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(_visited(endpoint.host), endpoint.port)
            try:
                writer.write(f"GET /-/healthy HTTP/1.0\r\nHost: {endpoint}\r\n\r\n".encode())
                await writer.drain()
                answer = await reader.read(_MOST_OCTETS)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    head, _, body = answer.partition(b"\r\n\r\n")
    return b" 200 " in head.partition(b"\r\n")[0] and body.strip() == _HEALTHY


def _visited(host: str) -> str:
    """Where one visits what listens at an address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - recognised, not bound
