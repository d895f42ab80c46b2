"""The ids of findings, which runbooks and programs refer to."""

from __future__ import annotations

import importlib
import pkgutil

import agent.doctor
import agent.runtime.doctor
import collector.doctor
from agent.runtime.doctor.diagnosis import Check

IDS = {
    "agent.clock",
    "agent.plan",
    "agent.read",
    "agent.targets",
    "clock.difference",
    "clock.limit",
    "clock.source",
    "doctor.unfinished",
    "file.secret",
    "host.clocksource",
    "host.cpu_governor",
    "host.kernel",
    "host.time_zone",
    "host.virtualisation",
    "limit.open_files",
    "name.resolution",
    "port.listen",
    "privilege.net_bind_service",
    "privilege.net_raw",
    "server.alertmanager",
    "server.prometheus",
    "server.webhook",
    "service.unit",
    "socket.receive_buffer",
    "socket.send_buffer",
    "state.database",
    "state.disk",
    "target.reach",
    "throughput.congestion_control",
    "timestamps.kernel",
}


def checks() -> list[Check]:
    """All kinds of findings of both programs."""
    found = []
    for package in (agent.runtime.doctor, agent.doctor, collector.doctor):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            loaded = importlib.import_module(module.name)
            for value in vars(loaded).values():
                values = value.values() if isinstance(value, dict) else [value]
                found += [one for one in values if isinstance(one, Check)]
    return found


def test_ids_stay_as_they_are() -> None:
    """One that goes or comes is a change that users notice."""
    assert {one.id for one in checks()} == IDS


def test_no_id_has_two_reasons() -> None:
    """And each says why it matters, in both languages."""
    assert len(set(checks())) == len(IDS)
    assert all(one.why.zh and one.why.en for one in checks())
