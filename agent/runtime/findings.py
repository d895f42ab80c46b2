"""Pydantic's findings, told in the words of this house and where they stand in the file.

Pydantic names a place by the way its validators went: tags of unions are in it although the file has no such key, and
so are the inner fields of values that are one word in the file. Walking the types beside the values takes them out.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from agent.runtime.exceptions import DEPENDS_ON_UNREAD
from agent.runtime.wording import Accepts, alternatives, is_secret, quoted, without
from agent.runtime.yaml_lines import Location

_SIMPLE = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class Finding(NamedTuple):
    """What is wrong, and at which key."""

    location: Location
    message: str


class _Slot(NamedTuple):
    """What a place in the file may hold."""

    choices: tuple[Any, ...] = ()
    tag: str | None = None
    """The key that says which of the choices it is."""
    accepts: str | None = None


def findings(errors: Sequence[ErrorDetails], value: Any, model: type[BaseModel]) -> list[Finding]:
    """Translate what is wrong with `value`, the whole file, as a `model`; each thing once."""
    return list(
        dict.fromkeys(
            _finding(details, value, model)
            for details in errors
            if details["type"] != DEPENDS_ON_UNREAD
            # Pydantic counts only the entries it accepted: a list of one bad entry is not too short.
            and (details["type"] != "too_short" or not any(_within(other, details) for other in errors))
        )
    )


def unjudged(errors: Iterable[ErrorDetails], value: Any, model: type[BaseModel]) -> set[Location]:
    """At which keys stand values that cannot be judged, for others that they depend on are wrong."""
    return {
        _finding(details, value, model).location for details in errors if details["type"] == DEPENDS_ON_UNREAD
    }


def _within(inner: ErrorDetails, outer: ErrorDetails) -> bool:
    depth = len(outer["loc"])
    return len(inner["loc"]) > depth and inner["loc"][:depth] == outer["loc"]


def _finding(details: ErrorDetails, value: Any, model: type[BaseModel]) -> Finding:
    location: list[str | int] = []
    holder = slot = _Slot((model,))
    for part in details["loc"]:
        if slot.tag is not None:
            slot = _Slot(tuple(choice for choice in slot.choices if str(part) in _tags(choice, slot.tag)))
            continue
        if len(slot.choices) > 1:  # an untagged union: pydantic names the choice it tried
            named = tuple(choice for choice in slot.choices if getattr(choice, "__name__", None) == part)
            slot = _Slot(named) if named and isinstance(value, Mapping) else slot
            continue
        if not isinstance(value, Mapping | list):  # a part that a validator made of one word
            slot = _Slot()
            break
        if part == "[key]":
            return Finding(
                tuple(location), f"{quoted(location[-1])} is not accepted as a key: {_reason(details, slot)}"
            )
        location.append(part)
        holder, slot = slot, _part_of(slot, part)
        value = _held(value, part)
    if details["type"].startswith("union_tag_") and slot.tag is not None:
        location.append(slot.tag)
    at = tuple(location)
    message = _message(details, slot, holder)
    return Finding(at, without(message, details["input"]) if is_secret(at) else message)


def keys_of(model: type[BaseModel]) -> str:
    """The keys that a model takes, in the order of its fields."""
    return ", ".join(_fields(model))


def _message(details: ErrorDetails, slot: _Slot, holder: _Slot) -> str:
    context = details.get("ctx", {})
    shown = quoted(details["input"])
    match details["type"]:
        case "extra_forbidden":
            return _unknown_key(str(details["loc"][-1]), holder)
        case "missing":
            return f"is missing: {_wanted(slot)}" if _wanted(slot) else "is missing"
        case "union_tag_not_found":
            return f"is missing: {_tags_wanted(slot)}"
        case "union_tag_invalid":
            return f"{quoted(context['tag'])} is not {_tags_wanted(slot)}"
        case "value_error" | "assertion_error":
            return str(context["error"])
        case "string_type" | "path_type" if isinstance(details["input"], int | float):
            return f"{shown} is not text: write it in quotes"
        case "too_short":
            return f"has too few entries: at least {context['min_length']}"
        case "too_long":
            return f"has too many entries: at most {context['max_length']}"
        case kind if kind.endswith(("_type", "_attributes_type", "_parsing")) or kind in (
            "literal_error",
            "enum",
        ):
            wanted = _wanted(slot)
            return (
                f"{shown} is not {wanted}" if wanted else f"{shown} is not accepted: {_reason(details, slot)}"
            )
        case _:
            return f"{shown} is not accepted: {_reason(details, slot)}"


def _reason(details: ErrorDetails, slot: _Slot) -> str:
    """Which bound a value of the right kind does not keep."""
    if slot.accepts is not None:
        return slot.accepts
    context = details.get("ctx", {})
    match details["type"]:
        case "greater_than":
            return f"more than {context['gt']}"
        case "greater_than_equal":
            return f"at least {context['ge']}"
        case "less_than":
            return f"less than {context['lt']}"
        case "less_than_equal":
            return f"at most {context['le']}"
        case "string_too_short":
            return f"at least {_characters(context['min_length'])}"
        case "string_too_long":
            return f"at most {_characters(context['max_length'])}"
        case "string_pattern_mismatch":
            return f"text that matches {context['pattern']}"
        case _:
            text = details["msg"].removeprefix("Input should be ")
            return text[:1].lower() + text[1:]


def _one_of(words: Iterable[Any]) -> str:
    distinct = list(dict.fromkeys(map(str, words)))
    return f"one of {', '.join(distinct)}" if len(distinct) > 1 else "".join(distinct)


def _characters(number: int) -> str:
    return f"{number} character{'' if number == 1 else 's'}"


def _unknown_key(key: str, holder: _Slot) -> str:
    accepted = sorted({name for choice in holder.choices for name in _fields(choice)})
    near = difflib.get_close_matches(key, accepted, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"unknown key{hint}; accepted: {', '.join(accepted)}"


# What types take


def _slot(annotation: Any, tag: str | None = None, accepts: str | None = None) -> _Slot:
    """Take an annotation apart: the choices it leaves, without None and without what only pydantic needs."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = typing.get_args(annotation)
        return _annotated(inner, metadata, tag, accepts)
    if origin in (Union, types.UnionType):
        parts = [
            _slot(part, tag, accepts) for part in typing.get_args(annotation) if part is not types.NoneType
        ]
        return _Slot(
            tuple(choice for part in parts for choice in part.choices),
            next((part.tag for part in parts if part.tag), None),
            next((part.accepts for part in parts if part.accepts), None),
        )
    return _Slot((annotation,), tag, accepts)


