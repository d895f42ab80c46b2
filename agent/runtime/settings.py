"""Configuration files: YAML into frozen models, or every problem at once with file, line and key path.

Where values could not be read, all else is checked nevertheless (`agent.runtime.partial`): nobody mends a file one
mistake at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.runtime.exceptions import ConfigError, Problem, UnreadError
from agent.runtime.findings import Finding, findings, keys_of, unjudged
from agent.runtime.partial import partial
from agent.runtime.wording import key_path
from agent.runtime.yaml_lines import Document, Location, read

_MAX_FILE_OCTETS: Final = 24 << 20
"""Room for the greatest agent's file: 65,535 paths as the collector prints them take 17 MB."""

_MAX_WORDED: Final = 1000
"""So many mistakes of a kind are put into words; more are counted."""


_NAMES: Final[dict[frozenset[str], set[str]]] = {}


class Settings(BaseModel):
    """The base of every configuration model: unknown keys are refused, values never change.

    Files are read strictly, nothing is converted silently: a field's own `BeforeValidator` gives what the field holds
    (a tuple and no list, an instance and no dict).
    """

    # Validators are built when first used: most models are only parts of others, which have theirs in their own.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def model_post_init(self, context: Any, /) -> None:
        """Share the names of what was written down with all who have the same: a set of ten takes 700 octets."""
        names = self.__pydantic_fields_set__
        object.__setattr__(self, "__pydantic_fields_set__", _NAMES.setdefault(frozenset(names), names))

    def problems(self) -> Iterator[tuple[Location, str]]:
        """What is wrong although every value by itself is right: (key path, message).

        It is also asked of settings of which only a part could be read, and ends where it needs what could not. What
        is to be said nevertheless goes through `as_far_as_read`.
        """
        return iter(())

    def problems_beside(self, folder: Path) -> Iterator[tuple[Location, str]]:
        """What is wrong with the files that the configuration names, relative to its own folder.

        Like `problems`, it is also asked of a part.
        """
        return iter(())

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Only asked for what is not there: a field that could not be read."""
            if name in type(self).model_fields:
                raise UnreadError(name)
            return super().__getattr__(name)


Model = TypeVar("Model", bound=Settings)


def as_far_as_read(problems: Iterable[tuple[Location, str]]) -> Iterator[tuple[Location, str]]:
    """Problems up to where a value is needed that could not be read."""
    try:
        yield from problems
    except UnreadError:
        return


def load(path: Path, model: type[Model], *, files: bool = True) -> Model:
    """Read a configuration file.

    Args:
        path: the file.
        model: what it must be.
        files: whether the files that it names are looked at; they may be elsewhere, or not for everybody's eyes.

    Raises:
        ConfigError: with all problems found, each with its line.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(_MAX_FILE_OCTETS + 1)
        if len(octets) > _MAX_FILE_OCTETS:
            most = f"{_MAX_FILE_OCTETS >> 20} MiB"
            raise ConfigError([Problem(str(path), 0, "", f"larger than {most}: not a configuration file")])
        text = octets.decode()
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [Problem(str(path), line, "", f"not UTF-8: octet 0x{octets[error.start]:02x}")]
        ) from error
    return parse(text, model, str(path), path.parent if files else None)


def parse(text: str, model: type[Model], name: str, folder: Path | None = None) -> Model:
    """Read configuration text; `name` stands for the file in messages.

    Args:
        text: YAML.
        model: what it must be.
        name: of the file.
        folder: of the files it names; None: they are not looked at.

    Raises:
        ConfigError: with all problems found, each with its line.
    """
    document = read(text)
    found = [Problem(name, line, key_path(at), message) for at, line, message in document.problems]
    if document.value is None:
        raise ConfigError(found)
    settings, mistakes, more = _validated(document, model, folder)
    # What could not be read has been complained of; that nothing stands in its place is no second mistake.
    found += [
        Problem(name, document.line_of(at), key_path(at), message)
        for at, message in mistakes
        if document.was_read(at)
    ]
    if found:
        raise ConfigError(found, more)
    return settings


def _validated(
    document: Document, model: type[Model], folder: Path | None
) -> tuple[Model, list[Finding], int]:
    """The settings as far as they can be read, what is wrong with them, and how much more is."""
    settings, mistakes, more = _read(document, model)
    beside = settings.problems_beside(folder) if folder is not None else iter(())
    for told in (as_far_as_read(settings.problems()), as_far_as_read(beside)):
        mistakes += [Finding(tuple(at), message) for at, message in islice(told, _MAX_WORDED)]
        more += sum(1 for _ in told)
    return settings, mistakes, more


def _read(document: Document, model: type[Model]) -> tuple[Model, list[Finding], int]:
    value = document.value
    mistakes: list[Finding] = []
    unread = set(document.unread)
    more = 0
    if not isinstance(value, dict):
        mistakes.append(Finding((), f"a mapping with the keys {keys_of(model)} is needed"))
    else:
        try:
            # By way of JSON, for there strict means what it says: a list may become a tuple and a word an enum, but
            # `true` is no number, "10" is no integer and `yes` is no boolean.
            settings = model.model_validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            mistakes = findings(errors[:_MAX_WORDED], value, model)
            unread |= unjudged(errors, value, model)
            more = max(0, len(errors) - _MAX_WORDED)
        else:
            if not unread:
                return settings, [], 0
    if more:  # where the other mistakes are has not been found out, so nobody can tell what is right
        return partial(model, None, ()), mistakes, more
    return partial(model, value, {*unread, *(finding.location for finding in mistakes)}), mistakes, 0
