"""Replies that wait to be told when they left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.core.follow_up import FollowUps, Told
from agent.core.measurement import Probes
from agent.core.session import NO_REPLIES, Replies

T3 = 1_000_000_000


@dataclass(frozen=True)
class Reply:
    """Reply `number` of a session, and by how much it says that the one before it was late; None: it does not say."""

    row: int
    number: int
    says: int | None = None
    about: int | None = None

    @property
    def t3_ns(self) -> int:
        """The reflector's program's time."""
        return T3 * (1 + self.number)


def batch(replies: list[Reply]) -> tuple[Replies, Told]:
    """As a socket would give them."""
    columns = {name: np.zeros(len(replies), values.dtype) for name, values in NO_REPLIES._asdict().items()}
    columns["rows"][:] = [reply.row for reply in replies]
    columns["sequences"][:] = columns["reflected"][:] = [reply.number for reply in replies]
    columns["t3_ns"][:] = [reply.t3_ns for reply in replies]
    about = [reply.number - 1 if reply.about is None else reply.about for reply in replies]
    left = [
        0 if reply.says is None else T3 * (1 + number) + reply.says
        for reply, number in zip(replies, about, strict=True)
    ]
    return Replies(**columns), Told(np.array(about, np.int64), np.array(left, np.int64))


def lags(replies: Replies) -> list[tuple[int, int, int]]:
    """Session, number, and how late each left by what is known now."""
    return [
        (int(row), int(number), int(t3_ns) - T3 * (1 + int(number)))
        for row, number, t3_ns in zip(replies.rows, replies.reflected, replies.t3_ns, strict=True)
    ]


def test_the_next_reply_tells_when_the_one_before_left() -> None:
    """Within a batch and from one to the next; the latest waits."""
    follow_ups = FollowUps()
    assert lags(follow_ups.exchange(*batch([Reply(5, 0), Reply(5, 1, 700), Reply(2, 0)]))) == [(5, 0, 700)]
    assert lags(follow_ups.exchange(*batch([Reply(2, 1, 40), Reply(5, 2, 800)]))) == [(2, 0, 40), (5, 1, 800)]
    assert (follow_ups.told, follow_ups.untold) == (3, 0)


def test_what_is_not_told_truly_is_not_believed() -> None:
    """Nothing said, of another reply, before the program's own time, or a second after it: T3 stays as it was."""
    told = [Reply(1, 1), Reply(1, 2, 5, about=0), Reply(1, 3, -1), Reply(1, 4, T3 + 1), Reply(1, 5, T3)]
    follow_ups = FollowUps()
    ready = follow_ups.exchange(*batch([Reply(1, 0), *told]))
    assert lags(ready) == [(1, 0, 0), (1, 1, 0), (1, 2, 0), (1, 3, 0), (1, 4, T3)]
    assert (follow_ups.told, follow_ups.untold) == (1, 4)


def test_who_is_given_up_waits_no_longer() -> None:
    """The reply to a probe that would be given up is let go as it is; no other is, and none twice."""
    follow_ups = FollowUps()
    follow_ups.exchange(*batch([Reply(1, 7), Reply(3, 9)]))
    others = Probes(np.array([1, 3, 40]), np.array([6, 8, 1]))
    assert lags(follow_ups.release(others)) == []
    these = Probes(np.array([1, 2]), np.array([7 + (1 << 32), 7]))
    assert lags(follow_ups.release(these)) == [(1, 7, 0)]
    assert lags(follow_ups.release(these)) == []
    assert lags(follow_ups.release()) == [(3, 9, 0)]
    assert lags(follow_ups.release()) == []
    assert (follow_ups.told, follow_ups.untold) == (0, 2)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(-5, 10))), max_size=12),
        max_size=8,
    )
)
def test_every_reply_comes_out_once_and_in_its_order(batches: list[list[tuple[int, int | None]]]) -> None:
    """However replies of many sessions arrive: each comes out once, told of where the next one told truly."""
    follow_ups = FollowUps()
    numbers: dict[int, int] = {}
    expected: dict[int, list[int]] = {}
    found: dict[int, list[tuple[int, int]]] = {}
    for arrived in batches:
        replies = []
        for row, says in arrived:
            number = numbers[row] = numbers.get(row, -1) + 1
            replies.append(Reply(row, number, says))
            if number:
                expected[row][-1] = says if says is not None and says >= 0 else 0
            expected.setdefault(row, []).append(0)
        for row, number, lag in lags(follow_ups.exchange(*batch(replies))):
            found.setdefault(row, []).append((number, lag))
    for row, number, lag in lags(follow_ups.release()):
        found.setdefault(row, []).append((number, lag))
    assert found == {row: list(enumerate(late)) for row, late in expected.items()}
    assert follow_ups.told + follow_ups.untold == sum(map(len, expected.values()))
