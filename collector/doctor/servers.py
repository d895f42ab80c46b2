"""The servers that the collector asks or tells: a connection to each, and nothing is said over it.

Of an address that may be a secret only the host is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from agent.core.names import Name
from agent.runtime.doctor.bounded import each
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers
from agent.runtime.doctor.reach import Connection, NameAnswer, connect
from agent.runtime.quantities import Endpoint
from collector.urls import split

Role = Literal["prometheus", "alertmanager", "webhook"]

SERVERS: Final[Mapping[Role, Check]] = {
    "prometheus": Check(
        "server.prometheus",
        Name(
            "读不到 Prometheus，就没有任何结论。",
            "Without its Prometheus the collector has no verdict on anything.",
        ),
    ),
    "alertmanager": Check(
        "server.alertmanager",
        Name(
            "到不了 Alertmanager，违约就不会通知到人。",
            "Breaches reach nobody by an Alertmanager that is not reached.",
        ),
    ),
    "webhook": Check(
        "server.webhook",
        Name(
            "到不了的接收方收不到违约通知；它们会留着重试。",
            "What a receiver should be told waits, and is tried again.",
        ),
    ),
}

_AT_ONCE: Final = 16
_EXPIRES_SOON_DAYS: Final = 14


@dataclass(frozen=True, slots=True)
class Server:
    """A server.

    Attributes:
        role: what it is for.
        name: what people call it.
        host, port: where it is.
        tls: whether it is spoken to over TLS.
    """

    role: Role
    name: str
    host: str
    port: int
    tls: bool = False

    @classmethod
    def of_url(cls, role: Role, name: str, url: str) -> Server:
        """The server of an address that was checked already."""
        parts = split(url)
        tls = parts.scheme == "https"
        return cls(role, name, parts.hostname or "", parts.port or (443 if tls else 80), tls)

    @property
    def shown(self) -> str:
        """Name and host: the rest of an address may be a secret."""
        where = str(Endpoint(self.host, self.port))
        return where if not self.name else f"{self.name} ({where})"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What came of connecting to a server; None: its name is not known."""

    server: Server
    connection: Connection | None


def judge_servers(facts: Sequence[ServerFacts]) -> Iterator[Diagnosis]:
    """Each of them."""
    return map(_judge, facts)


def _judge(facts: ServerFacts) -> Diagnosis:
    server, connection = facts.server, facts.connection
    check, subject = SERVERS[server.role], server.shown
    if connection is None:
        return check.problem(
            Name("名字解析不了", "its name does not resolve"),
            Name("见 name.resolution。", "See name.resolution."),
            subject,
        )
    numbers: Numbers = {
        "seconds": connection.seconds,
        "tls": server.tls,
        "certificate_days": connection.certificate_days,
        "failure": connection.failure or None,
    }
    if connection.certificate:
        return check.problem(
            Name(
                f"证书不被信任：{connection.failure}", f"its certificate is not trusted: {connection.failure}"
            ),
            Name(
                "换上有效的证书；自建 CA 的根证书放进 /usr/local/share/ca-certificates 后运行 update-ca-certificates。",
                "Give it a valid one; a CA of your own goes to /usr/local/share/ca-certificates, then "
                "update-ca-certificates.",
            ),
            subject,
            numbers,
        )
    if connection.failure:
        return check.problem(
            Name(f"连接不上：{connection.failure}", f"no connection: {connection.failure}"),
            Name(
                "看它是否在运行、地址和端口是否正确、防火墙是否放行。",
                "See whether it runs, address and port are right, and firewalls let the connection pass.",
            ),
            subject,
            numbers,
        )
    days = connection.certificate_days
    if days is not None and days < _EXPIRES_SOON_DAYS:
        return check.warning(
            Name(f"证书 {days:.0f} 天后过期", f"its certificate expires in {days:.0f} days"),
            Name("换证书。", "Renew it."),
            subject,
            numbers,
        )
    took_ms = connection.seconds * 1e3
    secured = Name("，证书有效", ", certificate valid") if server.tls else Name("", "")
    return check.ok(
        Name(f"可以连接（{took_ms:.1f} 毫秒）{secured.zh}", f"reachable ({took_ms:.1f} ms){secured.en}"),
        subject,
        numbers,
    )


async def gather_servers(servers: Sequence[Server], names: Mapping[str, NameAnswer]) -> list[ServerFacts]:
    """Connect to each, to so many at once."""

    async def connected(server: Server) -> Connection | None:
        addresses = names.get(server.host, NameAnswer()).addresses
        if not addresses:
            return None
        return await connect(addresses[0], server.port, server.host if server.tls else None)

    found = await each(servers, connected, _AT_ONCE)
    return [ServerFacts(server, connection) for server, connection in found.items()]
