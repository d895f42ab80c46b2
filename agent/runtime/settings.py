"""Configuration files: YAML into frozen models, or every problem at once with file, line and key path."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.runtime.exceptions import ConfigError, Problem
from agent.runtime.findings import Finding, findings, keys_of
from agent.runtime.wording import key_path
from agent.runtime.yaml_lines import Location, read

_MAX_FILE_OCTETS: Final = 16 << 20
_MAX_PROBLEMS: Final = 100


class Settings(BaseModel):
    """The base of every configuration model: unknown keys are refused, values never change.

    Files are read strictly, nothing is converted silently: a field's own `BeforeValidator` gives what the field holds
    (a tuple and no list, an instance and no dict).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def problems(self) -> Iterator[tuple[Location, str]]:
        """What is wrong although every value by itself is right: (key path, message)."""
        return iter(())

    def problems_beside(self, folder: Path) -> Iterator[tuple[Location, str]]:
        """What is wrong with the files that the configuration names, relative to its own folder."""
        return iter(())


Model = TypeVar("Model", bound=Settings)


def load(path: Path, model: type[Model]) -> Model:
    """Read a configuration file.

    Raises:
        ConfigError: with all problems found, each with its line.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(_MAX_FILE_OCTETS + 1)
        if len(octets) > _MAX_FILE_OCTETS:
            raise ConfigError([Problem(str(path), 0, "", "larger than 16 MiB: not a configuration file")])
        text = octets.decode()
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [Problem(str(path), line, "", f"not UTF-8: octet 0x{octets[error.start]:02x}")]
        ) from error
    return parse(text, model, str(path), path.parent)


def parse(text: str, model: type[Model], name: str, folder: Path | None = None) -> Model:
    """Read configuration text; `name` stands for the file in messages.

    Args:
        text: YAML.
        model: what it must be.
        name: of the file.
        folder: of the files it names; None: they are not looked at.

    Raises:
        ConfigError: with all problems found, up to a hundred, each with its line.
    """
    document = read(text)
    found = [Problem(name, line, key_path(at), message) for at, line, message in document.problems]
    if document.value is None:
        raise ConfigError(found)
    settings, mistakes = _validated(document.value, model, folder)
    # What could not be read has been complained of; that nothing stands in its place is no second mistake.
    found += [
        Problem(name, document.line_of(at), key_path(at), message)
        for at, message in mistakes
        if document.was_read(at)
    ]
    if settings is None or found:
        raise ConfigError(_first(found, name))
    return settings


def _first(found: list[Problem], name: str) -> list[Problem]:
    """The first of very many problems, and how many more there are."""
    found = sorted(found, key=lambda problem: problem.line)
    if len(found) <= _MAX_PROBLEMS:
        return found
    last = found[_MAX_PROBLEMS - 1].line
    more = f"{len(found) - _MAX_PROBLEMS} more problems"
    return [*found[:_MAX_PROBLEMS], Problem(name, last, "", more)]


def _validated(value: object, model: type[Model], folder: Path | None) -> tuple[Model | None, list[Finding]]:
    if not isinstance(value, dict):
        return None, [Finding((), f"a mapping with the keys {keys_of(model)} is needed")]
    try:
        settings = _strictly(value, model)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        found = findings(errors[:_MAX_PROBLEMS], value, model)
        found += [
            Finding((), f"{len(errors) - _MAX_PROBLEMS} more problems") for _ in errors[_MAX_PROBLEMS:][:1]
        ]
        unknown = {tuple(each["loc"]) for each in errors if each["type"] == "extra_forbidden"}
        wrong = [finding.location for finding in found]
        return None, found + _others(value, model, folder, wrong, unknown)
    return settings, _problems(settings, folder)


def _problems(settings: Settings, folder: Path | None) -> list[Finding]:
    found = [Finding(tuple(at), message) for at, message in settings.problems()]
    if folder is not None:
        found += [Finding(tuple(at), message) for at, message in settings.problems_beside(folder)]
    return found


def _strictly(value: dict[str, Any], model: type[Model]) -> Model:
    # By way of JSON, for there strict means what it says: a list may become a tuple and a word an enum, but
    # `true` is no number, "10" is no integer and `yes` is no boolean.
    return model.model_validate_json(json.dumps(value), strict=True)


def _others(
    value: dict[str, Any],
    model: type[Model],
    folder: Path | None,
    wrong: list[Location],
    unknown: set[tuple[str | int, ...]],
) -> list[Finding]:
    """What else is wrong with a file whose values are not all right: found with those left out that can be.

    A value that was left out may be missed by others; what is said of it or of what holds it is no second mistake.
    Nobody misses an unknown key.
    """
    pruned = copy.deepcopy(value)
    for location in wrong:
        _leave_out(pruned, location)
    try:
        settings = _strictly(pruned, model)
    except ValidationError:
        return []
    return [
        finding
        for finding in _problems(settings, folder)
        if not any(
            location[: len(finding.location)] == finding.location
            for location in wrong
            if location not in unknown
        )
    ]


def _leave_out(value: Any, location: Location) -> None:
    for part in location[:-1]:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return
    if location and isinstance(value, dict):
        value.pop(location[-1], None)
