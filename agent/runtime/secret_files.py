"""Files with secrets: only who owns them may read them, and nothing that is said of them shows what is in them."""

from __future__ import annotations

import hmac
import os
import re
import stat
from pathlib import Path
from typing import Final

from agent.runtime.exceptions import ConfigError, Problem

_ACCESS_OF_OTHERS: Final = 0o077
_TOKEN: Final = re.compile(r"[\w.~+/=-]{16,256}\Z", re.ASCII)
_BEARER: Final = re.compile(r"[\w.~+/-]+=*\Z", re.ASCII)
_BEARERS: Final = "one line of letters, digits and -._~+/, with = at its end (RFC 6750)"
_TOKENS: Final = "one line of 16 to 256 letters, digits and -._~+/="


def load_token(path: Path) -> str:
    """Read the token of an API: the one line of a file that only its owner can read.

    Raises:
        ConfigError: others may read it, or it holds no token; never with any of it.
    """
    return _one_line(path, _TOKEN, _TOKENS)


def load_bearer(path: Path) -> str:
    """Read a token that a server has given out, to be sent to it: the one line of a file that only its owner can read.

    Raises:
        ConfigError: others may read it, or it holds no token; never with any of it.
    """
    return _one_line(path, _BEARER, _BEARERS)


def _one_line(path: Path, form: re.Pattern[str], accepted: str) -> str:
    refuse_if_open(path)
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not ASCII"
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {reason}")]) from None
    if not form.match(token):
        raise ConfigError([Problem(str(path), 0, "", f"holds no token: {accepted}")])
    return token


def bears(authorization: str, token: str) -> bool:
    """Whether the header `Authorization` of a request has the token (RFC 6750, 2.1), in constant time.

    The scheme is taken in any case (RFC 9110, 11.1), the token as it is.
    """
    scheme, _, given = authorization.partition(" ")
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode()) and (
        scheme.lower() == "bearer"
    )


def refuse_if_open(path: Path) -> None:
    """Refuse a file that others than its owner have access to.

    In the folder of credentials that systemd has made for this service alone, its group may seem to read them: it is
    the service that is let in, by an access list, whose mask stands in the mode for the rights of the group.

    Raises:
        ConfigError: others have.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return  # the loader says why it cannot be read
    handed_over = os.environ.get("CREDENTIALS_DIRECTORY")
    if handed_over and path.resolve().is_relative_to(Path(handed_over).resolve()):
        mode &= ~stat.S_IRGRP
    if mode & _ACCESS_OF_OTHERS:
        raise ConfigError(
            [Problem(str(path), 0, "", f"others have access to the keys (mode {mode:04o}): chmod 600 {path}")]
        )
