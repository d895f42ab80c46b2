"""Looking at many things at once, none of them for longer than all of it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from agent.core.names import Name
from agent.runtime.doctor.diagnosis import Check, Diagnosis

T = TypeVar("T")
Key = TypeVar("Key")

TOTAL_S: Final = 25.0
"""How long all of it may take: shorter than what a person waits for, and than a unit's TimeoutStartSec."""

_WIND_UP_S: Final = 2.0

UNFINISHED: Final = Check(
    "doctor.unfinished",
    Name("没有查完的项目既不能算正常，也不能算有问题。", "What was not found out is neither well nor ill."),
)

Step = Coroutine[Any, Any, Sequence[Diagnosis]]


async def examine(steps: Mapping[str, Step], total_s: float = TOTAL_S) -> list[Diagnosis]:
    """Take all steps at once.

    Args:
        steps: by what they look at.
        total_s: what is not finished then is given up, and said to be.

    Returns:
        Their diagnoses, in the order of the steps.
    """
    tasks = {name: asyncio.create_task(step, name=name) for name, step in steps.items()}
    await asyncio.wait(tasks.values(), timeout=total_s)
    for task in tasks.values():
        task.cancel()
    await asyncio.wait(tasks.values(), timeout=_WIND_UP_S)
    found: list[Diagnosis] = []
    for name, task in tasks.items():
        if not task.done() or task.cancelled():
            found.append(_unfinished(name, total_s))
        elif isinstance(task.exception(), OSError):
            found.append(_failed(name, task.exception()))
        else:
            found += task.result()
    return found


def _failed(name: str, error: BaseException | None) -> Diagnosis:
    """What the system refused that no judgement reckons with; other exceptions are faults of ours."""
    return UNFINISHED.warning(
        Name(f"系统拒绝：{error}", f"the system refused: {error}"),
        Name("以 root 或服务的用户再运行一次。", "Run it again as root, or as the service's user."),
        subject=name,
    )


def _unfinished(name: str, total_s: float) -> Diagnosis:
    return UNFINISHED.warning(
        Name(f"{total_s:g} 秒内没有查完", f"not found out within {total_s:g} s"),
        Name(
            "再运行一次；若仍如此，看看域名解析、网络文件系统或被查的服务是否没有响应。",
            "Run it again; if it stays so, see whether the resolver, a network file system or the service that was "
            "asked hangs.",
        ),
        subject=name,
        numbers={"total_seconds": total_s},
    )


class Shared:
    """What several steps need, found out once, by the first of them that asks."""

    def __init__(self) -> None:
        self._found: dict[str, asyncio.Future[Any]] = {}

    async def once(self, name: str, find: Callable[[], Awaitable[T]]) -> T:
        """What `find` gives; a step that is given up takes it from nobody else."""
        if name not in self._found:
            self._found[name] = asyncio.ensure_future(find())
        found: T = await asyncio.shield(self._found[name])
        return found

    async def close(self) -> None:
        """Give up what is still being found out, and wait a moment for it to tidy up."""
        unfinished = [one for one in self._found.values() if not one.done()]
        for one in unfinished:
            one.cancel()
        if unfinished:
            await asyncio.wait(unfinished, timeout=_WIND_UP_S)


async def each(
    keys: Iterable[Key], ask: Callable[[Key], Coroutine[Any, Any, T]], at_once: int
) -> dict[Key, T]:
    """Ask something of every key, of so many at once; in the order of the keys."""
    places = asyncio.Semaphore(at_once)

    async def asked(key: Key) -> T:
        async with places:
            return await ask(key)

    distinct = list(dict.fromkeys(keys))
    return dict(zip(distinct, await asyncio.gather(*map(asked, distinct)), strict=True))
