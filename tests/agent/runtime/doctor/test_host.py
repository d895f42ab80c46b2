"""What the machine is, and what that means."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.doctor.diagnosis import Diagnosis, Severity
from agent.runtime.doctor.host import HostFacts, gather_host, judge_host

IDS = ["host.kernel", "host.clocksource", "host.virtualisation", "host.cpu_governor", "host.time_zone"]
GOOD = HostFacts(kernel="6.18.0", clocksource="tsc", steal_since_boot=0.0, steal_now=0.0)

facts = st.builds(
    HostFacts,
    kernel=st.text(max_size=12) | st.from_regex(r"\d{1,2}\.\d{1,2}", fullmatch=True),
    clocksource=st.none() | st.sampled_from(["tsc", "hpet", "acpi_pm", "kvm-clock"]),
    clocksources=st.sampled_from([(), ("tsc", "hpet")]),
    hypervisor=st.none() | st.sampled_from(["", "QEMU"]),
    container=st.none() | st.just("docker"),
    steal_since_boot=st.none() | st.floats(0, 1),
    steal_now=st.none() | st.floats(0, 1),
    governors=st.none() | st.dictionaries(st.sampled_from(["performance", "powersave"]), st.integers(1, 64)),
    time_zone=st.none() | st.just("Asia/Shanghai"),
    zones=st.booleans(),
)


def judged(given_: HostFacts) -> dict[str, Diagnosis]:
    """Diagnoses by their ids."""
    return {one.id: one for one in judge_host(given_)}


@given(facts)
def test_every_machine_gets_the_same_findings(given_: HostFacts) -> None:
    """Whatever it is like; and whoever is warned is told what to do."""
    found = list(judge_host(given_))
    assert [one.id for one in found] == IDS
    assert all(one.remedy is not None for one in found if one.severity >= Severity.WARNING)


@given(facts, st.floats(0.01, 1))
def test_stolen_time_is_never_well(given_: HostFacts, share: float) -> None:
    """Neither a share since boot nor one now, from a hundredth on."""
    for changes in ({"steal_now": share}, {"steal_since_boot": share}):
        told = {name: getattr(given_, name) for name in HostFacts.__slots__} | changes
        assert judged(HostFacts(**told))["host.virtualisation"].severity is Severity.WARNING


@pytest.mark.parametrize(
    ("given_", "id_", "severity"),
    [
        (GOOD, "host.kernel", Severity.OK),
        (HostFacts("6.1.0-18-amd64"), "host.kernel", Severity.OK),
        (HostFacts("3.10.0-1160.el7"), "host.kernel", Severity.PROBLEM),
        (HostFacts("next"), "host.kernel", Severity.NOTE),
        (GOOD, "host.clocksource", Severity.OK),
        (
            HostFacts("6.1", clocksource="hpet", clocksources=("tsc", "hpet")),
            "host.clocksource",
            Severity.WARNING,
        ),
        (HostFacts("6.1", clocksource="acpi_pm"), "host.clocksource", Severity.WARNING),
        (HostFacts("6.1", governors={"performance": 8}), "host.cpu_governor", Severity.OK),
        (HostFacts("6.1", governors={"performance": 7, "powersave": 1}), "host.cpu_governor", Severity.NOTE),
        (HostFacts("6.1", zones=False), "host.time_zone", Severity.NOTE),
        (GOOD, "host.virtualisation", Severity.OK),
    ],
)
def test_judgements(given_: HostFacts, id_: str, severity: Severity) -> None:
    """Each thing as bad as it is."""
    assert judged(given_)[id_].severity is severity


def test_the_way_back_to_the_tsc_is_named() -> None:
    """Where the kernel has it and does not use it."""
    remedy = judged(HostFacts("6.1", clocksource="hpet", clocksources=("tsc", "hpet")))[
        "host.clocksource"
    ].remedy
    assert remedy is not None
    assert "echo tsc >" in remedy.en


def test_a_machine_is_read_from_its_files(tmp_path: Path) -> None:
    """Kernel, clock, governors, hypervisor, container, zone; and the time stolen while one looks."""
    put(tmp_path, "proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
    put(tmp_path, "proc/stat", "cpu  50 0 30 900 0 0 10 10 0 0\ncpu0 25 0 15\ncpu1 25 0 15\n")
    put(tmp_path, "proc/cpuinfo", "processor : 0\nflags\t\t: fpu tsc hypervisor sse\n")
    clock = "sys/devices/system/clocksource/clocksource0/"
    put(tmp_path, f"{clock}current_clocksource", "kvm-clock\n")
    put(tmp_path, f"{clock}available_clocksource", "kvm-clock tsc \n")
    put(tmp_path, "sys/class/dmi/id/sys_vendor", "QEMU\n")
    for cpu in range(2):
        put(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", "powersave\n")
    put(tmp_path, "run/systemd/container", "systemd-nspawn\n")
    put(tmp_path, "usr/share/zoneinfo/UTC", "")
    put(tmp_path, "etc/x", "")
    (tmp_path / "etc/localtime").symlink_to("/usr/share/zoneinfo/Asia/Shanghai")

    def a_second_later(seconds: float) -> None:
        assert seconds == 1.0
        put(tmp_path, "proc/stat", "cpu  100 0 30 930 0 0 10 30 0 0\ncpu0 25\ncpu1 25\n")

    found = gather_host(tmp_path / "proc", tmp_path / "sys", tmp_path, a_second_later)
    assert found == HostFacts(
        kernel="6.1.0-18-amd64",
        clocksource="kvm-clock",
        clocksources=("kvm-clock", "tsc"),
        hypervisor="QEMU",
        container="systemd-nspawn",
        steal_since_boot=0.01,
        steal_now=0.2,
        cpus=2,
        governors={"powersave": 2},
        time_zone="Asia/Shanghai",
        zones=True,
    )


def test_a_machine_that_tells_nothing_is_no_fault(tmp_path: Path) -> None:
    """Where no file is there, all is unknown and nothing is a problem."""
    found = gather_host(tmp_path, tmp_path, tmp_path, lambda seconds: None)
    assert (found.clocksource, found.steal_now, found.hypervisor) == (None, None, None)
    assert all(one.severity is not Severity.PROBLEM for one in judge_host(found))


def put(root: Path, name: str, text: str) -> None:
    """Write a file below a root."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
