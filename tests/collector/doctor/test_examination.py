"""`isochrone-collector doctor` as an operator runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.runtime.doctor.diagnosis import Diagnosis, Severity
from agent.runtime.lifecycle import ExitStatus
from agent.runtime.settings import load
from collector.cli import main
from collector.doctor.examination import CollectorExamination
from collector.fleet.settings import FleetSettings
from tests.support.fleets import FLEET
from tests.support.processes import collector_command, eventually, free_port, running
from tests.support.receiver import Receiver, receiving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PATH = "/services/T0000/XXXX"


def written(folder: Path, text: str) -> Path:
    """A fleet file, with the files that it names."""
    for name, content, mode in (("key", SECRET, 0o600), ("token", "a-token-of-letters", 0o644)):
        (folder / name).write_text(content, encoding="ascii")
        (folder / name).chmod(mode)
    config = folder / "fleet.yaml"
    config.write_text(text, encoding="utf-8")
    return config


def by_subject(found: list[Diagnosis], id_: str) -> dict[str, Diagnosis]:
    """The diagnoses of a kind."""
    return {one.subject: one for one in found if one.id == id_}


async def test_nobody_is_told_anything(tmp_path: Path) -> None:
    """Webhooks and Alertmanagers are connected to; nothing is posted, no secret shown, and the running collector's port
    is its own."""
    port = free_port()
    async with receiving(Receiver()) as webhook, receiving(Receiver()) as alertmanager:
        (tmp_path / "url").write_text(f"{webhook.url}{PATH}", encoding="ascii")
        (tmp_path / "url").chmod(0o600)
        alerts = (
            f"alerts: {{alertmanagers: ['{alertmanager.url}'], "
            "webhooks: [{name: noc, url_file: url, secret_file: key}]}\n"
        )
        config = written(tmp_path, FLEET.replace("127.0.0.1:9460", f"127.0.0.1:{port}") + alerts)
        async with running(collector_command("run", "--config", config), tmp_path / "log") as collector:

            async def ready() -> bool:
                return "page" in (tmp_path / "log").read_text()

            await eventually(ready, "the collector is ready")
            found = await CollectorExamination(load(config, FleetSettings, files=False), config).run()
    assert webhook.received == []
    assert [(one.path, one.body) for one in alertmanager.received] == [("/-/healthy", b"")]
    (listens,) = by_subject(found, "port.listen").values()
    assert (listens.severity, listens.numbers["pid"]) == (Severity.OK, collector.pid)
    assert [one.severity for one in by_subject(found, "server.webhook").values()] == [Severity.OK]
    assert [one.severity for one in by_subject(found, "server.alertmanager").values()] == [Severity.OK]
    assert [one.severity for one in by_subject(found, "file.secret").values()] == [Severity.OK] * 2
    assert [one.severity for one in by_subject(found, "state.disk").values()] == [Severity.OK]
    told = json.dumps([one.document() for one in found])
    assert SECRET not in told
    assert PATH not in told


def test_everything_that_is_wrong_is_found_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Agents that are down, a Prometheus and a receiver that are not there, an open token."""
    down = free_port()
    text = FLEET.replace("9461", str(free_port())).replace("9462", str(free_port()))
    text = text.replace("9460", str(free_port())).replace(
        "{kind: agents,", f"{{kind: prometheus, url: 'http://127.0.0.1:{down}',"
    )
    text += f"api: {{token_file: token}}\nalerts: {{webhooks: [{{name: noc, url: 'http://127.0.0.1:{down}{PATH}'}}]}}\n"
    config = written(tmp_path, text)
    assert main(["doctor", "--config", str(config), "--json"]) == ExitStatus.FAILED
    printed = capsys.readouterr()
    found: list[dict[str, Any]] = json.loads(printed.out)["findings"]
    problems = [one["id"] for one in found if one["severity"] == "problem"]
    assert sorted(problems) == [
        "agent.read",
        "agent.read",
        "file.secret",
        "server.prometheus",
        "server.webhook",
    ]
    assert all(one["remedy"]["zh"] and one["remedy"]["en"] for one in found if one["severity"] == "problem")
    assert PATH not in printed.out
    assert printed.err == ""


def test_without_a_configuration_the_host_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    """In Chinese unless asked otherwise."""
    assert main(["doctor"]) == ExitStatus.OK
    assert "正常 host.kernel" in capsys.readouterr().out
    assert main(["doctor", "--lang", "en"]) == ExitStatus.OK
    assert "ok host.kernel" in capsys.readouterr().out


def test_a_file_that_is_no_good_ends_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its mistakes are told with their lines."""
    config = written(tmp_path, FLEET + "speed: fast\n")
    assert main(["doctor", "--config", str(config)]) == ExitStatus.USAGE
    assert "fleet.yaml:23: speed" in capsys.readouterr().err
