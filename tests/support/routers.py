"""Three routers between a prober and a target, in namespaces of their own; the middle one is a balanced pair.

                          ┌─ upper ─┐
    prober ──── first ────┤         ├──── last ──── target
                          └─ lower ─┘

`first` chooses between the pair by five-tuple. Neighbours are permanent, so nothing waits for their discovery.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.netns import Namespace
from tests.support.requirements import require, require_binary, require_root

_numbers = itertools.count()
_LINKS = (
    ("prober", "first"),
    ("first", "upper"),
    ("first", "lower"),
    ("upper", "last"),
    ("lower", "last"),
    ("last", "target"),
)
_ROUTERS = ("first", "upper", "lower", "last")
_PROBER_NETS, _TARGET_NETS = ("10.77.1.0/24", "fd77:1::/64"), ("10.77.6.0/24", "fd77:6::/64")


@dataclass(frozen=True)
class Routers:
    """The network.

    Attributes:
        nodes: the namespaces by role; `ipv4` and `ipv6` of each are the addresses nearest to the prober.
    """

    nodes: dict[str, Namespace]

    def __getitem__(self, role: str) -> Namespace:
        return self.nodes[role]

    def address(self, role: str, version: int) -> str:
        """The address with which a node answers the prober."""
        return self.nodes[role].ipv4 if version == 4 else self.nodes[role].ipv6

    def forward_by(self, *roles: str) -> None:
        """Let `first` send what is for the target by these of the pair."""
        for version, net in zip((4, 6), _TARGET_NETS, strict=True):
            hops = [f"nexthop via {self.address(role, version)}" for role in roles]
            self._ip("first", [f"route replace {net} {' '.join(hops)}"], version)

    def swallow(self) -> None:
        """Let `first` throw away what is for the target, and say nothing."""
        for version, net in zip((4, 6), _TARGET_NETS, strict=True):
            self._ip("first", [f"route replace blackhole {net}"], version)

    def silence(self, role: str) -> None:
        """Let one of the pair lose its way back to the prober: it forwards, and its ICMP errors go nowhere."""
        for version, net in zip((4, 6), _PROBER_NETS, strict=True):
            self._ip("last", [f"route replace {net} via {_address(4 if role == 'upper' else 3, 0, version)}"])
            self._ip(role, [f"route del {net}"], version)

    def _ip(self, role: str, commands: Sequence[str], version: int | None = None) -> None:
        family = [] if version is None else [f"-{version}"]
        done = subprocess.run(
            [require_binary("ip"), *family, "-netns", self.nodes[role].name, "-batch", "-"],
            input="\n".join(commands),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, f"{role}: {commands}: {done.stderr.strip()}"


def _address(link: int, end: int, version: int) -> str:
    return f"10.77.{link + 1}.{end + 1}" if version == 4 else f"fd77:{link + 1}::{end + 1}"


def _hardware_address(link: int, end: int) -> str:
    return f"02:00:00:00:{link:02x}:{end + 1:02x}"


def _commands(role: str) -> list[str]:
    """Addresses, neighbours and routes of a node, for `ip -batch`."""
    commands = ["link set lo up"]
    for link, ends in enumerate(_LINKS):
        if role not in ends:
            continue
        end = ends.index(role)
        device = f"v{link}"
        commands.append(f"link set {device} addrgenmode none up")
        for version, prefix in ((4, 24), (6, 64)):
            nodad = "nodad" if version == 6 else ""
            commands.append(f"addr add {_address(link, end, version)}/{prefix} dev {device} {nodad}")
            there, hardware = _address(link, 1 - end, version), _hardware_address(link, 1 - end)
            commands.append(f"neigh replace {there} lladdr {hardware} dev {device} nud permanent")
    for version in (4, 6):
        prober, target = (nets[version == 6] for nets in (_PROBER_NETS, _TARGET_NETS))
        routes = {
            "prober": [("default", 0, 1)],
            "first": [],
            "upper": [(prober, 1, 0), (target, 3, 1)],
            "lower": [(prober, 2, 0), (target, 4, 1)],
            "last": [(prober, 3, 0)],
            "target": [("default", 5, 0)],
        }[role]
        commands += [f"route add {net} via {_address(link, end, version)}" for net, link, end in routes]
    return commands


def _configure(node: Namespace, role: str) -> None:
    """All ICMP errors that are due, and forwarding; a way back that differs from the way there is no fault."""
    with node.entered():
        net = Path("/proc/sys/net")
        # A flow label makes the kernel keep a hash with the packet, which goes along over veth, as it would over no
        # wire, and balances in place of the routers' own.
        settings = {
            "ipv4/conf/all/rp_filter": 0,
            "ipv4/conf/default/rp_filter": 0,
            "ipv6/auto_flowlabels": 0,
            "ipv4/icmp_ratelimit": 0,
            "ipv6/icmp/ratelimit": 0,
        }
        if role in _ROUTERS:
            settings |= {
                "ipv4/ip_forward": 1,
                "ipv6/conf/all/forwarding": 1,
                "ipv4/fib_multipath_hash_policy": 1,
                "ipv6/fib_multipath_hash_policy": 1,
            }
        for name, value in settings.items():
            (net / name).write_text(str(value))


@contextlib.contextmanager
def routed_namespaces() -> Iterator[Routers]:
    """The network, removed at the end whatever happens.

    Needs root, `ip` and a kernel that gives namespaces: else the test is skipped.
    """
    require_root()
    ip = require_binary("ip")
    prefix = f"iso{os.getpid()}r{next(_numbers)}"
    nodes: dict[str, Namespace] = {}
    with contextlib.ExitStack() as cleanup:
        for role in dict.fromkeys(itertools.chain(*_LINKS)):
            nearest = next(link for link, ends in enumerate(_LINKS) if role in ends)
            end = _LINKS[nearest].index(role)
            node = Namespace(
                f"{prefix}{role}", f"v{nearest}", _address(nearest, end, 4), _address(nearest, end, 6)
            )
            added = subprocess.run(
                [ip, "netns", "add", node.name], capture_output=True, text=True, check=False
            )
            require(added.returncode == 0, f"no network namespaces: {added.stderr.strip()}")
            cleanup.callback(subprocess.run, [ip, "netns", "del", node.name], check=True)
            nodes[role] = node
            _configure(node, role)
        network = Routers(nodes)
        for link, (left, right) in enumerate(_LINKS):
            device, near, far = f"v{link}", _hardware_address(link, 0), _hardware_address(link, 1)
            peer = f"peer name {device} address {far} netns {nodes[right].name}"
            network._ip(left, [f"link add {device} address {near} type veth {peer}"])
        for role in nodes:
            network._ip(role, _commands(role))
        network.forward_by("upper", "lower")
        yield network
