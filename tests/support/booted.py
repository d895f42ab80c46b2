"""A Debian tree with a real systemd as its PID 1, joined to a network namespace of its own by a pair of interfaces.

Neither this host's network nor its systemd is touched: the outer end of the pair is in a namespace that ends with the
container.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.requirements import require_binary, require_root

OUTSIDE: Final = "10.213.7.1"
INSIDE: Final = "10.213.7.2"
_PACKAGES: Final = ("systemd", "systemd-sysv", "dbus", "python3", "python3-venv", "iproute2")
_PROGRAMS: Final = ("debootstrap", "systemd-nspawn", "nsenter", "unshare")
_DEADLINE_S: Final = 60.0
_BOOT: Final = """
set -e
mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up
exec systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --console=pipe \
  --system-call-filter="adjtimex clock_adjtime" \
  --network-veth-extra=outside:inside --directory="$0"
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """The booted tree.

    Attributes:
        root: the tree, as this host sees it.
        nspawn: the process in whose network namespace the outer end is.
        init: systemd's, as this host sees it.
    """

    root: Path
    nspawn: int
    init: int

    def command(self, *command: str) -> list[str]:
        """The command line that runs a program inside."""
        return ["nsenter", f"--target={self.init}", "-m", "-u", "-i", "-n", "-p", "--", *command]

    def outside(self, *command: str) -> list[str]:
        """The command line that runs a program of this host at the outer end."""
        return ["nsenter", f"--target={self.nspawn}", "-n", "--", *command]

    def run(self, *command: str) -> str:
        """Run a program inside to its end; what it printed.

        Raises:
            AssertionError: it failed.
        """
        return _run(self.command(*command))

    def fails(self, *command: str) -> str:
        """Run a program inside that must fail; what it complained of."""
        done = subprocess.run(self.command(*command), capture_output=True, text=True, check=False)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def property(self, unit: str, name: str) -> str:
        """A property of a unit, as `systemctl show` has it."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()

    def journal(self, unit: str) -> str:
        """All that a unit has logged."""
        return self.run("journalctl", "--unit", unit, "--no-pager", "--output", "cat")


@contextlib.contextmanager
def booted(root: Path) -> Iterator[Machine]:
    """Make a tree at `root`, boot it, and switch it off again."""
    require_root()
    for program in _PROGRAMS:
        require_binary(program)
    include = ",".join(_PACKAGES)
    _run(["debootstrap", "--variant=minbase", f"--include={include}", "bookworm", str(root)], wait_s=400)
    nspawn = subprocess.Popen(
        ["unshare", "--mount", "--net", "bash", "-c", _BOOT, str(root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    init: list[int] = []
    try:
        until(lambda: bool(_systemds(nspawn.pid)), "systemd starts")
        init = _systemds(nspawn.pid)
        machine = Machine(root, nspawn.pid, init[0])
        until(lambda: _is_up(machine), "systemd has booted")
        _run(machine.outside("ip", "address", "add", f"{OUTSIDE}/24", "dev", "outside"))
        _run(machine.outside("ip", "link", "set", "outside", "up"))
        machine.run("ip", "address", "add", f"{INSIDE}/24", "dev", "inside")
        machine.run("ip", "link", "set", "inside", "up")
        yield machine
        subprocess.run(machine.command("systemctl", "poweroff"), capture_output=True, check=False)
        nspawn.wait(_DEADLINE_S)
    finally:
        nspawn.kill()
        nspawn.wait()
        for pid in init:  # whoever is the first process of a namespace takes all others with it
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], bool], what: str, deadline_s: float = _DEADLINE_S) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it did not within the deadline.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.1)


def _is_up(machine: Machine) -> bool:
    state = subprocess.run(
        machine.command("systemctl", "is-system-running"), capture_output=True, text=True, check=False
    )
    return state.stdout.strip() in ("running", "degraded")


def _systemds(pid: int) -> list[int]:
    """Those children of a process that have become systemd."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [
        int(child)
        for child in children
        if Path(f"/proc/{child}/comm").read_text(encoding="ascii").strip() == "systemd"
    ]


def _run(command: list[str], wait_s: float = 120) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=wait_s, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
