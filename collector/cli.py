"""The command `isochrone-collector`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from agent import __version__
from agent.runtime import logs
from agent.runtime.doctor.files import look_as_service
from agent.runtime.doctor.report import exit_status, show
from agent.runtime.lifecycle import ExitStatus, execute, note_reloads, stop_requested
from agent.runtime.settings import load
from agent.runtime.supervision import Supervision
from collector.client import UsageError, ask
from collector.doctor.examination import PROGRAM, CollectorExamination
from collector.fleet.plan import agent_config, compile_plan
from collector.fleet.settings import FleetSettings
from collector.maintenance_commands import add_commands
from collector.program import Collector
from collector.renewal import run_renewed
from collector.store.exceptions import StateAway, StateGone, StoreError
from collector.tables import breaches_table, verdicts_table

_SELECTED: Final = ("tier", "source", "target", "direction", "objective", "verdict")
"""What verdicts are chosen by, as the API names it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status: 0 ok, 1 the SLA failed, 2 usage or configuration."""
    chosen = _parser().parse_args(arguments)
    return execute(lambda: chosen.command(chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="isochrone-collector", description="Hold what the agents counted against what the plan promises."
    )
    parser.add_argument("--version", action="version", version=f"isochrone-collector {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    described = {
        "run": (_run, "collect, judge, alert and show until SIGTERM or SIGINT"),
        "check": (_check, "check a fleet file and say everything that is wrong with it"),
        "plan": (_plan, "print what the fleet file asks of an agent, as its configuration"),
        "verdicts": (_verdicts, "print the running collector's verdicts; exit status 1 where one is FAIL"),
        "breaches": (_breaches, "print the running collector's breaches; exit status 1 where one is open"),
    }
    made = {}
    for name, (command, words) in described.items():
        made[name] = commands.add_parser(name, help=words, description=words)
        made[name].set_defaults(command=command)
        made[name].add_argument(
            "--config", type=Path, metavar="FILE", required=name in ("run", "check", "plan")
        )
    made["plan"].add_argument("--site", required=True, metavar="ID", help="whose agent")
    made["plan"].add_argument("--json", action="store_true", help="JSON instead of YAML")
    for name in ("verdicts", "breaches"):
        made[name].add_argument("--url", help="the collector's address; default: `listen` of --config")
        made[name].add_argument("--json", action="store_true", help="the API's document as it is")
        made[name].add_argument("--lang", choices=["zh", "en"], default="zh", help="default zh")
    for name in _SELECTED:
        made["verdicts"].add_argument(
            f"--{name}",
            action="append",
            metavar=name.upper(),
            help=f"only those of this {name}; again: of either",
        )
    made["verdicts"].add_argument("--limit", type=int, metavar="N", help="at most so many (default 5000)")
    made["verdicts"].add_argument(
        "--offset", type=int, metavar="N", help="leave out so many before them (default 0)"
    )
    made["breaches"].add_argument(
        "--state", choices=["open", "closed", "all"], default="all", help="which ones (default all)"
    )
    words = "say whether the collector gets what it judges, keeps it and reaches whom it tells, and what to do if not"
    doctor = commands.add_parser(
        "doctor",
        help=words,
        description=f"{words[:1].upper()}{words[1:]}. Takes half a minute at most, disturbs no running collector and "
        "sends nobody a message. Exit status 1 where there is a problem.",
    )
    doctor.set_defaults(command=_doctor)
    doctor.add_argument("--config", type=Path, metavar="FILE", help="default: only the host is looked at")
    doctor.add_argument("--json", action="store_true", help="print one JSON document, in both languages")
    doctor.add_argument("--lang", choices=["zh", "en"], default="zh", help="default zh")
    add_commands(commands, _address)
    return parser


def _run(chosen: argparse.Namespace) -> int:
    note_reloads()
    supervision = Supervision.of(os.environ)

    def read() -> Collector:
        fleet = load(chosen.config, FleetSettings)
        collector = Collector(fleet, chosen.config, supervision)
        logs.configure(fleet.log_level)
        # a plan of very many paths stays: to look through all of it while collecting garbage takes most of a second
        gc.collect()
        gc.freeze()
        return collector

    async def run() -> int:
        await run_renewed(first, read, stop_requested(), supervision)
        return ExitStatus.OK

    first = read()
    try:
        return asyncio.run(run())
    except StoreError as error:
        if not (first.state_is_remote or isinstance(error, (StateAway, StateGone))):
            raise
        # A server comes back by itself, and the service with it; a full disk is tidied up, and of a file that was
        # removed a new one is made: what ends with USAGE is not started again.
        print(error, file=sys.stderr)
        return ExitStatus.FAILED


def _check(chosen: argparse.Namespace) -> int:
    fleet = load(chosen.config, FleetSettings)
    collector = Collector(fleet, chosen.config)
    for warning in fleet.warnings():
        print(f"{chosen.config}: warning: {warning}")
    lines = f"{len(fleet.lines)} lines, " if fleet.lines else ""
    print(
        f"{chosen.config}: ok: {len(fleet.sites)} sites, {len(fleet.paths)} paths, {lines}"
        f"{len(collector.plan.targets)} verdicts, plan {collector.plan.version}"
    )
    return ExitStatus.OK


def _doctor(chosen: argparse.Namespace) -> int:
    fleet = None if chosen.config is None else load(chosen.config, FleetSettings, files=False)
    logs.configure("error")
    look_as_service(f"{PROGRAM}.service")
    found = asyncio.run(CollectorExamination(fleet, chosen.config).run())
    show(PROGRAM, chosen.config, found, chosen.lang, as_json=chosen.json)
    return exit_status(found)


def _plan(chosen: argparse.Namespace) -> int:
    fleet = load(chosen.config, FleetSettings, files=False)
    site = fleet.site(chosen.site)
    if site is None:
        known = ", ".join(site.id for site in fleet.sites)
        raise UsageError(f"{chosen.site} is no site of {chosen.config}; sites: {known}")
    config = agent_config(fleet, site)
    if chosen.json:
        print(json.dumps(config, ensure_ascii=False, indent=2))
    else:
        print(f"# made by: isochrone-collector plan --site {site.id}; plan {compile_plan(fleet).version}")
        print(yaml.safe_dump(config, allow_unicode=True, sort_keys=False), end="")
    return ExitStatus.OK


def _verdicts(chosen: argparse.Namespace) -> int:
    wanted = {name: getattr(chosen, name) for name in (*_SELECTED, "limit", "offset")}
    given = {name: values for name, values in wanted.items() if values is not None}
    query = f"?{urllib.parse.urlencode(given, doseq=True)}" if given else ""
    document = _ask(chosen, f"/api/v1/verdicts{query}")
    print(_shown(chosen, document, verdicts_table))
    failed = any(verdict["verdict"] == "FAIL" for verdict in document["verdicts"])
    return ExitStatus.FAILED if failed else ExitStatus.OK


def _breaches(chosen: argparse.Namespace) -> int:
    document = _ask(chosen, f"/api/v1/breaches?state={chosen.state}")
    print(_shown(chosen, document, breaches_table))
    is_open = any(breach["state"] == "open" for breach in document["breaches"])
    return ExitStatus.FAILED if is_open else ExitStatus.OK


def _shown(chosen: argparse.Namespace, document: dict[str, Any], table: Any) -> str:
    if chosen.json:
        return json.dumps(document, ensure_ascii=False, indent=2)
    text: str = table(document, chosen.lang)
    return text


def _ask(chosen: argparse.Namespace, path: str) -> dict[str, Any]:
    return ask(_address(chosen), path)


def _address(chosen: argparse.Namespace) -> str:
    """Where the collector is."""
    if chosen.url is not None:
        return str(chosen.url)
    if chosen.config is None:
        raise UsageError("where is the collector? give --url, or --config with its fleet file")
    return f"http://{load(chosen.config, FleetSettings, files=False).listen}"
