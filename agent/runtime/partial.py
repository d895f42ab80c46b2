"""As much of a settings model as a file with mistakes gives, so that what remains can be checked all the same.

A field that could not be read is left unset, whatever default it has: whoever touches it gets `UnreadError`. So a check
that needs it ends, and says nothing that only follows from the first mistake.
"""

from __future__ import annotations

import contextlib
import functools
import json
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Final, TypeVar, Union

from pydantic import BaseModel, ValidationError, create_model

from agent.runtime.exceptions import UnreadError
from agent.runtime.yaml_lines import Location

Model = TypeVar("Model", bound=BaseModel)

_VARIANTS: Final = 1024
"""Models with some fields left out that are kept, for the next place with the same mistakes."""


class _Mistakes:
    """At which key paths something is wrong, asked for by what contains them."""

    def __init__(self, locations: Collection[Location]) -> None:
        self._here = set(locations)
        self._within = {at[:length] for at in locations for length in range(len(at))}

    def at(self, location: Location) -> bool:
        """Whether something is wrong with this itself."""
        return location in self._here

    def within(self, location: Location) -> bool:
        """Whether something is wrong with this, or with something in it."""
        return location in self._here or location in self._within


def partial(model: type[Model], value: object, mistakes: Collection[Location]) -> Model:
    """What of `value` can be read as a `model`.

    Args:
        model: of the whole file.
        value: the whole file.
        mistakes: the key paths at which something is wrong.
    """
    return _model(model, value, (), _Mistakes(mistakes))


def _model(model: type[Model], value: object, at: Location, mistakes: _Mistakes) -> Model:
    entries = value if isinstance(value, Mapping) else {}
    keys = {name: info.alias or name for name, info in model.model_fields.items()}
    given = [name for name, key in keys.items() if key in entries]
    read = _right(model, keys, entries, (name for name in given if not mistakes.within((*at, keys[name]))))
    for name in given:
        here = (*at, keys[name])
        if name not in read and not mistakes.at(here) and mistakes.within(here):
            with contextlib.suppress(UnreadError):
                read[name] = _parts(model.model_fields[name].annotation, entries[keys[name]], here, mistakes)
    made = model.model_construct(**{keys[name]: one for name, one in read.items()})
    for name, info in model.model_fields.items():
        if name not in read and (name in given or entries is not value or info.is_required()):
            made.__dict__.pop(name, None)
    return made


def _right(
    model: type[BaseModel], keys: Mapping[str, str], entries: Mapping[str, Any], names: Iterable[str]
) -> dict[str, Any]:
    """The fields with whose values nothing is wrong, but for those that depend on others with which something is."""
    chosen = set(names)
    while chosen:
        unread = frozenset(
            name
            for name, info in model.model_fields.items()
            if name not in chosen and (keys[name] in entries or info.is_required())
        )
        text = json.dumps({keys[name]: entries[keys[name]] for name in chosen})
        try:
            made = _without(model, unread).model_validate_json(text, strict=True)
        except ValidationError as error:
            wrong = {each["loc"][0] for each in error.errors(include_url=False) if each["loc"]}
            fewer = {name for name in chosen if keys[name] not in wrong}
            chosen = fewer if fewer < chosen else set()  # it is the model as a whole that is wrong
        else:
            return {name: getattr(made, name) for name in chosen}
    return {}


@functools.lru_cache(maxsize=_VARIANTS)
def _without(model: type[BaseModel], names: frozenset[str]) -> type[BaseModel]:
    """The model with these fields None, whatever else they would have to be."""
    unread: dict[str, Any] = dict.fromkeys(names, (Any, None))
    return create_model(model.__name__, __base__=model, **unread)


def _parts(annotation: Any, value: Any, at: Location, mistakes: _Mistakes) -> Any:
    """A model, or a list or mapping of models, of which only parts can be read."""
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (Union, types.UnionType):
        (annotation, *others) = [one for one in typing.get_args(annotation) if one is not types.NoneType]
        if others:
            raise UnreadError(str(at[-1]))
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _model(annotation, value, at, mistakes)
    if origin is tuple and isinstance(value, list) and _is_model(arguments[0]):
        return tuple(_model(arguments[0], one, (*at, index), mistakes) for index, one in enumerate(value))
    if origin is dict and isinstance(value, dict) and _is_model(arguments[1]):
        if any(mistakes.at((*at, key)) and isinstance(one, Mapping) for key, one in value.items()):
            raise UnreadError(str(at[-1]))  # it is the key that is wrong, so nobody knows what the keys are
        return {key: _model(arguments[1], one, (*at, key), mistakes) for key, one in value.items()}
    raise UnreadError(str(at[-1]))


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
