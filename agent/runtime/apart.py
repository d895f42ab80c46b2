"""Threads for what blocks (a lookup of a name, a file system that has gone) that nobody waits for at the end.

An executor's would be waited for, however long the resolver's own timeouts are, and what hangs in it keeps others from
their turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def apart(function: Callable[..., T], *arguments: Any) -> T:
    """What a function that blocks gives; it runs in a thread of its own that nobody waits for at the end.

    Raises:
        Exception: what the function raises.
        BlockingIOError: there may be no more threads.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = function(*arguments)
        except Exception as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: it was given up
            loop.call_soon_threadsafe(settle, result, error)

    try:
        threading.Thread(target=run, name="apart", daemon=True).start()
    except RuntimeError as error:
        raise BlockingIOError(errno.EAGAIN, str(error)) from error
    return await future
