"""Our own faults and the operator's.

IsochroneError           everything below; its text is for the person who ran the command
└── ConfigError          a configuration file is wrong; carries every problem found in it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.runtime.wording import one_line


class IsochroneError(Exception):
    """Something that the person who ran the command can mend."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration file.

    Attributes:
        file: as it was given.
        line: 1 for the first; 0 where the file could not be read at all.
        key: path of the key, such as `paths[1].interval`; empty for the whole file.
        message: what is wrong, and what would be accepted.
    """

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return one_line(": ".join(part for part in (place, self.key, self.message) if part))


class ConfigError(IsochroneError):
    """A configuration file is wrong.

    Attributes:
        problems: all of them, in the order of their lines.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(map(str, self.problems)))
