"""The numbers of what is sent against a model of the kernel's, which may or may not count a refused datagram."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.net.transmit_ids import TransmitIds

MS = 1_000_000


def test_numbers_are_never_given_twice() -> None:
    """A number is never given twice, however often the kernel begins anew."""
    ids = TransmitIds(counted=True)
    taken = [*ids.take(3)]
    ids.begin_anew(0)
    taken += ids.take(2)
    ids.begin_anew(0)
    taken += ids.take(1)
    assert taken == [0, 1, 2, 3, 4, 5]


def test_the_kernel_begins_at_zero() -> None:
    """After the kernel has begun anew its 0 stands for the next datagram, and what it has not reached for none."""
    ids = TransmitIds(counted=True)
    for number in ids.take(3):
        assert ids.stamped(number, 0) == number
    ids.begin_anew(0)
    ids.take(2)
    assert ids.stamped(0, 0) == 3
    assert ids.stamped(1, 0) == 4
    assert ids.stamped(2, 0) is None


def test_a_kernel_number_wraps_around() -> None:
    """The kernel's numbers have 32 bits, ours go on, and a time from before the turn is still recognised after it."""
    for counted in (False, True):
        ids = TransmitIds(counted=counted)
        ids.next = (1 << 32) - 2
        assert ids.next_wire == 0xFFFF_FFFE
        assert [*ids.take(4)] == [(1 << 32) - 2, (1 << 32) - 1, 1 << 32, (1 << 32) + 1]
        assert ids.next_wire == 2
        assert ids.stamped(0, 0) == 1 << 32
        assert ids.stamped(0xFFFF_FFFE, 0) == (1 << 32) - 2
        assert ids.stamped(1, 0) == (1 << 32) + 1


def test_what_both_can_mean_is_thrown_away() -> None:
    """A time that may be late from before the kernel began anew is given to nobody; a second later it is trusted."""
    ids = TransmitIds(counted=True)
    ids.take(2)
    assert ids.stamped(0, 0) == 0
    ids.begin_anew(0)
    ids.take(2)
    assert ids.stamped(0, 5 * MS) == 2, "the old 0 had come: only the new one can be meant"
    assert ids.stamped(1, 5 * MS) is None, "the old 1 is still under way"
    assert ids.stamped(1, 1000 * MS) == 3


def test_times_that_never_come_are_forgotten() -> None:
    """A link that never reports a transmit time does not fill the memory."""
    ids = TransmitIds(counted=True)
    for _ in range(1_000):
        ids.take(64)
        assert len(ids._open) <= 2 * 16_384
    newest = ids.next - 1
    assert ids.stamped(newest, 0) == newest, "the newest are remembered"
    for second in range(20):
        for _ in range(500):
            ids.take(64)
        ids.begin_anew(second * 1_000 * MS)
        assert len(ids._suspects) <= 4 * 16_384


@given(st.data())
def test_no_time_is_given_to_the_wrong_datagram(data: st.DataObject) -> None:
    """Whatever is refused, counted or not, and however late times come, none is given to another datagram."""
    ids = TransmitIds(counted=True)
    kernel_next = 0
    now_ns = 0
    queued: list[tuple[int, int, int]] = []  # the kernel's number, the true number, sent at
    for _ in range(data.draw(st.integers(1, 40))):
        now_ns += data.draw(st.integers(0, 400)) * MS
        # Nothing is held by a queue for a second.
        for entry in [one for one in queued if now_ns - one[2] >= 900 * MS]:
            queued.remove(entry)
        step = data.draw(st.sampled_from(["send", "refuse", "stamp", "lose"]))
        if step == "send":
            for number in ids.take(data.draw(st.integers(1, 5))):
                queued.append((kernel_next, number, now_ns))
                kernel_next += 1
        elif step == "refuse":
            kernel_next += data.draw(st.integers(0, 1))
            ids.begin_anew(now_ns)
            kernel_next = 0
        elif queued:
            wire, number, _ = queued.pop(data.draw(st.integers(0, len(queued) - 1)))
            if step == "stamp":
                assert ids.stamped(wire, now_ns) in (number, None)


@given(st.lists(st.integers(1, 64), max_size=50), st.booleans())
def test_without_refusals_every_time_finds_its_datagram(counts: list[int], counted: bool) -> None:
    """As long as nothing is refused, every time is given to its datagram, even in reverse order."""
    ids = TransmitIds(counted=counted)
    numbers = [number for count in counts for number in ids.take(count)]
    assert [ids.stamped(number, 0) for number in reversed(numbers)] == numbers[::-1]
