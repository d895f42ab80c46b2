"""The commands `isochrone-collector maintenance add|list|end`."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from agent.runtime.lifecycle import ExitStatus
from agent.runtime.secret_files import load_token
from collector.client import UsageError, ask
from collector.tables import maintenance_table

_SELECTED: Final = {
    "tier": "tiers",
    "provider": "providers",
    "district": "districts",
    "site": "sites",
    "source": "sources",
    "target": "targets",
    "tag": "tags",
}
_PATH: Final = "/api/v1/maintenance"
_CURRENT: Final = f"{_PATH}?state=running&state=upcoming"
_TIME: Final = "as 2026-12-01T01:00:00+08:00"

Address = Callable[[argparse.Namespace], str]


def add_commands(commands: Any, address: Address) -> None:
    """Add them to those of the program.

    Args:
        commands: the sub-parsers of the program.
        address: gives the collector's address of what was chosen.
    """
    words = "show, add and end maintenance windows of the running collector"
    parts = commands.add_parser("maintenance", help=words, description=words).add_subparsers(
        required=True, metavar="COMMAND"
    )
    listing = _command(parts, "list", "print the windows that run or are to come", _list, address)
    listing.add_argument("--all", action="store_true", help="those too that are over or were called off")
    listing.add_argument("--lang", choices=["zh", "en"], default="zh", help="default zh")

    adding = _command(parts, "add", "add a window, in which good and bad are dropped alike", _add, address)
    adding.add_argument("--id", metavar="ID", help="its name (default: one is made up)")
    adding.add_argument("--start", metavar="TIME", help=f"{_TIME} (default: now)")
    ends = adding.add_mutually_exclusive_group(required=True)
    ends.add_argument("--end", metavar="TIME", help=_TIME)
    ends.add_argument("--duration", help="such as 2h")
    adding.add_argument("--category", required=True, choices=["planned", "emergency"])
    adding.add_argument("--approver", required=True, metavar="NAME", help="who has allowed it")
    adding.add_argument("--reason", required=True, metavar="TEXT")
    adding.add_argument("--announced", metavar="TIME", help="when those concerned were told (default: now)")
    for option in _SELECTED:
        adding.add_argument(
            f"--{option}", action="append", default=[], metavar="NAME", help="which paths; may be repeated"
        )
    adding.add_argument("--all-paths", action="store_true", help="every path")

    ending = _command(parts, "end", "end a window early, or call it off", _end, address)
    ending.add_argument("id", metavar="ID")
    ending.add_argument("--at", metavar="TIME", help=f"{_TIME} (default: now)")
    for command in (adding, ending):
        command.add_argument(
            "--token-file", type=Path, required=True, metavar="FILE", help="with the token of who may write"
        )
        command.add_argument("--by", metavar="NAME", help="who asks (default: your login name)")
        command.add_argument(
            "--justification",
            metavar="TEXT",
            default="",
            help="for a change of the past, or a notice that was given before this within the period of notice",
        )


def _command(
    parts: Any, name: str, words: str, command: Callable[[argparse.Namespace, str], int], address: Address
) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = parts.add_parser(name, help=words, description=words)
    made.set_defaults(command=lambda chosen: command(chosen, address(chosen)))
    made.add_argument("--config", type=Path, metavar="FILE")
    made.add_argument("--url", help="the collector's address; default: `listen` of --config")
    made.add_argument("--json", action="store_true", help="the API's document as it is")
    return made


def _list(chosen: argparse.Namespace, base: str) -> int:
    document = ask(base, _PATH if chosen.all else _CURRENT)
    print(_text(document) if chosen.json else maintenance_table(document, chosen.lang))
    return ExitStatus.OK


def _add(chosen: argparse.Namespace, base: str) -> int:
    selector = {field: named for option, field in _SELECTED.items() if (named := getattr(chosen, option))}
    if bool(selector) == chosen.all_paths:
        options = ", ".join(f"--{option}" for option in _SELECTED)
        raise UsageError(f"which paths? some of {options}; or --all-paths, which goes with none of them")
    body = {
        "by": _by(chosen),
        "category": chosen.category,
        "approver": chosen.approver,
        "reason": chosen.reason,
        "selector": selector,
        "justification": chosen.justification,
    }
    for key in ("id", "start", "end", "duration", "announced"):
        if getattr(chosen, key) is not None:
            body[key] = getattr(chosen, key)
    return _told(chosen, ask(base, _PATH, body, load_token(chosen.token_file)))


def _end(chosen: argparse.Namespace, base: str) -> int:
    body = {"by": _by(chosen), "justification": chosen.justification}
    if chosen.at is not None:
        body["at"] = chosen.at
    path = f"{_PATH}/{urllib.parse.quote(chosen.id, safe='')}/end"
    return _told(chosen, ask(base, path, body, load_token(chosen.token_file)))


def _told(chosen: argparse.Namespace, window: dict[str, Any]) -> int:
    if chosen.json:
        print(_text(window))
    else:
        local, occurrence = window["local"], window["occurrence"]
        effect = f": {occurrence['effect']['en']}" if occurrence else ""
        print(f"{window['id']}: {window['state']}, {local['start']} – {local['end']}{effect}")
    if window.get("selected_paths") == 0:
        print(f"{window['id']}: warning: it selects none of the paths", file=sys.stderr)
    return ExitStatus.OK


def _by(chosen: argparse.Namespace) -> str:
    if chosen.by is not None:
        return str(chosen.by)
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers; which of the two depends on Python
        raise UsageError("who asks? give --by") from None


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2)
