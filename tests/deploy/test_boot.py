"""What an operator does, on a machine of its own: a real systemd boots, and Isochrone is installed by the documented
commands and nothing else. The tests follow its life, each from where the one before has left it.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core import metrics
from tests.support.booted import Machine, booted, until
from tests.support.exposition import assert_law, total

ROOT = Path(__file__).resolve().parents[2]
HERE = "/srv/isochrone"
INSTALL = f"{HERE}/deploy/install"
BIN = "/opt/isochrone/current/bin"
WHEELS = ("--wheelhouse", f"{HERE}/build/wheelhouse")
OUTSIDE, INSIDE = "10.213.7.1", "10.213.7.2"
AGENT, COLLECTOR = "isochrone-agent.service", "isochrone-collector.service"
GONE = (
    "/opt/isochrone",
    "/etc/isochrone",
    "/run/isochrone-agent",
    "/run/credentials/isochrone-agent.service",
)
TRACES = ("/var/lib/private", "/var/cache/private", "/etc/systemd/system", "/etc/sysctl.d")
FLEET = """
listen: 127.0.0.1:9460
state: state.sqlite
reflector_allow: [10.213.7.1]
source: {kind: agents, interval: 1s}
evaluation_interval: 1s
sites:
  - {id: inside, name: {zh: 里, en: Inside}, lat: 30.59, lon: 114.31, provider: own, agent: 127.0.0.1:9461,
     reflector: 10.213.7.2, clock: {source: declared, error_bound: 50us}}
  - {id: outside, name: {zh: 外, en: Outside}, lat: 30.59, lon: 114.32, provider: own, reflector: "10.213.7.1:8620",
     clock: {source: declared, error_bound: 50us}}
tiers:
  city: {name: {zh: 市内, en: In the city}, limit: "< 1ms"}
paths:
  - {source: inside, target: outside, tier: city, interval: 20ms, route: 10s}
  - {source: inside, target: outside, tier: city, interval: 20ms, kind: icmp}
objectives: [{id: detection, percentile: 95, window: 10s}]
"""
OCCUPY = """
import threading, time, urllib.request
end = time.monotonic() + 6
def ask():
    while time.monotonic() < end:
        urllib.request.urlopen("http://127.0.0.1:9461/metrics").read()
threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
READ_CLOCK = "from agent.net.clocks.adjtimex import Timex, read_adjtimex; print('kernel state', read_adjtimex(Timex()))"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def machine(tree: Path, packed: Path) -> Iterator[Machine]:
    """A booted machine with the packed release in it."""
    with booted(tree, OUTSIDE, {"inside": INSIDE}) as machines:
        machine = machines["inside"]
        release = machine.root / HERE[1:]
        release.mkdir(parents=True)
        subprocess.run(["tar", "-xf", packed / "build/isochrone.tar", "-C", release], check=True)
        yield machine


