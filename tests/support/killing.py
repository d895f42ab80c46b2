"""A process that dies between two statements."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import event
from sqlalchemy.engine import Engine


class Killed(Exception):
    """The process is gone."""


@contextlib.contextmanager
def killed_at(moment: int) -> Iterator[None]:
    """Die at this statement or commit, counted from 1, if there are so many; at 0 not at all."""
    left = moment

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    names = ("before_cursor_execute", "commit")
    for name in names:
        event.listen(Engine, name, count)
    try:
        yield
    finally:
        for name in names:
            event.remove(Engine, name, count)
