"""Machines with a real systemd as their PID 1, each over a Debian tree that it does not change, on one network.

Neither this host's network nor its systemd is touched: the bridge between the machines is in a network namespace that
ends with them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.requirements import require_binary, require_root

PACKAGES: Final = (
    *("systemd", "systemd-sysv", "dbus", "python3", "python3-venv", "iproute2"),
    *("nftables", "curl", "prometheus", "prometheus-alertmanager"),
)
"""What the tree has, beside what every Debian has."""

_SERVERS: Final = ("prometheus.service", "prometheus-alertmanager.service")
"""Of those packages, which Debian starts at once: only where they are wanted."""

_MEMORY: Final = Path("/dev/shm")
_ENOUGH_OCTETS: Final = 6 << 30
_PROGRAMS: Final = ("debootstrap", "systemd-nspawn", "nsenter", "unshare", "ip")
_DEADLINE_S: Final = 60.0
_LINK: Final = """
set -e
mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up
ip link add outside type bridge
ip address add "$0/24" dev outside
ip link set outside up
echo ready
cat
"""
_BOOT: Final = """
set -e
mkdir -p "$1"/upper "$1"/work "$1"/root "/sys/fs/cgroup/isochrone-$PPID-$2"
mount -t overlay overlay -o "lowerdir=$0,upperdir=$1/upper,workdir=$1/work" "$1/root"
echo $$ > "/sys/fs/cgroup/isochrone-$PPID-$2/cgroup.procs"
exec systemd-nspawn --quiet --boot --register=no --keep-unit --console=pipe --machine="$2" --hostname="$2" \
  --network-bridge=outside --system-call-filter="adjtimex clock_adjtime" --directory="$1/root"
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted machine.

    Attributes:
        root: its files, as this host sees them.
        link: the process in whose network namespace the bridge is.
        init: systemd's, as this host sees it.
    """

    root: Path
    link: int
    init: int

    def command(self, *command: str) -> list[str]:
        """The command line that runs a program inside."""
        return ["nsenter", f"--target={self.init}", "-m", "-u", "-i", "-n", "-p", "--", *command]

    def outside(self, *command: str) -> list[str]:
        """The command line that runs a program of this host at the outer end of its network."""
        return ["nsenter", f"--target={self.link}", "-n", "--", *command]

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
def debian() -> Iterator[Path]:
    """The tree that machines are booted over; the test is skipped where that cannot be made."""
    require_root()
    for program in _PROGRAMS:
        require_binary(program)
    include = ",".join(PACKAGES)
    with _room() as folder:
        root = folder / "root"
        _run(["debootstrap", "--variant=minbase", f"--include={include}", "bookworm", str(root)], wait_s=400)
        for unit in _SERVERS:
            (root / "etc/systemd/system/multi-user.target.wants" / unit).unlink()
        yield root


@contextlib.contextmanager
def _room() -> Iterator[Path]:
    """A folder that is removed at the end; in memory where that suffices, for dpkg waits for the disk at every file."""
    enough = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ENOUGH_OCTETS
    with tempfile.TemporaryDirectory(prefix="isochrone-", dir=_MEMORY if enough else None) as folder:
        yield Path(folder)


@contextlib.contextmanager
def booted(tree: Path, outside: str, machines: Mapping[str, str]) -> Iterator[dict[str, Machine]]:
    """Boot machines over a tree, and switch them off again.

    Args:
        tree: as `debian` has made it.
        outside: the address of this host on their network, which is a /24.
        machines: their addresses by name.
    """
    link = subprocess.Popen(
        ["unshare", "--mount", "--net", "bash", "-c", _LINK, outside],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(_end, link)
        folder = stack.enter_context(_room())
        assert link.stdout is not None
        assert link.stdout.readline() == b"ready\n"
        started = {name: stack.enter_context(_started(link.pid, tree, folder, name)) for name in machines}
        for name, address in machines.items():
            _run(started[name].command("ip", "address", "add", f"{address}/24", "dev", "host0"))
            _run(started[name].command("ip", "link", "set", "host0", "up"))
        yield started


@contextlib.contextmanager
def _started(link: int, tree: Path, folder: Path, name: str) -> Iterator[Machine]:
    entered = ["nsenter", f"--target={link}", "-m", "-n", "--"]
    nspawn = subprocess.Popen(
        [*entered, "bash", "-c", _BOOT, str(tree), str(folder / name), name],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    init: list[int] = []
    try:
        until(lambda: bool(_systemds(nspawn.pid)), "systemd starts")
        init = _systemds(nspawn.pid)
        machine = Machine(Path(f"/proc/{init[0]}/root"), link, init[0])
        until(lambda: _is_up(machine), "systemd has booted")
        yield machine
        subprocess.run(machine.command("systemctl", "poweroff"), capture_output=True, check=False)
        nspawn.wait(_DEADLINE_S)
    finally:
        nspawn.kill()
        nspawn.wait()
        for pid in init:  # whoever is the first process of a namespace takes all others with it
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in init), "it has ended")
        group = f"/sys/fs/cgroup/isochrone-{os.getpid()}-{name}"
        subprocess.run([*entered, "find", group, "-depth", "-type", "d", "-delete"], check=False)


def _end(link: subprocess.Popen[bytes]) -> None:
    """Let go of the line that keeps it."""
    link.communicate()


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
