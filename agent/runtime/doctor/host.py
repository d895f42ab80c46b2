"""The machine: its kernel, how it reads time, who else has its processors, and its time zone."""

from __future__ import annotations

import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.core.names import Name
from agent.runtime.doctor.diagnosis import Check, Diagnosis, Numbers

KERNEL: Final = Check(
    "host.kernel",
    Name(
        "结论靠内核打的收发时间戳；太旧的内核没有，或者不能按包编号。",
        "Verdicts rest on the kernel's transmit and receive times, which old kernels do not give, or do not number.",
    ),
)
CLOCKSOURCE: Final = Check(
    "host.clocksource",
    Name(
        "每个包的时间戳都读一次时钟；读硬件定时器要一微秒以上，还要进内核，TSC 只要几十纳秒。",
        "Every timestamp reads the clock: a hardware timer takes over a microsecond, the TSC some ten nanoseconds.",
    ),
)
VIRTUALISATION: Final = Check(
    "host.virtualisation",
    Name(
        "宿主机拿走处理器时，包晚发、晚收；晚的部分由内核时间戳量出来，但会占用余量。",
        "While the host has the processor packets leave and arrive late; kernel times show it, and it uses up margin.",
    ),
)
GOVERNOR: Final = Check(
    "host.cpu_governor",
    Name(
        "降频和深度休眠让唤醒晚几十到几百微秒。",
        "Processors that clock down or sleep deeply wake up tens to hundreds of microseconds late.",
    ),
)
TIME_ZONE: Final = Check(
    "host.time_zone",
    Name(
        "本程序自己带着东八区，不依赖系统时区；日志用 UTC。系统时区只影响其他工具显示的时间。",
        "The programs bring UTC+8 themselves and log in UTC; the system's zone only changes what other tools show.",
    ),
)