@pytest.fixture(scope="module")
def neighbour(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An agent of this host at the other end of the wire, whose reflector is probed."""
    config = tmp_path_factory.mktemp("neighbour") / "agent.yaml"
    config.write_text(
        f'site: outside\nreflector: {{listen: ["{OUTSIDE}:8620"], allow: [{INSIDE}]}}\n', encoding="utf-8"
    )
    agent = subprocess.Popen(machine.outside(sys.executable, "-m", "agent", "run", "--config", str(config)))
    yield
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0


def scraped(machine: Machine) -> str:
    """What the agent inside says of itself."""
    read = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9461/metrics').read().decode())"
    return machine.run("python3", "-c", read)


def sent(machine: Machine) -> float:
    """Probes sent by the agent inside."""
    return total(scraped(machine), metrics.PROBE_SENT)


def test_it_is_installed_and_says_when_it_is_ready(machine: Machine) -> None:
    """The example is put where nothing was, passes its check, and runs, whatever root hides from others by default; a
    dry run before that changed nothing.
    """
    machine.run(INSTALL, "agent", *WHEELS, "--dry-run")
    machine.fails("test", "-e", "/opt/isochrone")
    assert "nothing is installed here yet" in machine.fails(INSTALL, "check", "agent")
    machine.run("sh", "-c", 'umask 077; exec "$@"', "sh", INSTALL, "agent", *WHEELS)
    machine.run(INSTALL, "collector", *WHEELS)
    for unit in (AGENT, COLLECTOR):
        assert machine.property(unit, "ActiveState") == "active"
        assert machine.property(unit, "Type") == "notify"
        assert machine.property(unit, "StatusText")


def test_installing_again_changes_nothing(machine: Machine) -> None:
    """Neither files nor processes."""
    before = [machine.property(unit, "MainPID") for unit in (AGENT, COLLECTOR)]
    for role in ("agent", "collector"):
        assert f"isochrone-{role} is up to date and runs" in machine.run(INSTALL, role, *WHEELS)
    assert [machine.property(unit, "MainPID") for unit in (AGENT, COLLECTOR)] == before


@pytest.mark.usefixtures("neighbour")
def test_it_measures_over_the_wire_in_its_sandbox(machine: Machine) -> None:
    """Both ways over veth, with the kernel's stamps, by STAMP and by ICMP; and every probe is counted once."""
    (machine.root / "etc/isochrone/fleet.yaml").write_text(FLEET, encoding="utf-8")
    plan = machine.run(
        f"{BIN}/isochrone-collector", "plan", "--config=/etc/isochrone/fleet.yaml", "--site=inside"
    )
    (machine.root / "etc/isochrone/agent.yaml").write_text(plan, encoding="utf-8")
    machine.run("systemctl", "restart", AGENT, COLLECTOR)
    until(lambda: sent(machine) > 200, "both paths are probed")
    text = scraped(machine)
    assert_law(text)
    for kind in ("stamp", "icmp"):
        within = total(text, metrics.PROBE_OUTCOMES, kind=kind, direction="round_trip", outcome="within")
        assert within > 50
    assert f'{metrics.TIMESTAMPING_INFO}{{receive="kernel",transmit="kernel"}} 1.0' in text
    asked = machine.outside(sys.executable, "-m", "agent", "probe", "stamp", INSIDE, "--count=20", "--json")
    found = json.loads(subprocess.run(asked, capture_output=True, check=True, cwd=ROOT).stdout)
    assert (found["answered"], found["law"]) == (20, "holds")
    until(lambda: verdicts(machine) == ["PASS"] * 4, "the collector judges")
    until(lambda: total(scraped(machine), metrics.ROUTE_HOPS) == 1, "the route of the session is traced")


def verdicts(machine: Machine) -> list[str]:
    """What the collector inside has come to, of each path and direction."""
    asked = machine.run(
        "sh", "-c", f"{BIN}/isochrone-collector verdicts --config=/etc/isochrone/fleet.yaml --json || true"
    )
    return [verdict["verdict"] for verdict in json.loads(asked)["verdicts"]]


def test_the_sandbox_holds(machine: Machine) -> None:
    """Neither program can write where nothing of its own is; each can where its state belongs."""
    for unit in (AGENT, COLLECTOR):
        pid = machine.property(unit, "MainPID")
        for path in ("/etc/isochrone/x", "/usr/x", "/opt/isochrone/x", "/var/x"):
            within = machine.command("nsenter", f"--target={pid}", "-m", "--", "touch", path)
            done = subprocess.run(within, capture_output=True, text=True, check=False)
            assert "Read-only file system" in done.stderr
    machine.run("test", "-s", "/var/lib/isochrone-collector/state.sqlite")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (f"python3 -c {READ_CLOCK!r}", r"kernel state [0-5]"),
        (f"isochrone-agent probe route {OUTSIDE}:8620 --json", r'"fingerprint"'),
        (f"isochrone-agent probe icmp {OUTSIDE} --json", r'"answered": 5'),
        ("isochrone-agent doctor --config /etc/isochrone/agent.yaml --json", r'"problem": 0'),
    ],
)
@pytest.mark.usefixtures("neighbour")
def test_what_an_agent_does_is_permitted(machine: Machine, command: str, expected: str) -> None:
    """Reading the clock, tracing the route, sending echoes and the doctor work under the unit's own restrictions."""
    unit = (machine.root / "etc/systemd/system" / AGENT).read_text(encoding="utf-8")
    once = [
        "Type=oneshot"
        if line.startswith("Type=")
        else f"ExecStart={BIN}/{command}"
        if line.startswith("ExecStart=")
        else line
        for line in unit.splitlines()
        if not line.startswith(("Restart", "Watchdog"))
    ]
    (machine.root / "etc/systemd/system/once.service").write_text("\n".join(once) + "\n", encoding="utf-8")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "once.service")
    assert re.search(expected, machine.journal("once.service"))
    (machine.root / "etc/systemd/system/once.service").unlink()


