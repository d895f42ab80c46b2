"""TLVs of many requests at once: the same octets as one by one."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.core.reflected_sessions import ReflectedSession
from agent.core.timestamps import ntp_from_ns
from agent.core.tlv import TlvFields, TlvType, serialise
from agent.core.tlv_columns import ColumnsAbout, TlvLayout, TlvLayouts
from agent.core.tlv_reflection import Circumstances, reflect
from agent.core.tlv_values import (
    ClassOfService,
    DirectMeasurement,
    ExtraPadding,
    FollowUpTelemetry,
    Hmac,
    TimestampInformation,
    TimestampMethod,
    serialise_request,
)
from tests.support.tlvs import SOURCE, mutated

BASE = 4
MARKABLE = (0, 10, 46)
TIMESTAMPING = tuple(TimestampInformation(1, method, 1, 3) for method in (3, 2, 1))
LENGTHS = {
    TlvType.EXTRA_PADDING: 7,
    TlvType.TIMESTAMP_INFORMATION: 4,
    TlvType.CLASS_OF_SERVICE: 4,
    TlvType.DIRECT_MEASUREMENT: 12,
    TlvType.FOLLOW_UP_TELEMETRY: 16,
    TlvType.HMAC: 16,
    TlvType.RETURN_PATH: 8,
    99: 3,
    0: 0,
}

layouts = st.lists(st.sampled_from(sorted(LENGTHS)), min_size=1, max_size=5)


def filled(kinds: list[int], rng: random.Random) -> bytes:
    """TLVs of these types with any values."""
    return serialise(TlvFields(kind, rng.randbytes(LENGTHS[kind])) for kind in kinds)


@given(st.lists(layouts, min_size=1, max_size=12), st.booleans(), st.randoms(use_true_random=False))
def test_columns_give_what_each_gets_by_itself(
    wanted: list[list[int]], stateful: bool, rng: random.Random
) -> None:
    """Whatever the layouts, how often each comes, and whether it is whole: the same octets and the same marking."""
    known = TlvLayouts()
    for _ in range(3):
        data = [filled(rng.choice(wanted), rng) for _ in range(12)]
        data += [mutated(one, rng) for one in data[:4]] + [bytes(20), b"", bytes(3), bytes(19) + b"x"]
        count, longest = len(data), max(map(len, data)) + 5
        sessions = [ReflectedSession() for _ in data]
        sequences = [rng.choice((0, 1, 2**32 - 1, 2**32, 2**33 + 7)) for _ in data]
        lefts = [rng.choice((0, 10**18 + row)) for row in range(count)]
        for session, own, left_ns in zip(sessions, sequences, lefts, strict=True):
            session.unsent = rng.randrange(2)
            if left_ns:
                method = rng.choice((TimestampMethod.SOFTWARE, TimestampMethod.HARDWARE))
                session.left(own - rng.randrange(1, 3), left_ns, method)
        markings = [rng.randrange(256) for _ in data]
        takers = [rng.randrange(3) for _ in data]
        expected = []
        for row, octets in enumerate(data):
            own, session = sequences[row], sessions[row]
            left_ns = session.left_before(own)
            previous = (
                FollowUpTelemetry((own - 1) % 2**32, ntp_from_ns(left_ns), session.left_by)
                if left_ns
                else None
            )
            expected.append(
                reflect(
                    octets,
                    Circumstances(
                        SOURCE,
                        0,
                        own % 2**32,
                        markings[row] >> 2,
                        markings[row] & 3,
                        MARKABLE,
                        TIMESTAMPING[takers[row]],
                        (own + 1, session.sent(own)) if stateful else None,
                        previous if stateful else None,
                    ),
                )
            )
        rows = [(b"base" + octets).ljust(longest, b"*") for octets in data]
        packets = np.frombuffer(b"".join(rows), np.uint8).reshape(count, longest).copy()
        dscps = np.zeros(count, np.int64)
        about = ColumnsAbout(
            np.array(sequences),
            sessions if stateful else None,
            np.array(markings) >> 2,
            np.array(markings) & 3,
            np.isin(np.arange(64), MARKABLE),
            np.array(takers),
            TIMESTAMPING,
        )
        by_itself: set[int] = set()
        in_columns: set[int] = set()
        for layout, found in known.sort(packets, BASE, np.array([BASE + len(octets) for octets in data])):
            if layout is None:
                by_itself.update(found.tolist())
            else:
                assert not in_columns & set(found.tolist())
                in_columns.update(found.tolist())
                layout.answer(packets, BASE, found, about, dscps)
        assert not by_itself & in_columns
        for row, reply in enumerate(expected):
            octets = data[row] if row in by_itself else bytes(reply.octets)
            assert packets[row].tobytes() == (b"base" + octets).ljust(longest, b"*")
            if row not in by_itself:
                assert dscps[row] == (reply.dscp or 0)


def sorted_out(known: TlvLayouts, data: list[bytes]) -> list[tuple[bool, list[int]]]:
    """Which rows are answered together, and which by themselves."""
    longest = max(map(len, data))
    packets = np.frombuffer(b"".join(octets.ljust(longest) for octets in data), np.uint8)
    octets = np.array([len(one) for one in data])
    return [
        (layout is not None, rows.tolist())
        for layout, rows in known.sort(packets.reshape(len(data), longest), 0, octets)
    ]


def test_what_a_sender_repeats_is_answered_together() -> None:
    """Packets with the same TLVs are one group, whatever their values, in this batch and the next."""
    known = TlvLayouts()
    rng = random.Random(1)
    kinds = [3, 4, 5, 7, 99, 1]
    for _ in range(2):
        assert sorted_out(known, [filled(kinds, rng) for _ in range(9)]) == [(True, list(range(9)))]
    mixed = [filled(one, rng) for one in (kinds, [7], kinds, [7])]
    assert sorted_out(known, mixed) == [(True, [0, 2]), (True, [1, 3])]


def test_what_depends_on_more_than_its_place_is_answered_by_itself() -> None:
    """HMAC, Return Path, two Class of Service TLVs, a wrong length, and octets that are no TLV."""
    known = TlvLayouts()
    for octets in (
        serialise_request(FollowUpTelemetry(), Hmac()),
        serialise([TlvFields(TlvType.RETURN_PATH, bytes(8))]),
        serialise_request(ClassOfService(1), ClassOfService(2)),
        serialise([TlvFields(TlvType.DIRECT_MEASUREMENT, bytes(11))]),
        serialise_request(ExtraPadding(b"x")) + b"y",
        b"xyz",
        bytes(7) + b"x",
    ):
        assert sorted_out(known, [octets] * 3) == [(False, [0, 1, 2])]
    assert sorted_out(known, [bytes(30), bytes(2), bytes(30)]) == []


def test_who_changes_the_layout_each_time_is_answered_by_itself() -> None:
    """A few new layouts are looked into at once, and a few lengths; the rest gets no columns of its own."""
    known = TlvLayouts()
    same_length = [serialise([TlvFields(kind, bytes(4))]) for kind in range(20, 30)]
    together = [rows for in_columns, rows in sorted_out(known, same_length) if in_columns]
    assert together == [[0], [1], [2], [3]]
    other_lengths = [serialise([TlvFields(20, bytes(length))]) for length in range(20)]
    found = sorted_out(known, other_lengths)
    assert found[-1] == (False, list(range(8, 20)))
    assert len(found) == 9
    assert len(known._recent) == 8


def test_a_layout_is_its_headers() -> None:
    """Types and lengths make it, flags and values do not."""
    layout = TlvLayout(serialise_request(DirectMeasurement(1), ExtraPadding(b"abc")))
    others = [
        serialise_request(DirectMeasurement(7), ExtraPadding(b"xyz")),
        serialise([TlvFields(5, bytes(12), 0), TlvFields(1, bytes(3), 0xFF)]),
        serialise([TlvFields(6, bytes(12)), TlvFields(1, bytes(3))]),
        serialise([TlvFields(5, bytes(11)), TlvFields(1, bytes(4))]),
    ]
    tlvs = np.frombuffer(b"".join(others), np.uint8).reshape(4, -1)
    assert layout.is_of(tlvs).tolist() == [True, True, False, False]
