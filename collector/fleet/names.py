"""What things of the fleet file are called, and how messages list what there is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Protocol

from pydantic import Field

from agent.runtime.exceptions import UnreadError
from agent.runtime.label_text import NameText
from agent.runtime.settings import Settings
from agent.runtime.yaml_lines import Location

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


class NameSettings(Settings):
    """What people call a thing."""

    zh: NameText
    en: NameText


_NAMED: Final = 20
"""So many known names are listed where an unknown one stands."""


def listed(names: Iterable[str]) -> str:
    """Known names, of very many the first."""
    known = list(names)
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return ", ".join(known[:_NAMED]) + more


class Identified(Protocol):
    """What has an id."""

    @property
    def id(self) -> str:
        """Its name in the file."""


def same_twice(name: str, items: Iterable[Identified]) -> Iterator[tuple[Location, str]]:
    """Ids that stand twice in a list of the fleet file; `name` is the list's key."""
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        with contextlib.suppress(UnreadError):
            if first.setdefault(item.id, index) != index:
                yield (name, index, "id"), f"{item.id} is already {name}[{first[item.id]}]"
