"""The servers that are asked or told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.doctor.diagnosis import Severity
from agent.runtime.doctor.reach import Connection, NameAnswer
from collector.doctor.servers import SERVERS, Role, Server, ServerFacts, gather_servers, judge_servers
from tests.support.processes import free_port

ROLES: tuple[Role, ...] = tuple(SERVERS)
SECRET = "T0000/B0000/XXXX"
PASSWORD = "open-sesame"
NAMES = {"127.0.0.1": NameAnswer(("127.0.0.1",))}

connections = st.none() | st.builds(
    Connection,
    st.sampled_from(["", "Connection refused"]),
    st.floats(0, 5),
    st.none() | st.floats(-10, 400),
    st.booleans(),
)


@given(st.sampled_from(ROLES), connections)
def test_what_is_not_reached_is_a_problem(role: Role, connection: Connection | None) -> None:
    """And a certificate that is about to expire a warning."""
    server = Server(role, "noc", "noc.example", 443, tls=True)
    (found,) = judge_servers([ServerFacts(server, connection)])
    assert found.id == f"server.{role}"
    failed = connection is None or bool(connection.failure) or connection.certificate
    assert (found.severity is Severity.PROBLEM) is failed
    if not failed and connection is not None and connection.certificate_days is not None:
        assert (found.severity is Severity.WARNING) is (connection.certificate_days < 14)


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        (f"https://hooks.example/{SECRET}?key={SECRET}", "hooks.example", 443, True),
        (f"https://user:{PASSWORD}@hooks.example:8443/", "hooks.example", 8443, True),
        ("http://[::1]:9093/alertmanager", "::1", 9093, False),
    ],
)
def test_of_an_address_only_the_host_is_known(url: str, host: str, port: int, tls: bool) -> None:
    """The rest may be a secret."""
    server = Server.of_url("webhook", "noc", url)
    assert (server.host, server.port, server.tls) == (host, port, tls)
    (found,) = judge_servers([ServerFacts(server, Connection())])
    told = f"{server!r}{found.document()}"
    assert SECRET not in told
    assert PASSWORD not in told


async def test_each_is_connected_to() -> None:
    """One that is not there is told with the reason, one without an address as that."""
    servers = [
        Server("webhook", "a", "127.0.0.1", free_port()),
        Server("alertmanager", "", "am.example", 9093),
    ]
    down, unknown = await gather_servers(servers, NAMES)
    assert down.connection is not None
    assert down.connection.failure == "Connection refused"
    assert unknown.connection is None
