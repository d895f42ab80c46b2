"""Two network namespaces joined by a pair of virtual Ethernet interfaces: a real link that nobody else uses."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.requirements import require, require_binary, require_root

_CLONE_NEWNET = 0x4000_0000
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Namespace:
    """One end of the link.

    Attributes:
        name: as `ip netns` knows it.
        interface: its end of the link.
        ipv4, ipv6: the addresses of that interface.
    """

    name: str
    interface: str
    ipv4: str
    ipv6: str

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs a program in this namespace; the process becomes the program."""
        return [require_binary("ip"), "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str) -> str:
        """Run a program in this namespace to its end; what it printed.

        Raises:
            AssertionError: it failed.
        """
        return _run(*self.command(*arguments))

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread into this namespace: sockets opened inside stay there."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.setns.argtypes, libc.setns.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
        home_path, there_path = Path("/proc/thread-self/ns/net"), Path("/run/netns", self.name)
        with home_path.open("rb") as home, there_path.open("rb") as there:
            assert libc.setns(there.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(home.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


@contextlib.contextmanager
def joined_namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces joined by a link, with IPv4, IPv6 and loopback up; removed at the end whatever happens.

    Needs root, `ip` and a kernel that gives namespaces: else the test is skipped.
    """
    require_root()
    require_binary("ip")
    prefix = f"iso{os.getpid()}n{next(_numbers)}"
    left = Namespace(f"{prefix}l", "left0", "10.213.0.1", "fd21::1")
    right = Namespace(f"{prefix}r", "right0", "10.213.0.2", "fd21::2")
    made = []
    try:
        for end in (left, right):
            added = subprocess.run(
                [require_binary("ip"), "netns", "add", end.name], capture_output=True, text=True, check=False
            )
            require(added.returncode == 0, f"no network namespaces: {added.stderr.strip()}")
            made.append(end)
        _ip(left, "link", "add", left.interface, "type", "veth", "peer", right.interface, "netns", right.name)
        for end in (left, right):
            _ip(end, "addr", "add", f"{end.ipv4}/24", "dev", end.interface)
            # nodad: usable at once, without the second that looking for a duplicate takes
            _ip(end, "addr", "add", f"{end.ipv6}/64", "dev", end.interface, "nodad")
            _ip(end, "link", "set", "lo", "up")
            _ip(end, "link", "set", end.interface, "addrgenmode", "none", "up")
        yield left, right
    finally:
        for end in made:
            _run(require_binary("ip"), "netns", "del", end.name)


def _ip(end: Namespace, *arguments: str) -> None:
    _run(require_binary("ip"), "-netns", end.name, *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout
