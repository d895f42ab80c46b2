"""The Prometheus text format, as far as agents write it, and only the lines that are needed.

A thousand paths are a hundred thousand lines, for which prometheus-client's own parser takes three times as long. This
one reads what that library writes: no blanks within braces, no exemplars. Anything else is refused, not guessed.

Source: Prometheus documentation, "Exposition formats", text-based format 0.0.4.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from collector.sources.sample import Sample

_LINE: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^\s_]+)(?: -?[0-9]+)?", re.ASCII)
_LABEL: Final = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\n"])*)"'
_ONE_LABEL: Final = re.compile(_LABEL, re.ASCII)
_ALL_LABELS: Final = re.compile(rf"(?:{_LABEL}(?:,(?=.)|$))*", re.ASCII)
_ESCAPED: Final = re.compile(r'\\([\\n"])')
_SHOWN: Final = 80


def parse(text: str, needed: Collection[str]) -> list[Sample]:
    """The samples whose names are needed.

    Raises:
        ValueError: a line that begins like a needed one is no sample.
    """
    beginnings = tuple(needed)
    samples = []
    for line in text.split("\n"):
        if not line.startswith(beginnings):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"no sample: {line[:_SHOWN]!r}")
        name, labels, value = match.groups()
        if name in needed:
            samples.append(Sample(name, _labels(labels or ""), float(value)))
    return samples


def _labels(text: str) -> dict[str, str]:
    if _ALL_LABELS.fullmatch(text) is None:
        raise ValueError(f"no labels: {text[:_SHOWN]!r}")
    found: list[tuple[str, str]] = _ONE_LABEL.findall(text)
    if "\\" in text:
        found = [(name, _ESCAPED.sub(_unescaped, value)) for name, value in found]
    labels = dict(found)
    if len(labels) < len(found):
        raise ValueError(f"a label twice: {text[:_SHOWN]!r}")
    return labels


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]