@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize(
    ("program", "config", "unit"), [("agent", "agent.yaml", AGENT), ("collector", "fleet.yaml", COLLECTOR)]
)
def test_doctor_finds_no_problem(machine: Machine, program: str, config: str, unit: str) -> None:
    """As root it sees what the service sees, and disturbs nothing: unit, capabilities, ports, state."""
    before = machine.property(unit, "MainPID")
    told = machine.run(f"{BIN}/isochrone-{program}", "doctor", f"--config=/etc/isochrone/{config}", "--json")
    found = {(one["id"], one["subject"]): one for one in json.loads(told)["findings"]}
    assert found["service.unit", ""]["numbers"]["pid"] == int(before)
    assert {one["numbers"]["ours"] for (id_, _), one in found.items() if id_ == "port.listen"} == {True}
    if program == "agent":
        assert found["privilege.net_raw", ""]["numbers"]["by_unit"]
        assert found["target.reach", ""]["numbers"]["answered"] == 2
    else:
        assert found["state.disk", "/var/lib/isochrone-collector/state.sqlite"]["numbers"]["state_octets"] > 0
        assert found["agent.plan", ""]["numbers"]["missing"] == 0
    assert machine.property(unit, "MainPID") == before


def test_a_reload_keeps_the_counts(machine: Machine) -> None:
    """SIGHUP takes over a changed file; what was counted stays."""
    before, pid = sent(machine), machine.property(AGENT, "MainPID")
    config = machine.root / "etc/isochrone/agent.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("20ms", "10ms"), encoding="utf-8")
    machine.run("systemctl", "reload", AGENT)
    until(lambda: "reloaded: 2 paths" in machine.journal(AGENT), "it is taken over")
    assert machine.property(AGENT, "MainPID") == pid
    assert sent(machine) >= before


def test_the_collector_reloads_in_place(machine: Machine) -> None:
    """So does the collector, in the same process."""
    pid = machine.property(COLLECTOR, "MainPID")
    fleet = machine.root / "etc/isochrone/fleet.yaml"
    fleet.write_text(
        fleet.read_text(encoding="utf-8").replace("id: detection", "id: renamed"), encoding="utf-8"
    )
    machine.run("systemctl", "reload", COLLECTOR)
    asked = ["sh", "-c", f"{BIN}/isochrone-collector verdicts --config=/etc/isochrone/fleet.yaml || true"]
    until(lambda: "renamed" in machine.run(*asked), "it judges by the changed file")
    assert machine.property(COLLECTOR, "MainPID") == pid


SECRETS = {
    "agent": {"keys.yaml": "keys: {default: hex:000102030405060708090a0b0c0d0e0f}", "api.token": "t" * 32},
    "collector": {
        "api.token": "t" * 32,
        "noc.url": "http://127.0.0.1:9/hook",
        "noc.key": f"whsec_{b64encode(bytes(32)).decode()}",
        "state.url": "postgresql://isochrone:secret@db.example/isochrone",
    },
}
NAMING = {
    "agent": "credentials: {0}_keys.yaml\napi: {{token_file: {0}_api.token}}\n",
    "collector": "api: {{token_file: {0}_api.token}}\n"
    "alerts: {{webhooks: [{{name: noc, url_file: {0}_noc.url, secret_file: {0}_noc.key}}]}}\n",
}


def test_secrets_come_as_credentials(machine: Machine) -> None:
    """Every file that holds one can lie where only root reads it: checked with the rest, read by the service alone."""
    for role, files in SECRETS.items():
        folder = machine.root / f"etc/isochrone/{role}.secrets"
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
            (folder / name).chmod(0o600)
        config = machine.root / "etc/isochrone" / ("agent.yaml" if role == "agent" else "fleet.yaml")
        seen = f"/run/credentials/isochrone-{role}.service/secret"
        with config.open("a", encoding="utf-8") as end:
            end.write(NAMING[role].format(seen))
        if role == "collector":  # where no database is, its address is checked and not used
            text = config.read_text(encoding="utf-8")
            config.write_text(text.replace("state: state.sqlite", f"state_url_file: {seen}_state.url"))
            machine.run(INSTALL, "check", role)
            config.write_text(text, encoding="utf-8")
        machine.run(INSTALL, "check", role)
        machine.run("systemctl", "restart", f"isochrone-{role}.service")
        assert machine.property(f"isochrone-{role}.service", "ActiveState") == "active"
    ask = "import urllib.request as u; print(u.urlopen(u.Request('http://127.0.0.1:9461/api/v1/paths', headers={})))"
    assert "401" in machine.fails("python3", "-c", ask)
    bearer = ask.replace("{}", repr({"Authorization": f"Bearer {'t' * 32}"}))
    machine.run("python3", "-c", bearer)


