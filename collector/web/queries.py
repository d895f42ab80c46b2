"""Query parameters: what is accepted is named when something else is given."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from multidict import MultiMapping

ANYTHING: Collection[str] = ()


class BadQueryError(ValueError):
    """A query parameter is not what the resource accepts; the text is for the caller."""


def whole_number(name: str, values: Collection[str], least: int = 1) -> int | None:
    """The number that was asked for; None where none was.

    Raises:
        BadQueryError: something else than one number, `least` or more.
    """
    if not values:
        return None
    text = next(iter(values))
    if len(values) > 1 or not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= least):
        raise BadQueryError(f"{name}: one whole number above {least - 1} is needed")
    return int(text)


def selection(query: MultiMapping[str], accepted: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]]:
    """The values that were asked for, by parameter; a parameter that is repeated means any of its values.

    Args:
        query: as it came.
        accepted: the values of each parameter; `ANYTHING`: all are.

    Raises:
        BadQueryError: an unknown parameter or value.
    """
    for name in query:
        if name not in accepted:
            raise BadQueryError(f'unknown parameter "{name[:60]}"; accepted: {", ".join(accepted) or "none"}')
    wanted = {name: frozenset(query.getall(name)) for name in query}
    for name, values in wanted.items():
        choices = accepted[name]
        unknown = sorted(values - set(choices)) if choices else []
        if unknown:
            raise BadQueryError(f'{name}: "{unknown[0][:60]}" is not one of {", ".join(choices)}')
    return wanted
