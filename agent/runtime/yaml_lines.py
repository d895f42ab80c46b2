"""YAML with line numbers, without the surprises of YAML 1.1.

Only `true`, `false`, `null`, decimal integers and decimal fractions (also `1.5e-07`, as YAML writers write them) are
typed; `on`, `no`, `10:30`, `0777` and `1e3` stay the text they are. Duplicate keys are refused at any depth, and so are
merge keys (<<) and tags (!!str). Aliases share what they stand for; how much they may stand for in all is bounded, so
that a small file cannot mean a huge one. So is how many keys one mapping may have, far above what any file needs: each
could be a mistake of its own.

Built from the parser's events, for they alone tell a tag that was written from one that was guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from agent.runtime.wording import one_line, quoted

Location = tuple[str | int, ...]

_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})\Z")
_FRACTION: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})\.[0-9]{1,30}(e[-+][0-9]{1,2})?\Z")
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None, "~": None, "": None}
_UNPRINTABLE: Final = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML 1.1 (5.1) keeps out of files; an escape in double quotes can still mean it."""
_LINE_END: Final = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_MAX_DEPTH: Final = 32
_MAX_ALIASED: Final = 100_000
_MAX_KEYS: Final = 10_000

# libyaml is ten times as fast; the same grammar in Python serves where PyYAML was built without it.
_Loader: Final[Any] = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


@dataclass(slots=True)
class Place:
    """Where a value stands: its line, counted from 1, and the places of what it holds."""

    line: int
    parts: dict[str, Place] | list[Place] | None = None


@dataclass(slots=True)
class Document:
    """A YAML file as plain values, with the line of each.

    Attributes:
        value: dicts, lists, strings, integers, floats, booleans and None.
        place: where `value` stands.
        problems: (location, line, message) of what YAML itself has to complain of.
        unread: locations whose value could not be read; None stands in their place.
    """

    value: Any = None
    place: Place | None = None
    problems: list[tuple[Location, int, str]] = field(default_factory=list)
    unread: set[Location] = field(default_factory=set)

    def line_of(self, location: Location) -> int:
        """The line of the most specific part of a key path that stands in the file."""
        place = self.place
        line = 1 if place is None else place.line
        for part in location:
            match place:
                case Place(parts=dict(entries)) if part in entries:
                    place = entries[str(part)]
                case Place(parts=list(items)) if isinstance(part, int) and 0 <= part < len(items):
                    place = items[part]
                case _:
                    break
            line = place.line
        return line

    def was_read(self, location: Location) -> bool:
        """Whether the value at a key path, and all it stands in, could be read."""
        return not any(location[:length] in self.unread for length in range(len(location) + 1))


def read(text: str) -> Document:
    """Read one YAML document; never raises on bad text, the problems tell."""
    document = Document()
    strange = _UNPRINTABLE.search(text)
    if strange is not None:
        line = len(_LINE_END.findall(text, 0, strange.start())) + 1
        document.problems.append(
            ((), line, f"not YAML: the character {_code_point(strange[0])} cannot stand in a text file")
        )
        return document
    try:
        _Composer(text, document).compose()
    except _Unreadable as error:
        document.value = None
        document.problems.append((error.location, error.line, error.message))
    except (yaml.YAMLError, ValueError) as error:  # PyYAML lets int() and chr() judge some escapes
        document.value = None
        document.problems.append(((), *_syntax_error(error, text)))
    return document


class _Unreadable(Exception):
    """What follows cannot be read, or must not be."""

    def __init__(self, location: Location, line: int, message: str) -> None:
        self.location = location
        self.line = line
        self.message = message


@dataclass(slots=True)
class _Node:
    """A value, where it stands, and how many values it is in all."""

    value: Any
    place: Place
    size: int = 1


