"""The program's unit, where systemd runs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.core.names import Name
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers

UNIT: Final = Check(
    "service.unit",
    Name(
        "单元没有运行，就没有人测量或判定；反复重启会留下空白。",
        "While the unit does not run nobody measures or judges; one that keeps restarting leaves gaps.",
    ),
)

_PROPERTIES: Final = (
    "LoadState",
    "ActiveState",
    "SubState",
    "MainPID",
    "NRestarts",
    "Result",
    "AmbientCapabilities",
)
_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What systemd says of the unit.

    Attributes:
        unit: its name.
        active, sub: its state: active, activating, failed, inactive; running, auto-restart, dead, …
        pid: of the program; 0: it does not run.
        restarts: how often systemd has started it anew by itself.
        result: how its last run ended: success, exit-code, watchdog, …
        capabilities: that it gives the program, such as `cap_net_raw`.
    """

    unit: str
    active: str
    sub: str = ""
    pid: int = 0
    restarts: int = 0
    result: str = "success"
    capabilities: frozenset[str] = frozenset()


def judge_service(facts: ServiceFacts | None) -> Iterator[Diagnosis]:
    """Whether the unit is well; nothing where there is none."""
    if facts is None:
        return
    numbers: Numbers = {
        "active": facts.active,
        "sub": facts.sub,
        "pid": facts.pid,
        "restarts": facts.restarts,
        "result": facts.result,
    }
    state = Name(
        f"{facts.unit}：{facts.active}（{facts.sub}），自动重启 {facts.restarts} 次",
        f"{facts.unit}: {facts.active} ({facts.sub}), restarted {facts.restarts} times by itself",
    )
    if facts.active in ("active", "reloading", "deactivating"):
        if facts.restarts:
            yield UNIT.warning(
                state,
                Name(
                    f"查看它为何重启：journalctl -u {facts.unit} -p warning。查明后用 systemctl reset-failed 清零。",
                    f"See why: journalctl -u {facts.unit} -p warning. systemctl reset-failed clears the count.",
                ),
                numbers=numbers,
            )
        else:
            yield UNIT.ok(state, numbers=numbers)
        return
    look = Name(
        f"systemctl status {facts.unit}；journalctl -u {facts.unit} -n 50。",
        f"systemctl status {facts.unit}; journalctl -u {facts.unit} -n 50.",
    )
    if facts.active == "failed" or facts.sub == "auto-restart":
        ended = Name(f"{state.zh}，上次结束：{facts.result}", f"{state.en}, last ended with {facts.result}")
        yield UNIT.problem(ended, look, numbers=numbers)
    elif facts.active == "activating":
        yield UNIT.note(state, look, numbers=numbers)
    else:
        yield UNIT.warning(
            state,
            Name(f"启动它：systemctl start {facts.unit}。", f"Start it: systemctl start {facts.unit}."),
            numbers=numbers,
        )


async def gather_service(unit: str) -> ServiceFacts | None:
    """Ask systemd for the state of a unit; None where there is no such unit, or no systemd."""
    asked = None
    try:
        asked = await asyncio.create_subprocess_exec(
            "systemctl",
            "show",
            f"--property={','.join(_PROPERTIES)}",
            unit,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
        async with asyncio.timeout(_TIMEOUT_S):
            printed, _ = await asked.communicate()
    except (OSError, TimeoutError):
        return None
    finally:
        if asked is not None and asked.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                asked.kill()
            await asked.wait()
    return parse_service(unit, printed.decode(errors="replace"))


def parse_service(unit: str, printed: str) -> ServiceFacts | None:
    """What `systemctl show` printed; None where the unit is not loaded."""
    said = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    if said.get("LoadState") != "loaded":
        return None
    return ServiceFacts(
        unit,
        said.get("ActiveState", ""),
        said.get("SubState", ""),
        _number(said.get("MainPID")),
        _number(said.get("NRestarts")),
        said.get("Result", ""),
        frozenset(said.get("AmbientCapabilities", "").split()),
    )


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
