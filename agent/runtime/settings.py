"""Configuration files: YAML into frozen models, or every problem at once with file, line and key path."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from agent.runtime.exceptions import ConfigError, Problem
from agent.runtime.yaml_lines import Document, Location, read

_SECRET_WORDS = ("secret", "password", "token", "key")
_MAX_FILE_OCTETS = 64 << 20


class Settings(BaseModel):
    """The base of every configuration model: unknown keys are refused, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
        if path.stat().st_size > _MAX_FILE_OCTETS:
            raise ConfigError([Problem(str(path), 0, "", "larger than 64 MiB: not a configuration file")])
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), 0, "", f"not UTF-8 at octet {error.start}")]) from error
    return parse(text, model, str(path))


def parse(text: str, model: type[Model], name: str) -> Model:
    """Read configuration text; `name` stands for the file in messages.

    Raises:
        ConfigError: with all problems found, each with its line.
    """
    document = read(text)
    problems = [Problem(name, line, key_path(at), message) for at, line, message in document.problems]
    if document.value is None:
        raise ConfigError(problems or [Problem(name, 1, "", "the file is empty")])
    if not isinstance(document.value, dict):
        problems.append(Problem(name, 1, "", f"a mapping of keys is needed: {_keys(model)}"))
        raise ConfigError(problems)
    try:
        settings = model.model_validate(document.value)
    except ValidationError as error:
        problems += [_problem(details, document, model, name) for details in error.errors(include_url=False)]
        raise ConfigError(problems) from None
    problems += [
        Problem(name, document.line_of(at), key_path(at), message) for at, message in settings.problems()
    ]
    if problems:
        raise ConfigError(problems)
    return settings


def key_path(location: Sequence[str | int]) -> str:
    """A location as it is written: `paths[1].interval`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _problem(details: ErrorDetails, document: Document, model: type[BaseModel], name: str) -> Problem:
    """One of pydantic's findings in the words of this house."""
    location, owner = _in_file(details["loc"], document.value, model)
    return Problem(name, document.line_of(location), key_path(location), _message(details, location, owner))


def _message(details: ErrorDetails, location: Location, owner: type[BaseModel] | None) -> str:
    kind = details["type"]
    context = details.get("ctx", {})
    given = details.get("input")
    if any(word in str(part).lower() for part in location for word in _SECRET_WORDS):
        shown = "the value"
    elif isinstance(given, dict | list):
        shown = "a mapping" if isinstance(given, dict) else "a list"
    else:
        shown = f'"{str(given)[:60]}"' if given is not None else "nothing"
    match kind:
        case "extra_forbidden":
            return _unknown_key(str(location[-1]), owner)
        case "missing":
            return "is missing"
        case "value_error":
            return str(context["error"])
        case "literal_error" | "enum":
            return f"{shown} is not one of {context['expected']}"
        case "union_tag_invalid":
            return f'"{context["tag"]}" is not one of {context["expected_tags"]}'
        case "union_tag_not_found":
            return f"the key {context['discriminator']} is missing: it says which kind this is"
        case "model_type" | "model_attributes_type" | "dict_type":
            keys = f": {_keys(owner)}" if owner is not None else ""
            return f"{shown} is no mapping of keys{keys}"
        case "tuple_type" | "list_type":
            return f"{shown} is no list"
        case _:
            text = details["msg"]
            return f"{shown}: {text[0].lower()}{text[1:]}"


def _unknown_key(key: str, owner: type[BaseModel] | None) -> str:
    accepted = sorted(owner.model_fields) if owner is not None else []
    near = difflib.get_close_matches(key, accepted, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"unknown key{hint}; accepted: {', '.join(accepted)}"


def _keys(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields)


def _in_file(
    path: tuple[str | int, ...], value: Any, model: type[BaseModel]
) -> tuple[Location, type[BaseModel] | None]:
    """The location as it stands in the file, and the model that the last key belongs to.

    Pydantic puts the tags of discriminated unions into its locations; the file has no such key.
    """
    location: list[str | int] = []
    owner: Any = model
    final: type[BaseModel] | None = model
    for number, part in enumerate(path):
        present = (isinstance(value, Mapping) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        )
        models = _models(owner)
        final = models[0] if models else None
        tagged = [candidate for candidate in models if _has_tag(candidate, str(part))]
        last = number == len(path) - 1
        if not present and tagged:
            owner = tagged[0]
            final = owner
            continue
        if not present and not last:
            continue
        location.append(part)
        if isinstance(part, int):
            owner = typing.get_args(owner) or owner
        elif final is not None and part in final.model_fields:
            owner = final.model_fields[part].annotation
        if present:
            value = value[part]
        if last and path and models == [] and isinstance(part, str):
            final = None
    leaf = _models(owner)
    return tuple(location), (final if not leaf else leaf[0] if _is_shape_error(value) else final)


def _is_shape_error(value: Any) -> bool:
    return not isinstance(value, Mapping)


def _has_tag(model: type[BaseModel], tag: str) -> bool:
    return any(
        tag in map(str, typing.get_args(field.annotation))
        for field in model.model_fields.values()
        if typing.get_origin(field.annotation) is typing.Literal
    )


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models among the alternatives of an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, tuple):
        return [found for part in annotation for found in _models(part)]
    if typing.get_origin(annotation) in (typing.Annotated, typing.Union, types.UnionType, tuple, list):
        return [found for part in typing.get_args(annotation) for found in _models(part)]
    return []
