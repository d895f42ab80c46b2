"""Grafana beside the quickstart. It is not packaged for Debian, so a stand-in reads its settings as Grafana would."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from deploy.quickstart import watching
from deploy.quickstart.play import main
from tests.support.requirements import require_binary

STAND_IN = """#!{python}
import http.server, json, os, pathlib, sys

import yaml

assert sys.argv[1:] == ["server", "--homepath", {home!r}], sys.argv
provisioning = pathlib.Path(os.environ["GF_PATHS_PROVISIONING"])
read = [yaml.safe_load(os.path.expandvars(file.read_text())) for file in sorted(provisioning.glob("*/*.yaml"))]

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({{"provisioned": read, "environment": dict(os.environ)}}).encode())

    def log_message(self, *_):
        pass

address = os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"])
http.server.HTTPServer(address, Answer).serve_forever()
"""


def unpacked(home: Path, script: str = "#!/bin/sh\n", name: str = "grafana") -> Path:
    """A program in a home folder as an unpacked archive of Grafana has it."""
    home.joinpath("conf").mkdir(parents=True)
    home.joinpath("conf", "defaults.ini").touch()
    program = home / "bin" / name
    program.parent.mkdir()
    program.write_text(script)
    program.chmod(0o755)
    return program


def test_an_unpacked_archive_is_its_own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also through a symbolic link on the PATH."""
    program = unpacked(tmp_path / "grafana-11")
    tmp_path.joinpath("path").mkdir()
    tmp_path.joinpath("path", "grafana").symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert watching.installed() == [str(program), "server", "--homepath", str(tmp_path / "grafana-11")]


def test_a_packages_script_is_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a package puts on the PATH is a script with settings of its own: the program in its home is started."""
    program = unpacked(tmp_path / "share")
    script = tmp_path / "sbin" / "grafana-server"
    script.parent.mkdir()
    script.touch(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    monkeypatch.setattr(watching, "_PACKAGED_HOME", tmp_path / "share")
    assert watching.installed() == [str(program), "server", "--homepath", str(tmp_path / "share")]


def test_an_older_server_takes_no_subcommand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`grafana-server` alone is the server."""
    program = unpacked(tmp_path / "old", name="grafana-server")
    monkeypatch.setenv("PATH", str(program.parent))
    assert watching.installed() == [str(program), "--homepath", str(tmp_path / "old")]


def test_all_that_it_writes_stays_in_the_folder(tmp_path: Path) -> None:
    """Its data, logs and plugins; and it listens on loopback, where it was told to."""
    line = watching.command(["grafana", "server"], tmp_path, "127.0.0.1:9467", "127.0.0.1:9466", "en")
    assert (line[0], line[-2:]) == ("env", ["grafana", "server"])
    settings = dict(setting.split("=", 1) for setting in line[1:-2])
    for kind in ("DATA", "LOGS", "PLUGINS"):
        assert Path(settings[f"GF_PATHS_{kind}"]).is_relative_to(tmp_path)
    assert (settings["GF_SERVER_HTTP_ADDR"], settings["GF_SERVER_HTTP_PORT"]) == ("127.0.0.1", "9467")
    home = json.loads(Path(settings["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).read_text(encoding="utf-8"))
    assert home["uid"] == "isochrone-city-en"


def test_without_prometheus_there_is_nothing_to_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The option that was given is named, with the remedy, and the status is that of a usage error."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["--grafana"])
    assert ended.value.code == 2
    assert "--grafana needs the program prometheus on the PATH" in capsys.readouterr().err


@pytest.mark.timeout(60)
def test_it_is_started_and_ended_with_the_rest(tmp_path: Path) -> None:
    """The provisioning it reads leads to the run's Prometheus and to dashboards; nothing is left of it at the end."""
    home = tmp_path / "home"
    program = unpacked(home, STAND_IN.format(python=sys.executable, home=str(home)))
    process = started(tmp_path, f"{program.parent}:{os.environ['PATH']}", "--lang", "zh")
    try:
        page = said(process, r"Grafana：(http://127\.0\.0\.1:\d+/)")
        answer = json.loads(fetched(page))
        dashboards, sources = answer["provisioned"]
        for provider in dashboards["providers"]:
            found = {file.name for file in Path(provider["options"]["path"]).glob("*.json")}
            assert found == {"city.json", "fleet.json", "matrix.json", "path.json", "pilots.json"}
        assert fetched(f"{sources['datasources'][0]['url']}/-/healthy")
        assert answer["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].endswith("zh/city.json")
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    with pytest.raises(OSError, match="refused"):
        fetched(page)


@pytest.mark.timeout(60)
def test_where_it_is_not_installed_another_one_can_be_pointed_here(tmp_path: Path) -> None:
    """The run goes on, and says which environment makes the provisioning files lead to it."""
    tmp_path.joinpath("bin").mkdir()
    tmp_path.joinpath("bin", "prometheus").symlink_to(require_binary("prometheus"))
    process = started(tmp_path, str(tmp_path / "bin"), "--lang", "en")
    try:
        provisioning = Path(said(process, r"  GF_PATHS_PROVISIONING=(.+)"))
        prometheus = said(process, r"  ISOCHRONE_PROMETHEUS_URL=(.+)")
        interval = said(process, r"  ISOCHRONE_SCRAPE_INTERVAL=(.+)")
        folder = said(process, r"  ISOCHRONE_DASHBOARDS=(.+)")
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    said_so = {
        "ISOCHRONE_PROMETHEUS_URL": prometheus,
        "ISOCHRONE_SCRAPE_INTERVAL": interval,
        "ISOCHRONE_DASHBOARDS": folder,
    }
    text = "".join(file.read_text(encoding="utf-8") for file in provisioning.glob("*/*.yaml"))
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(said_so)


def fetched(url: str) -> bytes:
    """What a server of this host answers; an error status is an error."""
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - ours, on loopback
        body: bytes = response.read()
        return body


def started(folder: Path, path: str, *options: str) -> subprocess.Popen[str]:
    """A run with Grafana and without an end."""
    require_binary("prometheus")
    environment = {**os.environ, "PATH": path, "TMPDIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "deploy.quickstart", "--grafana", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def said(process: subprocess.Popen[str], pattern: str) -> str:
    """What a run says where the pattern has its group; its end without saying so is an error."""
    assert process.stdout is not None
    heard = ""
    while line := process.stdout.readline():
        heard += line
        if found := re.search(pattern, line):
            return found[1]
    pytest.fail(f"never said {pattern}: {heard}")
