"""`isochrone-collector maintenance`, on a real server and a real store, and on the program itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from collector.cli import main
from collector.sla.selector import PathFacts
from collector.tables import width
from tests.support.collector_web import serving
from tests.support.fleets import changed
from tests.support.maintenance import BASE_NS, HOUR_NS, TOKEN, Office, office
from tests.support.processes import collector_command, eventually, free_port, running
from tests.support.verdicts import HUB_PATH, State

WORDS = ["--category", "planned", "--approver", "李娜", "--reason", "设备割接", "--by", "zhang.wei"]
NIGHT = ["--id", "cutover", "--start", "2026-12-01T01:00:00+08:00", "--duration", "2h", *WORDS]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    """A server without windows."""
    async with office(tmp_path) as made:
        yield made


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """A file with the token."""
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n", encoding="ascii")
    file.chmod(0o600)
    return file


async def called(*arguments: object) -> int:
    """Run a command beside the server that it asks."""
    return await asyncio.to_thread(main, ["maintenance", *map(str, arguments)])


async def test_a_window_is_added_listed_and_ended(
    desk: Office, token: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In Chinese unless asked otherwise, with times of Shanghai and their offset."""
    where = ("--url", desk.url)
    assert await called("add", *where, "--token-file", token, *NIGHT, "--tier", "hub", "--tier", "city") == 0
    assert capsys.readouterr().out == (
        "cutover: upcoming, 2026-12-01 01:00:00 +08:00 – 2026-12-01 03:00:00 +08:00: dropped\n"
    )
    assert await called("list", *where) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["状态", "编号", "类别", "开始", "结束", "路径", "批准人", "原因", "统计"]
    for word in (
        "未开始",
        "cutover",
        "计划",
        "2026-12-01 01:00:00 +08:00",
        "市内、枢纽",
        "李娜",
        "设备割接",
        "剔除",
    ):
        assert word in line
    assert width(head[: head.index("统计")]) == width(line[: line.index("剔除")])
    assert await called("list", *where, "--lang", "en") == 0
    line = capsys.readouterr().out.splitlines()[1]
    for word in ("upcoming", "planned", "2026-12-01 03:00:00 +08:00", "tier In the city, Hubs", "dropped"):
        assert word in line
    assert await called("end", "cutover", *where, "--token-file", token, "--by", "li.na") == 0
    assert capsys.readouterr().out.startswith("cutover: cancelled, ")
    assert await called("list", *where, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"windows": []}
    assert await called("list", *where, "--all", "--json") == 0
    (window,) = json.loads(capsys.readouterr().out)["windows"]
    assert (window["state"], window["created_by"]) == ("cancelled", "zhang.wei")
    assert await called("list", *where, "--all", "--lang", "en") == 0
    assert "cancelled" in capsys.readouterr().out


