"""`probe throughput`: what a person is told, and when a line is tested a second time."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli import main
from agent.core.throughput.cause import Cause
from agent.core.throughput.lease import Way
from agent.core.throughput.rates import Packets, Rate
from agent.core.throughput.result import ErrorReason, Floor, Outcome, Verdict, failed, judge
from agent.core.throughput.trial import Trial
from agent.core.throughput.turn import is_worth_another, settled
from agent.runtime.lifecycle import ExitStatus
from agent.throughput.command import lines_of, summarise
from agent.throughput.iperf3 import Iperf3Result
from tests.support.processes import free_port
from tests.support.throughput import TOKEN, line_to

FLOOR = Floor(10e9)
PASS, FAIL, UNCLEAR = (
    judge(Way.DOWN, Rate(rate, rate, rate, 4), Packets(1448, 52), FLOOR, cause)
    for rate, cause in ((10e9, Cause.PACING_CAP), (9e9, Cause.PATH_RATE), (9e9, Cause.HOST_STARVED))
)
BROKEN = failed(Way.DOWN, ErrorReason.BROKEN_OFF, "gone", FLOOR)
BUSY = failed(Way.DOWN, ErrorReason.REFUSED, "1 of 1 slots are taken", FLOOR)


@pytest.mark.parametrize(
    ("attempts", "verdict"),
    [
        ([PASS], Verdict.PASS),
        ([FAIL], Verdict.FAIL),
        ([FAIL, FAIL], Verdict.FAIL),
        ([FAIL, PASS], Verdict.PASS),
        ([UNCLEAR, PASS], Verdict.PASS),
        ([FAIL, UNCLEAR], Verdict.INCONCLUSIVE),
        ([FAIL, BROKEN], Verdict.INCONCLUSIVE),
        ([UNCLEAR, FAIL], Verdict.INCONCLUSIVE),
        ([UNCLEAR, BROKEN], Verdict.ERROR),
        ([BUSY], Verdict.ERROR),
    ],
)
def test_two_attempts_make_one_verdict(attempts: list[Outcome], verdict: Verdict) -> None:
    """A line that has passed once can carry it; it fails only if it has failed each time."""
    assert settled(attempts).verdict is verdict


@pytest.mark.parametrize(
    ("outcome", "again"), [(PASS, False), (FAIL, True), (UNCLEAR, True), (BROKEN, True), (BUSY, False)]
)
def test_what_is_tested_again(outcome: Outcome, again: bool) -> None:
    """What has not passed; but who refuses is not asked again at once."""
    assert is_worth_another({Way.DOWN: outcome}) is again


def told(ip_layer: str, goodput: str) -> str:
    rate = f"{ip_layer} Gbit/s at the IP layer ({ip_layer} to {ip_layer} with 99 %)"
    return f"{rate}, {goodput} Gbit/s of goodput; floor 10.000 Gbit/s at the IP layer"


def test_what_a_person_is_told() -> None:
    """Rate, layer, floor, cause, both attempts, and the second opinion."""
    line = line_to(1, direction="down", floors={"down": "10G"})
    trials = [
        Trial({Way.DOWN: FAIL}),
        Trial({Way.DOWN: PASS}, 1, 2_000_000_001, {Way.DOWN: 5}, {}, cpu_ns=10**9),
    ]
    document = summarise(line, trials, None, {Way.DOWN: Iperf3Result(9.4e9)})
    assert document["verdict"] is Verdict.PASS
    assert document["ways"]["down"]["attempts"][1]["seconds"] == 2
    assert list(lines_of(document)) == [
        "Throughput of 127.0.0.1:1: TCP, 2 streams, verify",
        f"down: pass; {told('10.359', '10.000')}; bounded by pacing cap",
        f"  after 2 tests; the first: fail; {told('9.323', '9.000')}; bounded by path rate",
        "  iperf3: 9.400 Gbit/s of goodput",
    ]


def test_an_error_has_no_rate() -> None:
    """Neither for a person nor for a program; who is refused learns when to come again."""
    line = line_to(1, direction="down", floors={"down": "10G"})
    document = summarise(line, [Trial({Way.DOWN: BUSY}, retry_after_s=7)], None, {})
    assert document["verdict"] is Verdict.ERROR
    assert document["ways"]["down"]["ip_layer"] is None
    assert list(lines_of(document))[1:] == [
        "down: error: refused: 1 of 1 slots are taken",
        "it may be worth asking again in 7 s",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--direction", "down"], "no floor for down: mode verify needs one, such as down: 1G"),
        (
            ["--direction", "down", "--floor-down", "1G", "--floor-up", "1G"],
            "--floor-up: up is not tested: direction is down",
        ),
        (["--direction", "up", "--mode", "capacity"], "neither a floor nor a ceiling for up"),
        (["--direction", "up", "--floor-up", "1G", "--ceiling-up", "1G"], "--ceiling-up: 1G leaves no room"),
    ],
)
def test_what_cannot_be_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    """Options that do not fit together end with status 2 and say what would be accepted."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    assert (
        main(["probe", "throughput", "127.0.0.1", "--token-file", str(token), *options]) == ExitStatus.USAGE
    )
    assert message in capsys.readouterr().err


def test_a_token_that_others_can_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is not used."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o644)
    arguments = ["--token-file", str(token), "--direction", "down", "--floor-down", "1G"]
    assert main(["probe", "throughput", "127.0.0.1", *arguments]) == ExitStatus.USAGE
    assert "chmod 600" in capsys.readouterr().err


def test_nobody_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Then the status is 1, and the reason is told."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    arguments = ["--token-file", str(token), "--direction", "down", "--floor-down", "1M", "--no-latency"]
    assert main(["probe", "throughput", f"127.0.0.1:{free_port()}", *arguments]) == ExitStatus.FAILED
    assert "down: error: unreachable" in capsys.readouterr().out
