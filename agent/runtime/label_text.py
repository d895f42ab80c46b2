"""Text that becomes the value of a label, a cell of a table or a word of a log: one short line."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.runtime.wording import Accepts

LONGEST: Final = 128
_PATTERN: Final = r"^[^\p{C}\p{Zl}\p{Zp}]*$"
"""No line breaks, no control characters, and none that turn the direction of writing."""

LabelText = Annotated[
    str,
    Field(max_length=LONGEST, pattern=_PATTERN),
    Accepts(f"one line of text, at most {LONGEST} characters"),
]
"""May be empty, as a label may."""

NameText = Annotated[
    str,
    Field(min_length=1, max_length=LONGEST, pattern=_PATTERN),
    Accepts(f"one line of text, 1 to {LONGEST} characters"),
]
