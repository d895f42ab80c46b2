"""A link with a delay between two namespaces, where the kernel has no emulator of one: TUN devices, and a process that
carries packets from one to the other when they are due.

Packets are carried as large as the kernel gives them (TSO, UDP segmentation), with the header that says what is left to
do to them (struct virtio_net_hdr, 10 octets).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import multiprocessing
import os
import random
import signal
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection

from tests.support.netns import Namespace

_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_TUN, _NO_PI, _VNET_HDR = 0x1, 0x1000, 0x4000
_OFFLOADS = 0x01 | 0x02 | 0x04  # checksums, TSO for IPv4 and IPv6
_ROOM = 1 << 17
_NAMES = ("far0", "far1")
_ADDRESSES = ("10.214.0.1", "10.214.0.2")
_PATIENCE_S = 10


@contextlib.contextmanager
def distant(
    left: Namespace, right: Namespace, delay_ms: float, loss: float = 0.0
) -> Iterator[tuple[Namespace, Namespace]]:
    """Join two namespaces by another link, which delays each packet; the same ends, as they are on that link.

    Args:
        left, right: joined already.
        delay_ms: each way.
        loss: share of what the kernel gives in one piece that is lost, from left to right and back.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    carrier = context.Process(target=_carry, args=((left, right), delay_ms / 1e3, loss, there), daemon=True)
    carrier.start()
    try:
        assert here.poll(_PATIENCE_S), "no carrier of packets"
        here.recv()
        ends = []
        for end, name, address in zip((left, right), _NAMES, _ADDRESSES, strict=True):
            end.run("ip", "addr", "add", f"{address}/24", "dev", name)
            end.run("ip", "link", "set", name, "txqueuelen", "10000", "up")
            ends.append(replace(end, interface=name, ipv4=address))
        yield ends[0], ends[1]
    finally:
        carrier.kill()
        carrier.join(_PATIENCE_S)


def _carry(ends: tuple[Namespace, Namespace], delay_s: float, loss: float, told: Connection) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    with contextlib.suppress(PermissionError):  # a path does not wait for a core
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    devices = []
    for end, name in zip(ends, _NAMES, strict=True):
        with end.entered():
            devices.append(_device(name))
    first, second = devices
    for source, sink in ((first, second), (second, first)):
        waiting: deque[tuple[float, bytes]] = deque()
        came = threading.Semaphore(0)
        threading.Thread(target=_take, args=(source, waiting, came, delay_s, loss), daemon=True).start()
        threading.Thread(target=_give, args=(sink, waiting, came), daemon=True).start()
    told.send("ready")
    threading.Event().wait()


def _device(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    asked = struct.pack("16sH22x", name.encode(), _TUN | _NO_PI | _VNET_HDR)
    fcntl.ioctl(descriptor, _TUNSETIFF, asked)
    fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _OFFLOADS)
    return descriptor


def _take(
    source: int, waiting: deque[tuple[float, bytes]], came: threading.Semaphore, delay_s: float, loss: float
) -> None:
    rng = random.Random(8762)
    while True:
        try:
            data = os.read(source, _ROOM)
        except OSError:
            time.sleep(0.01)  # the device is not up yet
            continue
        if not loss or rng.random() >= loss:
            waiting.append((time.monotonic() + delay_s, data))
            came.release()


def _give(sink: int, waiting: deque[tuple[float, bytes]], came: threading.Semaphore) -> None:
    ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)
    while True:
        came.acquire()
        due, data = waiting.popleft()
        left = due - time.monotonic()
        if left > 0:
            time.sleep(left)
        with contextlib.suppress(OSError):
            os.write(sink, data)
