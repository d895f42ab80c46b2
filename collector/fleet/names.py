"""What things of the fleet file are called, and how messages list what there is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import Field

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
Tag = Annotated[str, Field(min_length=1, max_length=64)]
"""What several paths or sites have in common, such as `direct-link`."""

_NAMED: Final = 20
"""So many known names are listed where an unknown one stands."""


def listed(names: Iterable[str]) -> str:
    """Known names, of very many the first."""
    known = list(names)
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return ", ".join(known[:_NAMED]) + more
