"""The command line: what it prints, and the exit status: 0 ok, 1 the SLA failed, 2 usage or configuration."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from agent.runtime.settings import parse
from agent.settings import AgentSettings
from collector.cli import main
from collector.sla.verdict import Verdict
from tests.support.collector_web import serving
from tests.support.fleets import FLEET, changed
from tests.support.processes import collector_command, eventually, free_port, running
from tests.support.verdicts import State, breach, closed, judgement


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A fleet file."""
    made = tmp_path / "fleet.yaml"
    made.write_text(FLEET, encoding="utf-8")
    return made


async def called(*arguments: str | Path) -> int:
    """Run a command beside the server that it asks."""
    return await asyncio.to_thread(main, [str(argument) for argument in arguments])


def test_a_good_fleet_file_is_summed_up(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sites, paths, verdicts and the plan's version."""
    assert main(["check", "--config", str(file)]) == 0
    assert "ok: 3 sites, 3 paths, 7 verdicts, plan " in capsys.readouterr().out


def test_warnings_are_shown_and_forgiven(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are no errors."""
    file.write_text(changed("timeout: 2s", "timeout: 50ms"), encoding="utf-8")
    assert main(["check", "--config", str(file)]) == 0
    assert "warning: paths[1]: timeout 50ms" in capsys.readouterr().out


def test_a_bad_fleet_file_is_refused_with_every_problem(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line each, on standard error."""
    file.write_text(
        changed("tier: city}", "tier: town}").replace("id: hourly", "id: detection"), encoding="utf-8"
    )
    assert main(["check", "--config", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{file}:") for line in lines)
    assert main(["run", "--config", str(file)]) == 2


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a traceback."""
    assert main(["check", "--config", str(tmp_path / "nowhere.yaml")]) == 2
    assert "nowhere.yaml: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["judge"], ["check"], ["plan", "--config", "x"], ["verdicts", "--lang", "de"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And says how it is used."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: isochrone-collector" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["run"], ["check"], ["plan"], ["verdicts"], ["breaches"]])
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It exits with 0."""
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: isochrone-collector")


def test_the_plan_of_a_site_is_its_agents_configuration(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As YAML that the agent accepts, and the same as JSON."""
    assert main(["plan", "--config", str(file), "--site", "wuhan"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# made by: isochrone-collector plan --site wuhan; plan ")
    settings = parse(text, AgentSettings, "agent.yaml")
    assert (settings.site, len(settings.paths)) == ("wuhan", 2)
    assert main(["plan", "--config", str(file), "--site", "wuhan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == yaml.safe_load(text)


def test_a_plan_needs_no_secrets(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be made where the collector does not run; `check` and `run` are for where it does."""
    alerts = "alerts: {webhooks: [{name: noc, url: 'http://a', secret_file: noc.secret}]}\n"
    file.write_text(f"{FLEET}{alerts}state: /nowhere/state.sqlite\n", encoding="utf-8")
    line = len(FLEET.splitlines()) + 1
    assert main(["plan", "--config", str(file), "--site", "wuhan"]) == 0
    capsys.readouterr()
    for command in ("check", "run"):
        assert main([command, "--config", str(file)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines == [
            f"{file}:{line}: alerts.webhooks[0].secret_file: cannot be read: No such file or directory",
            f"{file}:{line + 1}: state: /nowhere/state.sqlite is in no folder that exists",
        ]


def test_the_plan_of_an_unknown_site_names_the_known_ones(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anyone installs an empty file."""
    assert main(["plan", "--config", str(file), "--site", "beijing"]) == 2
    assert "beijing is no site" in capsys.readouterr().err


async def test_verdicts_are_printed_and_a_fail_is_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    """As a table in either language, or as the API's document."""
    state = State(judgements=[judgement(Verdict.PASS), judgement(Verdict.INDETERMINATE)])
    async with serving(state) as url:
        assert await called("verdicts", "--url", url) == 0
        assert capsys.readouterr().out.startswith("结论")
        state.judgements = [judgement(Verdict.FAIL)]
        state.evaluations += 1
        assert await called("verdicts", "--url", f"{url}/", "--lang", "en") == 1
        assert "FAIL" in capsys.readouterr().out
        assert await called("verdicts", "--url", url, "--json") == 1
        document = json.loads(capsys.readouterr().out)
        assert document["verdicts"][0]["verdict"] == "FAIL"


async def test_verdicts_are_chosen_where_they_are_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    """By what the API takes, which says what it does not take."""
    state = State(judgements=[judgement(one) for one in (Verdict.PASS, Verdict.FAIL, Verdict.PASS)])

    async def printed(*options: str) -> list[str]:
        await called("verdicts", "--url", url, "--json", *options)
        return [one["verdict"] for one in json.loads(capsys.readouterr().out)["verdicts"]]

    async with serving(state) as url:
        assert await printed("--verdict", "PASS") == ["PASS", "PASS"]
        assert await printed("--verdict", "PASS", "--verdict", "FAIL", "--limit", "2") == ["FAIL", "PASS"]
        assert await printed("--limit", "1", "--offset", "3") == []
        assert await printed("--tier", "nowhere") == []
        assert await called("verdicts", "--url", url, "--verdict", "GOOD") != 0
        assert "not one of" in capsys.readouterr().err


async def test_breaches_are_printed_and_an_open_one_is_the_exit_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Closed ones are history."""
    state = State(breaches=[closed(breach(1))])
    async with serving(state) as url:
        assert await called("breaches", "--url", url, "--lang", "en") == 0
        assert "Latency restored" in capsys.readouterr().out
        state.breaches = [breach(2), closed(breach(1))]
        assert await called("breaches", "--url", url, "--state", "open", "--json") == 1
        found = json.loads(capsys.readouterr().out)["breaches"]
        assert [one["state"] for one in found] == ["open"]
        assert await called("breaches", "--url", url, "--state", "closed") == 0


async def test_the_address_is_that_of_the_fleet_file_and_no_proxy_is_asked(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of the environment is for the world outside."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    async with serving(State()) as url:
        file.write_text(changed("127.0.0.1:9460", url.removeprefix("http://")), encoding="utf-8")
        assert await called("verdicts", "--config", file) == 0
    assert capsys.readouterr().out.startswith("结论")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verdicts"], "give --url"),
        (["breaches", "--url", "127.0.0.1:9460"], "http://HOST:PORT"),
        (["verdicts", "--url", "file:///etc/hostname"], "http://HOST:PORT"),
    ],
)
def test_an_address_is_needed(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of HTTP."""
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_collector_that_does_not_answer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """With the address that was tried."""
    url = f"http://127.0.0.1:{free_port()}"
    assert main(["verdicts", "--url", url]) == 2
    assert f"no collector answers at {url}" in capsys.readouterr().err


async def test_the_program_runs_as_a_module_and_ends_with_0_on_sigterm(file: Path, tmp_path: Path) -> None:
    """From `python -m collector run` to a clean end."""
    port = free_port()
    file.write_text(changed("127.0.0.1:9460", f"127.0.0.1:{port}"), encoding="utf-8")
    log = tmp_path / "collector.log"
    async with running(collector_command("run", "--config", file), log) as process:

        async def answers() -> bool:
            return await called("verdicts", "--url", f"http://127.0.0.1:{port}") == 0

        await eventually(answers, "the collector answers")
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0
    assert "plan " in log.read_text()
    assert "Traceback" not in log.read_text()
