"""What pmc prints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.net.clocks.pmc import PtpStatus, Unanswered
from tests.support.ptp import AS_MASTER, FOLLOWING


def test_a_recorded_answer_is_read() -> None:
    """Every field of it."""
    assert PtpStatus.parse(FOLLOWING) == PtpStatus(
        offset_ns=-510,
        ingress_ns=1_795_420_587_980_493_464,
        grandmaster_present=True,
        path_delay_ns=2612,
        steps_removed=1,
        accuracy_ns=100,
        traceable=True,
        timescale_offset_s=37,
        port_state="UNCALIBRATED",
        timestamping="SOFTWARE",
        interface="v2",
    )


def test_the_answer_of_a_master_is_read() -> None:
    """It follows nobody, and its own accuracy is unknown."""
    status = PtpStatus.parse(AS_MASTER)
    assert (status.grandmaster_present, status.port_state) == (False, "MASTER")
    assert (status.accuracy_ns, status.timescale_offset_s, status.traceable) == (None, None, False)


def test_the_port_that_follows_is_the_one_that_counts() -> None:
    """A boundary clock has several ports; one of them is the slave, whatever comes first."""
    other = FOLLOWING[FOLLOWING.index("\t7e2864.fffe.bbf4e6-1") :].replace("UNCALIBRATED", "MASTER")
    status = PtpStatus.parse(other.replace("v2", "v1") + FOLLOWING.replace("UNCALIBRATED", "SLAVE"))
    assert (status.port_state, status.interface) == ("SLAVE", "v2")


def test_an_arbitrary_timescale_is_taken_as_it_is() -> None:
    """Where the grandmaster does not serve PTP time there is no offset to it."""
    assert (
        PtpStatus.parse(FOLLOWING.replace("ptpTimescale          1", "ptpTimescale 0")).timescale_offset_s
        == 0
    )


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (FOLLOWING, "", "no answer"),
        (FOLLOWING, "sending: GET TIME_STATUS_NP\n", "no answer"),
        ("master_offset", "master_onset", "no master_offset in the answer"),
        ("-510", "many", "cannot be read: .*many"),
        ("2611.5", "nan", "cannot be read"),
        ("2611.5", "1e999", "cannot be read"),
        ("2611.5", "1" * 33, "no meanPathDelay"),
        ("MANAGEMENT CURRENT_DATA_SET", "MANAGEMENT_ERROR_STATUS CURRENT_DATA_SET", "no CURRENT_DATA_SET"),
        ("MANAGEMENT PORT_PROPERTIES_NP", "MANAGEMENT OTHER_NP", "no PORT_PROPERTIES_NP"),
        ("0x21", "0xzz", "cannot be read"),
    ],
)
def test_what_is_missing_or_odd_is_named(old: str, new: str, why: str) -> None:
    """A ValueError of ours, that says which."""
    assert old in FOLLOWING
    with pytest.raises(Unanswered, match=why):
        PtpStatus.parse(FOLLOWING.replace(old, new))


@given(st.data())
def test_any_text_is_read_or_refused(data: st.DataObject) -> None:
    """There is no other exception, also where only some words are wrong."""
    words = st.sampled_from(
        ["", "0", "-1", "9" * 30, "1e300", "0x", "RESPONSE MANAGEMENT X", "٣", "inf", "\x00"]
    )
    lines = FOLLOWING.split("\n")
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        first = lines[at].split()[0] if lines[at].split() else ""
        lines[at] = f"{first} {data.draw(st.one_of(words, st.text()))}"
    for text in ("\n".join(lines), data.draw(st.text())):
        try:
            PtpStatus.parse(text)
        except Unanswered:
            pass