def _annotated(annotation: Any, metadata: Sequence[Any], tag: str | None, accepts: str | None) -> _Slot:
    for item in metadata:
        if isinstance(item, Accepts):
            accepts = item.text
        elif isinstance(item, FieldInfo) and isinstance(item.discriminator, str):
            tag = item.discriminator
    return _slot(annotation, tag, accepts)


def _part_of(slot: _Slot, part: str | int) -> _Slot:
    """What the entry `part` of a place may hold."""
    holder = slot.choices[0] if slot.choices else None
    fields = _fields(holder)
    if part in fields:
        info = fields[str(part)]
        tag = info.discriminator if isinstance(info.discriminator, str) else None
        return _annotated(info.annotation, info.metadata, tag, None)
    arguments = typing.get_args(holder)
    origin = typing.get_origin(holder)
    if not arguments or not isinstance(origin, type) or isinstance(holder, types.UnionType):
        return _Slot()
    if issubclass(origin, Mapping):
        return _slot(arguments[-1])
    if origin is tuple and arguments[-1] is not Ellipsis and isinstance(part, int):
        return _slot(arguments[part]) if part < len(arguments) else _Slot()
    return _slot(arguments[0])


def _held(value: Mapping[str, Any] | list[Any], part: str | int) -> Any:
    if isinstance(value, Mapping):
        return value.get(str(part))
    return value[part] if isinstance(part, int) and part < len(value) else None


def _fields(choice: Any) -> dict[str, FieldInfo]:
    """The fields of a model by the keys they have in the file."""
    if not (isinstance(choice, type) and issubclass(choice, BaseModel)):
        return {}
    return {info.alias or name: info for name, info in choice.model_fields.items()}


def _tags(choice: Any, tag: str) -> list[str]:
    """The values of the key `tag` that choose this model."""
    field = _fields(choice).get(tag)
    return [] if field is None else [str(_plain(word)) for word in typing.get_args(field.annotation)]


def _tags_wanted(slot: _Slot) -> str:
    return _one_of(word for choice in slot.choices for word in _tags(choice, slot.tag or ""))


def _plain(word: Any) -> Any:
    return word.value if isinstance(word, Enum) else word


def _wanted(slot: _Slot) -> str:
    """What a place takes, in words; empty where only pydantic knows."""
    if slot.accepts is not None:
        return slot.accepts
    if slot.tag is not None:
        return f"a mapping with the key {slot.tag}: {_tags_wanted(slot)}"
    wanted = [_wanted_choice(choice) for choice in slot.choices]
    return alternatives(dict.fromkeys(wanted)) if wanted and all(wanted) else ""


def _wanted_choice(choice: Any) -> str:
    origin = typing.get_origin(choice) or choice
    if origin is Literal:
        return _one_of(_plain(word) for word in typing.get_args(choice))
    if not isinstance(origin, type):
        return ""
    if issubclass(origin, Enum):
        return _one_of(member.value for member in origin)
    if issubclass(origin, BaseModel):
        return f"a mapping with the keys {keys_of(origin)}"
    if issubclass(origin, Mapping):
        return "a mapping"
    if issubclass(origin, PurePath):
        return "the path of a file"
    if issubclass(origin, list | tuple | frozenset | set):
        return "a list"
    return _SIMPLE.get(origin, "")
