"""Our own faults and the operator's.

IsochroneError           everything below; its text is for the person who ran the command
└── ConfigError          a configuration file is wrong; carries every problem found in it

UnreadError              a value was asked for that could not be read; only checks of a file with mistakes meet it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.runtime.wording import one_line

_SHOWN: Final = 100

DEPENDS_ON_UNREAD: Final = "depends_on_unread"
"""The type of pydantic's error where a value cannot be judged, for another that it depends on could not be read."""


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

    The text is one line for each problem; of very many the first, and how many more there are.

    Args:
        problems: what was found.
        more: how many there are beyond.

    Attributes:
        problems: what was found, in the order of its lines.
    """

    def __init__(self, problems: Sequence[Problem], more: int = 0) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        lines = [str(problem) for problem in self.problems[:_SHOWN]]
        more += len(self.problems) - len(lines)
        if more:
            lines.append(f"{self.problems[0].file}: and {more} more problems")
        super().__init__("\n".join(lines))


class UnreadError(Exception):
    """A value of the settings was asked for that the file does not give."""
