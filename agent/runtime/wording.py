"""How messages show what was written: values quoted on one line, secrets never, key paths as one would type them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

MAX_SHOWN: Final = 60
_SECRET_WORDS: Final = ("secret", "password", "token", "key")
_CREDENTIALS: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?:[^/?#]*@)?(?P<host>[^/?#]*)(?P<rest>.*)\Z", re.DOTALL
)
_PLAIN_KEY: Final = re.compile(r"[\w-]+\Z")


@dataclass(frozen=True, slots=True)
class Accepts:
    """Annotates a type of settings with what it takes, for messages: `a duration such as 50us`."""

    text: str


def quoted(value: Any) -> str:
    """A value in quotes, on one line and not too long; of a URL only what cannot be a credential."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case bool():
            text = str(value).lower()
        case _:
            text = str(value)
    url = _CREDENTIALS.match(text)
    if url is not None:
        text = f"{url['scheme']}{url['host']}{'/…' if len(url['rest']) > 1 else ''}"
    if len(text) > MAX_SHOWN:
        text = text[:MAX_SHOWN] + "…"
    return f'"{one_line(text)}"'


def one_line(text: str) -> str:
    """A text with everything that would not print, line ends above all, written as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def key_path(location: Iterable[str | int]) -> str:
    """A location as it is written: `paths[1].interval`; a key that is no plain word stands in quotes."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _PLAIN_KEY.match(part) else quoted(part))
    return text


def is_secret(location: Iterable[str | int]) -> bool:
    """Whether a key's name suggests that its value is not for everyone's eyes."""
    return any(word in str(part).lower() for part in location for word in _SECRET_WORDS)


def without(message: str, value: Any) -> str:
    """A message that does not show the value, nor the beginning of it."""
    text = str(value)
    if not text:
        return message
    for shown in (quoted(value), repr(text), f'"{text}"', text):
        if len(shown) > 2:
            message = message.replace(shown, "the value")
    if text[:4] in message:
        return "the value is not accepted"
    return message


def alternatives(words: Iterable[Any]) -> str:
    """`a, b or c`."""
    *front, last = map(str, words)
    return f"{', '.join(front)} or {last}" if front else last