async def test_a_window_that_selects_no_path_is_said_to(
    desk: Office, token: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every name is known, and yet no path has all of them: it is added, for a path may come, and not in silence."""
    add = ("add", "--url", desk.url, "--token-file", token)
    assert await called(*add, *NIGHT, "--source", "wuhan", "--target", "wuhan") == 0
    assert capsys.readouterr().err == "cutover: warning: it selects none of the paths\n"
    assert await called(*add, *NIGHT, "--id", "all", "--all-paths", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["selected_paths"] > 0
    assert said.err == ""


async def test_the_past_is_changed_with_a_justification(
    desk: Office, token: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it the collector's own words are the error, and 2 the exit status."""
    where = ("--url", desk.url, "--token-file", token)
    desk.now_ns = BASE_NS + 9 * HOUR_NS
    added = ("add", *where, *NIGHT, "--all-paths", "--announced", "2026-11-20T09:00:00+08:00")
    assert await called(*added) == 2
    assert "window cutover would begin in the past" in capsys.readouterr().err
    assert await called(*added, "--justification", "the file was lost", "--json") == 0
    assert json.loads(capsys.readouterr().out)["occurrence"]["excluded"] is True
    ended = ("end", "cutover", *where, "--by", "li.na", "--at", "2026-12-01T02:00:00+08:00")
    assert await called(*ended) == 2
    assert await called(*ended, "--justification", "told by telephone") == 0
    found = desk.maintenance.intervals(PathFacts(HUB_PATH), 0, desk.now_ns)
    assert found == [(BASE_NS, BASE_NS + HOUR_NS)]
    rows = await desk.maintenance.audit()
    assert [row.change.justification for row in rows] == ["the file was lost", "told by telephone"]


async def test_who_asks_is_the_login_name_unless_said(
    desk: Office, token: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes into the audit."""
    monkeypatch.setenv("LOGNAME", "wang.fang")
    where = ("--url", desk.url, "--token-file", token)
    assert await called("add", *where, *NIGHT[:-2], "--site", "wuhan") == 0
    assert await called("end", "cutover", *where) == 0
    assert [row.change.by for row in await desk.maintenance.audit()] == ["wang.fang", "wang.fang"]


async def test_a_user_without_a_name_must_give_one(
    desk: Office, token: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, where the number of a user is all there is."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 3_999_999_999)
    assert await called("end", "cutover", "--url", desk.url, "--token-file", token) == 2
    assert "give --by" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", *NIGHT], "which paths?"),
        (["add", *NIGHT, "--all-paths", "--tier", "hub"], "which paths?"),
        (["add", *NIGHT, "--tier", "town"], "selector.tiers[0]: town is no tier; tiers: city, hub, loop"),
        (["add", *NIGHT[:-2], "--by", "", "--all-paths"], "by: "),
        (["end", "nothing", "--by", "li.na"], "there is no maintenance window nothing"),
        (["end", "../verdicts", "--by", "li.na"], "there is no maintenance window ../verdicts"),
    ],
)
async def test_what_cannot_be_done_is_said_in_the_words_of_the_collector(
    desk: Office, token: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and nothing is written."""
    assert await called(*arguments, "--url", desk.url, "--token-file", token) == 2
    assert said in capsys.readouterr().err
    assert await desk.maintenance.audit() == []


async def test_the_token_is_needed_and_never_shown(
    tmp_path: Path, desk: Office, token: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a file that nobody else reads; a wrong one is refused by the collector."""
    add = ("add", "--url", desk.url, "--token-file", token, *NIGHT, "--all-paths")
    token.chmod(0o644)
    assert await called(*add) == 2
    assert "others have access" in capsys.readouterr().err
    token.chmod(0o600)
    token.write_text("another-token-0123456789", encoding="ascii")
    assert await called(*add) == 2
    said = capsys.readouterr().err
    assert "Bearer TOKEN" in said
    assert "another-token" not in said
    (tmp_path / "other").mkdir()
    async with office(tmp_path / "other", token=None) as closed:
        assert await called(*add[:2], closed.url, *add[3:]) == 2
    assert "no api.token_file is configured" in capsys.readouterr().err


async def test_somebody_else_who_answers_is_no_collector(capsys: pytest.CaptureFixture[str]) -> None:
    """An error that is not in the collector's words is not taken for one."""

    async def teapot(_: web.Request) -> web.Response:
        return web.Response(status=418, text="short and stout")

    async with serving(State(), more=[web.get("/other/api/v1/maintenance", teapot)]) as url:
        assert await called("list", "--url", f"{url}/other") == 2
    assert "no collector answers at" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["add"], ["list"], ["end"]])
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It exits with 0."""
    with pytest.raises(SystemExit) as caught:
        main(["maintenance", *command, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: isochrone-collector maintenance")


async def test_windows_outlive_the_program(
    tmp_path: Path, token: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that were added and those of the fleet file; the program's own clock, store and token."""
    file = tmp_path / "fleet.yaml"
    port = free_port()
    text = changed("127.0.0.1:9460", f"127.0.0.1:{port}") + (
        "api: {token_file: token}\n"
        "maintenance: {windows: [{id: nightly, start: 2040-12-01T01:00:00+08:00, duration: 2h, rrule: FREQ=DAILY,\n"
        "  category: planned, approver: Li Na, reason: upgrades, selector: {tiers: [hub]}}]}\n"
    )
    file.write_text(text, encoding="utf-8")

    async def listed() -> list[dict[str, Any]] | None:
        if await called("list", "--config", file, "--json") != 0:
            return None
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["windows"]
        return found

    async def answers() -> bool:
        return await listed() is not None

    for turn in range(2):
        async with running(collector_command("run", "--config", file), tmp_path / "log") as process:
            await eventually(answers, "the collector answers")
            if turn == 0:
                add = ("add", "--config", file, "--token-file", token, "--duration", "1h", *WORDS, "--tag")
                assert await called(*add, "nothing") == 2
                assert await called(*add[:-1], "--id", "now", "--source", "wuhan") == 0
                capsys.readouterr()
            windows = await listed()
            assert windows is not None
            assert [(one["id"], one["state"]) for one in windows] == [
                ("now", "running"),
                ("nightly@1", "upcoming"),
            ]
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 10) == 0
    assert TOKEN not in (tmp_path / "log").read_text()
