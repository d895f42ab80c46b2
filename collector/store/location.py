"""Where the state is, as the fleet file says it: an SQLite file, or the address of a PostgreSQL database.

An address with a password stands in a file of its own (`state_url_file`), which the service alone can own; nothing that
is printed shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator
from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from agent.runtime.exceptions import IsochroneError

_SERVERS: Final = ("postgresql", "postgres")
_MAX_FILE_OCTETS: Final = 64 << 10
_WANTED: Final = "postgresql://USER@HOST/DATABASE is needed"
_PARAMETERS: Final = ("host", "passfile", "password", "port", "sslmode", "target_session_attrs", "user")
"""Of libpq's, those that the driver takes too."""


class UnusableAddress(IsochroneError):
    """The file with the database's address is no good."""


def location(state: str, url_file: Path | None, folder: Path, state_folder: Path | None = None) -> Path | URL:
    """Where the state is.

    Args:
        state: as in the fleet file: a file or an address.
        url_file: a file that holds the address instead.
        folder: what files are relative to.
        state_folder: what the state's file is relative to, where that is another folder.

    Raises:
        UnusableAddress: the file cannot be used; what is in it is not shown.
    """
    if url_file is not None:
        return _read(folder / url_file)
    return _url(state) if is_url(state) else (state_folder or folder) / state


def is_url(state: str) -> bool:
    """Whether this is an address rather than a file."""
    return "://" in state


def _read(path: Path) -> URL:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_OCTETS + 1)
        if len(content) > _MAX_FILE_OCTETS:
            raise UnusableAddress("is larger than 64 KiB")
        return _url(content.decode().strip())
    except OSError as error:
        raise UnusableAddress(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        # The error's own text would quote the content.
        raise UnusableAddress("is not UTF-8 text") from None
    except ValueError as error:
        raise UnusableAddress(str(error)) from None


def _url(text: str) -> URL:
    """The parts of an address.

    Raises:
        ValueError: it is none of a PostgreSQL database. The address is not part of the message.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(f"is no address of a database: {_WANTED}") from None
    if url.drivername not in _SERVERS or not url.database:
        raise ValueError(f"is no address of a database: {_WANTED}")
    return _understood(url)


def _understood(url: URL) -> URL:
    """The address as the driver understands it, with its password where nothing shows it.

    Raises:
        ValueError: it has a parameter that the driver does not know.
    """
    query = dict(url.query)
    if "ssl" in query:  # as the driver itself calls it
        query.setdefault("sslmode", query.pop("ssl"))
    unknown = sorted(query.keys() - set(_PARAMETERS))
    if unknown:
        raise ValueError(f"has the parameter {unknown[0]}; accepted: {', '.join(_PARAMETERS)}")
    twice = [
        name for name, value in query.items() if not isinstance(value, str) and name not in ("host", "port")
    ]
    if twice:
        raise ValueError(f"has the parameter {twice[0]} twice")
    port = query.get("port", "0")
    if not all(
        one.isdecimal() for given in ([port] if isinstance(port, str) else port) for one in given.split(",")
    ):
        raise ValueError("has a port that is no number")
    if "password" in query:
        url = url.set(password=str(query.pop("password")))
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    return url.set(query=query)


def _without_password(state: str) -> str:
    if is_url(state) and _url(state).password is not None:
        raise ValueError("holds a password: an address with one belongs in a file (state_url_file)")
    return state


StateText = Annotated[str, AfterValidator(_without_password)]
"""Where the state is, as it may stand in a configuration file: no secret is in it."""