class _Composer:
    """Builds a document from the parser's events."""

    def __init__(self, text: str, document: Document) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
        self._document = document
        self._anchors: dict[str, _Node | None] = {}
        """None: the anchored value is still being read."""
        self._aliased = 0

    def compose(self) -> None:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if self._document.place is not None:
                    raise _Unreadable((), _line(event), "a second document (---) begins: one is accepted")
                root = self._node(next(self._events), ())
                self._document.value = root.value
                self._document.place = root.place
        if self._document.value is None and not self._document.problems:
            raise _Unreadable((), 1, "the file is empty")

    def _node(self, event: Any, location: Location) -> _Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, location)
        if event.tag not in (None, "!"):
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._complain(
                location,
                event,
                f"the tag {quoted(tag)} is not accepted: write text in quotes, all else plain",
            )
            self._document.unread.add(location)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node = _Node(None, Place(_line(event)))
        if isinstance(event, yaml.ScalarEvent):
            node.value = self._scalar(event, location)
        elif len(location) >= _MAX_DEPTH:
            raise _Unreadable(location, _line(event), f"nested more than {_MAX_DEPTH} deep")
        elif isinstance(event, yaml.SequenceStartEvent):
            self._sequence(node, location)
        else:
            self._mapping(node, location)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _sequence(self, node: _Node, location: Location) -> None:
        items: list[Any] = []
        places: list[Place] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            item = self._node(event, (*location, len(items)))
            items.append(item.value)
            places.append(Place(_line(event), item.place.parts))
            node.size += item.size
        node.value = items
        node.place.parts = places

    def _mapping(self, node: _Node, location: Location) -> None:
        entries: dict[str, Any] = {}
        places: dict[str, Place] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._key(event, location)
            at = (*location, "?" if key is None else key)
            entry = self._node(next(self._events), at)
            node.size += entry.size
            if key is None:
                continue
            if key in entries:
                self._complain(at, event, f"the key stands twice, first in line {places[key].line}")
                continue
            if len(entries) == _MAX_KEYS:
                raise _Unreadable(location, _line(event), f"a mapping of more than {_MAX_KEYS} keys")
            entries[key] = entry.value
            places[key] = Place(_line(event), entry.place.parts)
        node.value = entries
        node.place.parts = places

    def _key(self, event: Any, location: Location) -> str | None:
        """The text of a key; None where it is no key of ours, and its value is to be passed over."""
        if not isinstance(event, yaml.ScalarEvent):
            self._complain(location, event, "a key must be a word, not a list, a mapping or an alias")
            self._node(event, (*location, "?"))
            return None
        if event.value == "<<" and not event.style:
            self._complain(location, event, "merge keys (<<) are not accepted: write the keys out")
            return None
        key = str(event.value)
        self._node(event, (*location, key))  # for what may be wrong with it
        return key

    def _alias(self, event: yaml.AliasEvent, location: Location) -> _Node:
        name = str(event.anchor)
        node = self._anchors.get(name)
        if node is None:
            problem = (
                "stands for what it is part of"
                if name in self._anchors
                else f"stands for nothing: no &{name} before it"
            )
            self._complain(location, event, f"the alias *{one_line(name)} {problem}")
            self._document.unread.add(location)
            return _Node(None, Place(_line(event)))
        self._aliased += node.size
        if self._aliased > _MAX_ALIASED:
            raise _Unreadable(
                location, _line(event), f"the aliases stand for more than {_MAX_ALIASED} values"
            )
        return node

    def _scalar(self, event: yaml.ScalarEvent, location: Location) -> Any:
        text = str(event.value)
        strange = _UNPRINTABLE.search(text)
        if strange is not None:
            self._complain(location, event, f"the text holds the control character {_code_point(strange[0])}")
        if event.style:  # quoted, or a block; libyaml calls plain text '', PyYAML None
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.match(text):
            return int(text)
        if _FRACTION.match(text):
            return float(text)
        return text

    def _complain(self, location: Location, event: Any, message: str) -> None:
        self._document.problems.append((location, _line(event), message))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _code_point(char: str) -> str:
    return f"U+{ord(char):04X}"


def _syntax_error(error: Exception, text: str) -> tuple[int, str]:
    """Line and message of what the parser did not understand, in words that name the cure."""
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return 1, f"not YAML: {one_line(str(error))}"
    lines = _LINE_END.split(text)
    last = len(lines) if lines[-1] else max(len(lines) - 1, 1)
    line = min(mark.line + 1, last)
    began = line if error.context_mark is None else min(error.context_mark.line + 1, last)
    problem = one_line(str(error.problem))
    context = str(error.context)
    if "cannot start any token" in problem:
        char = lines[line - 1][mark.column : mark.column + 1]
        if char == "\t":
            return line, "not YAML: a tab begins this line; indent with spaces"
        return line, f"not YAML: {quoted(char)} cannot begin a value; write the value in quotes"
    if "mapping values are not allowed" in problem:
        return (
            line,
            "not YAML: a key where none can be; the indentation is off, or text with a colon lacks quotes",
        )
    if "quoted scalar" in context and "end of" in problem:
        return began, "not YAML: the quote that begins here is not closed"
    if "flow sequence" in context or "flow mapping" in context or "flow node" in context:
        return line, f"not YAML: a comma or a closing bracket is missing after the bracket in line {began}"
    if "block mapping" in context or "block collection" in context:
        return (
            line,
            f"not YAML: this fits neither the indentation nor the kind of the lines from line {began} on",
        )
    return line, f"not YAML: {problem}"
