"""YAML with line numbers, without the surprises of YAML 1.1.

Only `true`, `false`, `null`, decimal integers and decimal fractions are typed; `on`, `no`, `10:30` and `0777` stay the
text they are. Duplicate keys are refused at any depth, and so are merge keys and aliases, which would let a small file
mean a very large one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Location = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})\Z")
_FRACTION = re.compile(r"[-+]?(0|[1-9][0-9]*)\.[0-9]+\Z")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
_MAX_DEPTH = 32


@dataclass
class Document:
    """A YAML file as plain values, with the line of each.

    Attributes:
        value: dicts, lists, strings, integers, floats, booleans and None.
        lines: line of each key path, counted from 1.
        problems: (location, line, message) of what YAML itself has to complain of.
    """

    value: Any = None
    lines: dict[Location, int] = field(default_factory=dict)
    problems: list[tuple[Location, int, str]] = field(default_factory=list)

    def line_of(self, location: Location) -> int:
        """The line of the most specific part of a key path that stands in the file."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


def read(text: str) -> Document:
    """Read one YAML document; never raises on bad text, the problems tell."""
    document = Document()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        document.problems.append(((), line, f"not YAML: {error.problem or error.context}"))
        return document
    except yaml.YAMLError as error:
        document.problems.append(((), 1, f"not YAML: {str(error).splitlines()[0]}"))
        return document
    except RecursionError:
        document.problems.append(((), 1, "not a configuration: nested too deeply"))
        return document
    if node is None:
        document.problems.append(((), 1, "the file is empty"))
        return document
    document.value = _value(node, (), document, set())
    return document


def _value(node: yaml.Node, location: Location, document: Document, seen: set[int]) -> Any:
    line = node.start_mark.line + 1
    document.lines[location] = line
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if id(node) in seen:
        document.problems.append((location, line, "aliases (*name) are not accepted; write the value again"))
        return None
    seen.add(id(node))
    if len(location) >= _MAX_DEPTH:
        document.problems.append((location, line, "nested too deeply"))
        return None
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*location, i), document, seen) for i, child in enumerate(node.value)]
    assert isinstance(node, yaml.MappingNode)
    return dict(_pairs(node, location, document, seen))


def _pairs(
    node: yaml.MappingNode, location: Location, document: Document, seen: set[int]
) -> Iterator[tuple[str, Any]]:
    first: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append((location, line, "a key must be a word, not a list or a mapping"))
            continue
        key = str(key_node.value)
        if key == "<<" and key_node.style is None:
            document.problems.append((location, line, "merge keys (<<) are not accepted; write the keys out"))
            continue
        if key in first:
            message = f"the key stands twice, first in line {first[key]}"
            document.problems.append(((*location, key), line, message))
            continue
        first[key] = line
        value = _value(value_node, (*location, key), document, seen)
        document.lines[(*location, key)] = line
        yield key, value


def _scalar(node: yaml.ScalarNode) -> Any:
    text = str(node.value)
    if node.style is not None:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text)
    if _FRACTION.match(text):
        return float(text)
    return text
