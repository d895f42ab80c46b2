"""The credentials file: the keys of STAMP's authenticated mode, apart from the configuration.

    keys:
      default: hex:000102030405060708090a0b0c0d0e0f
      42: [base64:ICEiIyQlJicoKSorLC0uLw==, hex:101112131415161718191a1b1c1d1e1f]

One key for each SSID, or two while keys are rotated: the first signs, both verify. `default` serves every SSID that is
not listed, and packets without one.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from agent.core.authentication import MAX_KEYS, MIN_KEY_OCTETS, Key, KeyRing
from agent.runtime.exceptions import ConfigError, Problem
from agent.runtime.secret_files import refuse_if_open
from agent.runtime.settings import Settings, load
from agent.runtime.wording import Accepts

_DEFAULT: Final = "default"
_SSID: Final = re.compile(r"[1-9][0-9]{0,4}\Z")
_MAX_SSID: Final = 65_535
_KEYS: Final = f"hex:… or base64:… of at least {MIN_KEY_OCTETS} octets"
_DECODERS: Final[dict[str, Callable[[str], bytes]]] = {
    "hex": bytes.fromhex,
    "base64": partial(binascii.a2b_base64, strict_mode=True),
}
_PLAIN_PATH: Final = re.compile(r"(\w{1,15}(\.\w{1,15})?(\[\d+\])?)?\Z")
_LIKE_A_KEY: Final = re.compile(r"(hex:|base64:)[^\s\"…]+|[\w+/=-]{16,}")
_SESSIONS: Final = f"{_DEFAULT} or an SSID (16 bits, not zero)"


def load_credentials(path: Path) -> KeyRing:
    """Read a credentials file.

    Raises:
        ConfigError: others may read it, or it is wrong; with all problems found, each with its line and none with a
            key in it.
    """
    refuse_if_open(path)
    try:
        keys = load(path, _Credentials).keys
    except ConfigError as error:
        raise ConfigError([_without_keys(problem) for problem in error.problems]) from None
    return KeyRing(
        {int(session): of_session for session, of_session in keys.items() if session != _DEFAULT},
        keys.get(_DEFAULT, ()),
    )


def _without_keys(problem: Problem) -> Problem:
    """A problem that shows no key, not even one that stands where a name belongs."""
    key = problem.key if _PLAIN_PATH.match(problem.key) else "keys.…"
    return replace(problem, key=key, message=_LIKE_A_KEY.sub(r"\1…", problem.message))


def _key(value: Any) -> Key:
    """A key of its text; no message shows any of it."""
    encoding, _, text = value.partition(":") if isinstance(value, str) else ("", "", "")
    decode = _DECODERS.get(encoding)
    if decode is None:
        raise ValueError(f"is no key: {_KEYS}")
    try:
        secret = decode(text)
    except ValueError:
        raise ValueError("cannot be decoded as what its prefix says") from None
    return Key(secret)


def _several(value: Any) -> Any:
    """One key, or a list of them."""
    if isinstance(value, dict):
        raise ValueError(f"is no key: {_KEYS}")
    return tuple(value) if isinstance(value, list) else (value,)


def _session(name: str) -> str:
    if name != _DEFAULT and not (_SSID.match(name) and int(name) <= _MAX_SSID):
        raise ValueError(f"not {_SESSIONS}")
    return name


_KeyText = Annotated[Key, BeforeValidator(_key), Accepts(_KEYS)]
_SessionKeys = Annotated[
    tuple[_KeyText, ...], BeforeValidator(_several), Field(min_length=1, max_length=MAX_KEYS)
]
_Session = Annotated[str, AfterValidator(_session), Accepts(_SESSIONS)]


class _Credentials(Settings):
    """The whole file."""

    keys: Annotated[dict[_Session, _SessionKeys], Field(min_length=1)]

    def problems(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """A second key that is the first again: the rotation would end in nothing."""
        for session, keys in self.keys.items():
            if len(set(keys)) < len(keys):
                yield ("keys", session), "both keys are the same"