def test_what_is_wrong_is_found_before_anything_changes(machine: Machine) -> None:
    """A secret that is no good is named with its file, and what runs goes on."""
    pid = machine.property(AGENT, "MainPID")
    keys = machine.root / "etc/isochrone/agent.secrets/keys.yaml"
    keys.write_text("keys: {default: hex:00}", encoding="utf-8")
    assert "secret_keys.yaml" in machine.fails(INSTALL, "agent", *WHEELS)
    assert machine.property(AGENT, "MainPID") == pid
    keys.write_text(SECRETS["agent"]["keys.yaml"], encoding="utf-8")


def test_a_stuck_agent_is_killed_and_started_anew(machine: Machine) -> None:
    """The watchdog finds out, without anybody logging in; and `kill -9` is answered likewise."""
    folder = machine.root / "etc/systemd/system" / f"{AGENT}.d"
    folder.mkdir()
    (folder / "soon.conf").write_text("[Service]\nWatchdogSec=2\n", encoding="utf-8")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", AGENT)
    for command in ("kill -STOP", "kill -KILL"):
        pid = machine.property(AGENT, "MainPID")
        machine.run("sh", "-c", f"{command} {pid}")
        _await_another(machine, pid)
    assert "Watchdog timeout" in machine.journal(AGENT)


def test_a_busy_agent_is_left_alone(machine: Machine) -> None:
    """An event loop that never rests for three watchdog periods still gets round to saying that it lives."""
    pid = machine.property(AGENT, "MainPID")
    usage = f"print(sum(map(int, open('/proc/{pid}/stat').read().split()[13:15])))"
    before = int(machine.run("python3", "-c", usage))
    machine.run("timeout", "30", "python3", "-c", OCCUPY)
    assert int(machine.run("python3", "-c", usage)) - before > 100, "a second of work at least"
    assert machine.property(AGENT, "MainPID") == pid
    shutil.rmtree(machine.root / "etc/systemd/system" / f"{AGENT}.d")
    machine.run("systemctl", "daemon-reload")


def _await_another(machine: Machine, pid: str) -> None:
    until(lambda: machine.property(AGENT, "MainPID") not in (pid, "0"), "another one runs")
    until(lambda: machine.property(AGENT, "ActiveState") == "active", "it is ready")


def test_an_upgrade_can_be_taken_back(machine: Machine) -> None:
    """The new release runs under its own unit, the one before is kept, and `rollback` returns to both."""
    before = machine.run("readlink", "/opt/isochrone/current")
    unit = machine.root / HERE[1:] / "deploy/systemd" / AGENT
    unit.write_text(
        unit.read_text(encoding="utf-8").replace("TasksMax=128", "TasksMax=129"), encoding="utf-8"
    )
    machine.run(INSTALL, "agent", *WHEELS)
    after = machine.run("readlink", "/opt/isochrone/current")
    assert after != before
    assert machine.property(AGENT, "TasksMax") == "129"
    assert_runs(machine, after)
    machine.run(INSTALL, "rollback")
    assert machine.run("readlink", "/opt/isochrone/current") == before
    assert machine.property(AGENT, "TasksMax") == "128"
    assert_runs(machine, before)


def test_an_interrupted_upgrade_is_finished_by_the_next(machine: Machine) -> None:
    """Where links and units are those of the new release already, and what runs is not, it is started anew."""
    after = machine.run("readlink", "/opt/isochrone/previous").strip()
    machine.run("ln", "-sfn", after, "/opt/isochrone/current")
    machine.run("cp", f"{after}/deploy/systemd/{AGENT}", f"/etc/systemd/system/{AGENT}")
    machine.run("systemctl", "daemon-reload")
    machine.run(INSTALL, "agent", *WHEELS)
    assert_runs(machine, after)


def assert_runs(machine: Machine, release: str) -> None:
    """Both programs are those of a release."""
    for unit in (AGENT, COLLECTOR):
        assert machine.property(unit, "ActiveState") == "active"
        pid = machine.property(unit, "MainPID")
        assert release.strip() in machine.run("cat", f"/proc/{pid}/cmdline")


def test_it_stops_without_a_lost_count(machine: Machine) -> None:
    """Every probe under way is answered or given up before it ends."""
    machine.run("systemctl", "stop", AGENT)
    last = [line for line in machine.journal(AGENT).splitlines() if "drained" in line][-1]
    assert "0 in flight, conservation law holds" in last


def test_it_is_removed_without_a_trace(machine: Machine) -> None:
    """Units, environment, configuration, secrets, limits and state are gone."""
    for role in ("collector", "agent"):
        machine.run(INSTALL, "uninstall", role, "--purge")
    left = machine.run("find", *TRACES, "-name", "*isochrone*")
    assert left == ""
    for path in GONE:
        machine.fails("test", "-e", path)
