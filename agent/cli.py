"""The command `isochrone-agent`.

Each command imports what it needs when it is given.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
from collections.abc import Sequence
from pathlib import Path

from agent import __version__
from agent.probe_command import add_probe
from agent.runtime import logs
from agent.runtime.lifecycle import ExitStatus, execute, note_reloads, stop_requested
from agent.runtime.memory import begin_collecting, keep_to_one_heap
from agent.runtime.settings import load
from agent.runtime.supervision import Supervision
from agent.settings import AgentSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status: 0 ok, 1 failed, 2 usage or configuration."""
    chosen = _parser().parse_args(arguments)
    if chosen.command is not _run:  # which does so when all that stays is there
        begin_collecting()
    return execute(lambda: chosen.command(chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="isochrone-agent",
        description="Measure latency with kernel-timestamped probes, and reflect them.",
    )
    parser.add_argument("--version", action="version", version=f"isochrone-agent {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="measure and reflect until SIGTERM or SIGINT")
    check = commands.add_parser(
        "check", help="check a configuration file and say everything that is wrong with it"
    )
    for command in (run, check):
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="YAML file")
    run.set_defaults(command=_run)
    check.set_defaults(command=_check)

    doctor = commands.add_parser(
        "doctor",
        help="say whether this host can measure what the configuration asks, and what to do where it cannot",
        description="Look at kernel, clock, timestamps, privileges, ports, files, names and targets, for half a minute "
        "at most, without disturbing a running agent. Exit status 1 where there is a problem.",
    )
    doctor.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML file; default: only the host is looked at"
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON document, in both languages")
    doctor.add_argument("--lang", choices=["zh", "en"], default="zh", help="default zh")
    doctor.set_defaults(command=_doctor)

    add_probe(commands.add_parser("probe", help="measure once, like ping"))
    return parser


def _run(chosen: argparse.Namespace) -> int:
    note_reloads()
    keep_to_one_heap()
    # The running agent speaks no TLS: aiohttp would read all certificates that this host trusts (50 ms, 1.7 MB).
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        os.environ[name] = os.devnull
    from agent.program import Agent

    gc.collect()  # the classes that others with slots have replaced: 1 MB
    settings = load(chosen.config, AgentSettings)
    logs.configure(settings.log_level)

    async def run() -> int:
        agent = Agent(
            settings,
            read=lambda: load(chosen.config, AgentSettings),
            folder=chosen.config.parent,
            supervision=Supervision.of(os.environ),
        )
        law_held = await agent.run(stop_requested())
        return ExitStatus.OK if law_held else ExitStatus.FAILED

    return asyncio.run(run())


def _check(chosen: argparse.Namespace) -> int:
    settings = load(chosen.config, AgentSettings)
    for warning in settings.warnings():
        print(f"{chosen.config}: warning: {warning}")
    reflecting = 0 if settings.reflector is None else len(settings.reflector.listen)
    print(
        f"{chosen.config}: ok: site {settings.site}, {len(settings.paths)} paths, {reflecting} reflector addresses"
    )
    return ExitStatus.OK


def _doctor(chosen: argparse.Namespace) -> int:
    from agent.doctor.examination import PROGRAM, AgentExamination
    from agent.runtime.doctor.files import look_as_service
    from agent.runtime.doctor.report import exit_status, show

    settings = None if chosen.config is None else load(chosen.config, AgentSettings, files=False)
    logs.configure("error")
    look_as_service(f"{PROGRAM}.service")
    found = asyncio.run(AgentExamination(settings, chosen.config).run())
    show(PROGRAM, chosen.config, found, chosen.lang, as_json=chosen.json)
    return exit_status(found)