_OLDEST: Final = (4, 0)
"""SOF_TIMESTAMPING_OPT_TSONLY; of those before nobody has tried one."""
_NUMBERED: Final = (6, 13)
"""SCM_TS_OPT_ID: the sender chooses a datagram's number."""
_FAST: Final = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "timebase", "tod")
"""Read in user space, without a system call."""
_STEADY: Final = ("performance",)
_STEAL_WARNING: Final = 0.01
_STEAL_FIELD: Final = 7
_TICKS_OF_CPU: Final = 8
"""user nice system idle iowait irq softirq steal: what follows, guest time, is in user and nice already."""
_SAMPLE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What was found out about the machine.

    Attributes:
        kernel: its release.
        clocksource: what the kernel reads time from; None: not told.
        clocksources: what else it could.
        hypervisor: what it runs on; empty: something unknown; None: none.
        container: what it runs in; None: nothing.
        steal_since_boot, steal_now: share of the processors' time that the hypervisor gave to others; None: not told.
        cpus: how many processors.
        governors: how many processors have each; none where the kernel does not scale their frequency.
        time_zone: of the system; None: not known.
        zones: whether there is a database of time zones.
    """

    kernel: str
    clocksource: str | None = None
    clocksources: tuple[str, ...] = ()
    hypervisor: str | None = None
    container: str | None = None
    steal_since_boot: float | None = None
    steal_now: float | None = None
    cpus: int = 1
    governors: Mapping[str, int] | None = None
    time_zone: str | None = None
    zones: bool = True


def judge_host(facts: HostFacts) -> Iterator[Diagnosis]:
    """What the machine means for measuring."""
    yield _kernel(facts)
    yield _clocksource(facts)
    yield _virtualisation(facts)
    yield _governor(facts)
    yield _time_zone(facts)


def _kernel(facts: HostFacts) -> Diagnosis:
    found = re.match(r"(\d+)\.(\d+)", facts.kernel)
    numbers = {"release": facts.kernel}
    if found is None:
        return KERNEL.note(
            Name(f"内核 {facts.kernel}，版本号无法识别", f"kernel {facts.kernel}, of unknown version"),
            numbers=numbers,
        )
    version = int(found[1]), int(found[2])
    name = Name(f"内核 {facts.kernel}", f"kernel {facts.kernel}")
    if version < _OLDEST:
        return KERNEL.problem(
            name,
            Name("换用 Linux 5.4 或更新的内核。", "Run Linux 5.4 or newer."),
            numbers=numbers,
        )
    if version < _NUMBERED:
        return KERNEL.ok(
            Name(f"{name.zh}，发送时间戳由内核编号", f"{name.en}, which numbers transmit times itself"),
            numbers=numbers,
        )
    return KERNEL.ok(
        Name(f"{name.zh}，发送时间戳由程序编号", f"{name.en}, transmit times carry numbers of ours"),
        numbers=numbers,
    )


def _clocksource(facts: HostFacts) -> Diagnosis:
    numbers = {"clocksource": facts.clocksource, "available": " ".join(facts.clocksources)}
    if facts.clocksource is None:
        return CLOCKSOURCE.note(
            Name("内核没有说明时钟源", "the kernel does not say what it reads time from"), numbers=numbers
        )
    name = Name(f"时钟源 {facts.clocksource}", f"clocksource {facts.clocksource}")
    if facts.clocksource in _FAST:
        return CLOCKSOURCE.ok(name, numbers=numbers)
    better = next((one for one in _FAST if one in facts.clocksources), None)
    if better is not None:
        command = f"echo {better} > /sys/devices/system/clocksource/clocksource0/current_clocksource"
        remedy = Name(
            f"换回 {better}：{command}（保留：内核参数 clocksource={better}）。内核日志说 TSC 不稳定时先查明原因。",
            f"Go back to {better}: {command} (kernel parameter clocksource={better} to keep it). Where the kernel's "
            "log calls the TSC unstable, find out why first.",
        )
    else:
        remedy = Name(
            "在虚拟机里让宿主机提供不变的 TSC（或 kvm-clock）；在物理机上查 BIOS 与内核日志中 TSC 被停用的原因。",
            "Let the hypervisor offer an invariant TSC (or kvm-clock); on hardware see firmware and kernel log for why "
            "the TSC is not used.",
        )
    return CLOCKSOURCE.warning(name, remedy, numbers=numbers)


def _virtualisation(facts: HostFacts) -> Diagnosis:
    within = facts.container
    numbers = {
        "hypervisor": facts.hypervisor,
        "container": within,
        "steal_ratio_since_boot": facts.steal_since_boot,
        "steal_ratio_now": facts.steal_now,
    }
    on = facts.hypervisor
    where = Name("物理机", "no hypervisor")
    if on is not None:
        where = Name(f"虚拟机（{on or '未知'}）", f"virtual machine ({on or 'unknown'})")
    if within is not None:
        where = Name(f"{where.zh}，容器（{within}）", f"{where.en}, container ({within})")
    shares = [share for share in (facts.steal_since_boot, facts.steal_now) if share is not None]
    if not shares:
        return VIRTUALISATION.note(
            Name(f"{where.zh}，被占用的份额未知", f"{where.en}, steal time unknown"), numbers=numbers
        )
    since, now = facts.steal_since_boot or 0.0, facts.steal_now or 0.0
    found = Name(
        f"{where.zh}，处理器时间被占用 {since:.2%}（启动以来）、{now:.2%}（刚才一秒）",
        f"{where.en}, {since:.2%} of the processors' time stolen since boot, {now:.2%} in the last second",
    )
    if max(shares) >= _STEAL_WARNING:
        return VIRTUALISATION.warning(
            found,
            Name(
                "给虚拟机独占的核（pinning），或减少宿主机超卖，或把代理移到物理机。",
                "Give the machine cores of its own (pinning), oversubscribe the host less, or move to hardware.",
            ),
            numbers=numbers,
        )
    return VIRTUALISATION.ok(found, numbers=numbers)


def _governor(facts: HostFacts) -> Diagnosis:
    governors = dict(facts.governors or {})
    numbers: Numbers = {"cpus": facts.cpus, **governors}
    if not governors:
        return GOVERNOR.ok(
            Name(
                f"{facts.cpus} 个处理器，内核不调节频率", f"{facts.cpus} processors, not scaled by the kernel"
            ),
            numbers=numbers,
        )
    told = ", ".join(f"{count} × {name}" for name, count in sorted(governors.items()))
    found = Name(f"调频策略：{told}", f"governors: {told}")
    if all(name in _STEADY for name in governors):
        return GOVERNOR.ok(found, numbers=numbers)
    return GOVERNOR.note(
        found,
        Name(
            "若发送延迟（isochrone_send_lag_seconds）偏大：cpupower frequency-set -g performance。",
            "If sends are late (isochrone_send_lag_seconds): cpupower frequency-set -g performance.",
        ),
        numbers=numbers,
    )


def _time_zone(facts: HostFacts) -> Diagnosis:
    numbers = {"time_zone": facts.time_zone, "database": facts.zones}
    if not facts.zones:
        return TIME_ZONE.note(
            Name("系统没有时区数据库", "the system has no database of time zones"),
            Name("需要时：apt install tzdata。", "Where wanted: apt install tzdata."),
            numbers=numbers,
        )
    zone = facts.time_zone or "UTC"
    return TIME_ZONE.ok(Name(f"系统时区 {zone}", f"the system's zone is {zone}"), numbers=numbers)


# Gathering


def gather_host(
    proc: Path = Path("/proc"),
    system: Path = Path("/sys"),
    root: Path = Path("/"),
    pause: Callable[[float], None] = time.sleep,
) -> HostFacts:
    """Look at the machine; takes a second, for the steal time.

    Args:
        proc, system, root: where these file systems are.
        pause: waits so many seconds.
    """
    clock = system / "devices/system/clocksource/clocksource0"
    before = _ticks(proc)
    pause(_SAMPLE_S)
    after = _ticks(proc)
    moment = None if before is None or after is None else [b - a for a, b in zip(before, after, strict=True)]
    governors = Counter(
        governor
        for file in (system / "devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
        if (governor := _text(file))
    )
    return HostFacts(
        kernel=_text(proc / "sys/kernel/osrelease") or platform.release(),
        clocksource=_text(clock / "current_clocksource"),
        clocksources=tuple((_text(clock / "available_clocksource") or "").split()),
        hypervisor=_hypervisor(proc, system),
        container=_container(proc, root),
        steal_since_boot=_steal(before),
        steal_now=_steal(moment),
        cpus=sum(1 for line in (_text(proc / "stat") or "").splitlines() if re.match(r"cpu\d", line)) or 1,
        governors=governors,
        time_zone=_zone(root),
        zones=(root / "usr/share/zoneinfo/UTC").exists(),
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _ticks(proc: Path) -> list[int] | None:
    """What all processors have spent their time on since boot."""
    first = (_text(proc / "stat") or "").partition("\n")[0].split()
    if len(first) <= _TICKS_OF_CPU or first[0] != "cpu" or not all(map(str.isdecimal, first[1:])):
        return None
    return list(map(int, first[1 : 1 + _TICKS_OF_CPU]))


def _steal(ticks: list[int] | None) -> float | None:
    if ticks is None or sum(ticks) <= 0:
        return None
    return max(0, ticks[_STEAL_FIELD]) / sum(ticks)


def _hypervisor(proc: Path, system: Path) -> str | None:
    """What it runs on: by Xen's name, the processors' flag, or the name of the board."""
    xen = _text(system / "hypervisor/type")
    if xen:
        return xen
    flagged = re.search(r"^flags\s*:.*\bhypervisor\b", _text(proc / "cpuinfo") or "", re.MULTILINE)
    vendor = _text(system / "class/dmi/id/sys_vendor") or ""
    known = next(
        (
            name
            for name in ("QEMU", "VMware", "Microsoft", "Xen", "Amazon", "Google", "Alibaba")
            if name in vendor
        ),
        "",
    )
    if flagged is None and known != "QEMU":
        return None
    return vendor


def _container(proc: Path, root: Path) -> str | None:
    managed = _text(root / "run/systemd/container")
    if managed:
        return managed
    for file, name in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if (root / file).exists():
            return name
    environment = (_text(proc / "1/environ") or "").split("\0")
    return next((one.partition("=")[2] for one in environment if one.startswith("container=")), None)


def _zone(root: Path) -> str | None:
    try:
        target = str((root / "etc/localtime").readlink())
    except OSError:
        return None
    _, known, zone = target.partition("zoneinfo/")
    return zone if known else None
