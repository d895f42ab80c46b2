"""How streams of a test are controlled."""

from __future__ import annotations

import contextlib
import socket

from agent.throughput.congestion_control import choose_congestion_control, congestion_control_of


def test_it_is_there_before_the_connection() -> None:
    """At both ends a connection begins with CUBIC, where this process may choose it; else with the host's own."""
    with socket.socket() as trial:
        with contextlib.suppress(OSError):
            trial.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        expected = congestion_control_of(trial)
    with socket.socket() as listener, socket.socket() as client:
        for one in (listener, client):
            choose_congestion_control(one)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            assert {congestion_control_of(one) for one in (client, accepted)} == {expected}
