"""Configuration files: YAML into frozen models, or every problem at once with file, line and key path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.runtime.exceptions import ConfigError, Problem
from agent.runtime.findings import Finding, findings, keys_of
from agent.runtime.wording import key_path
from agent.runtime.yaml_lines import Location, read

_MAX_FILE_OCTETS: Final = 64 << 20


class Settings(BaseModel):
    """The base of every configuration model: unknown keys are refused, values never change.

    Files are read strictly, nothing is converted silently: a field's own `BeforeValidator` gives what the field holds
    (a tuple and no list, an instance and no dict).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def problems(self) -> Iterator[tuple[Location, str]]:
        """What is wrong although every value by itself is right: (key path, message)."""
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
            raise ConfigError([Problem(str(path), 0, "", "larger than 64 MiB: not a configuration file")])
        text = octets.decode()
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [Problem(str(path), line, "", f"not UTF-8: octet 0x{octets[error.start]:02x}")]
        ) from error
    return parse(text, model, str(path))


def parse(text: str, model: type[Model], name: str) -> Model:
    """Read configuration text; `name` stands for the file in messages.

    Raises:
        ConfigError: with all problems found, each with its line.
    """
    document = read(text)
    found = [Problem(name, line, key_path(at), message) for at, line, message in document.problems]
    if document.value is None:
        raise ConfigError(found)
    settings, mistakes = _validated(document.value, model)
    # What could not be read has been complained of; that nothing stands in its place is no second mistake.
    found += [
        Problem(name, document.line_of(at), key_path(at), message)
        for at, message in mistakes
        if document.was_read(at)
    ]
    if settings is None or found:
        raise ConfigError(found)
    return settings


def _validated(value: object, model: type[Model]) -> tuple[Model | None, list[Finding]]:
    if not isinstance(value, dict):
        return None, [Finding((), f"a mapping with the keys {keys_of(model)} is needed")]
    try:
        # By way of JSON, for there strict means what it says: a list may become a tuple and a word an enum, but
        # `true` is no number, "10" is no integer and `yes` is no boolean.
        settings = model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        return None, findings(error.errors(include_url=False), value, model)
    return settings, [Finding(tuple(at), message) for at, message in settings.problems()]
