"""Files that people write: a model, or a `ConfigError` that says where; never a traceback."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.credentials import load_credentials
from agent.runtime.exceptions import ConfigError
from agent.runtime.settings import Settings, load, parse
from agent.settings import AgentSettings
from collector.fleet.settings import FleetSettings

_SECRET: Final = re.compile(rb"(?:hex|base64):([\w+/=-]{16,})")


def agent(data: bytes) -> None:
    """An agent's configuration file."""

    def warned(path: Path) -> None:
        _say(load(path, AgentSettings))

    _refused_or(warned, data)


def credentials(data: bytes) -> None:
    """A credentials file, of which no message repeats a key."""

    def loaded(path: Path) -> None:
        ring = load_credentials(path)
        assert all(ring.keys(ssid) == ring.keys(ssid) for ssid in range(2))

    refusal = _refused_or(loaded, data)
    assert refusal is None or not any(secret.decode() in refusal for secret in _SECRET.findall(data))


def fleet(data: bytes) -> None:
    """A fleet file. Its secrets are not looked for: an input may name any file of the machine."""

    def warned(path: Path) -> None:
        _say(parse(path.read_bytes().decode(errors="ignore"), FleetSettings, str(path)))

    _refused_or(warned, data)


def _say(settings: Settings) -> None:
    assert isinstance(settings, AgentSettings | FleetSettings)
    assert all(settings.warnings())


def _refused_or(use: Callable[[Path], None], data: bytes) -> str | None:
    """Use a file of these octets; the refusal, where there is one, names a line of it for each problem."""
    descriptor, name = tempfile.mkstemp()
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        use(path)
    except ConfigError as error:
        return _legible(error, data)
    finally:
        path.unlink()
    return None


def _legible(error: ConfigError, data: bytes) -> str:
    """The text of a refusal: a line that prints for each problem, with a line of the file."""
    lines = str(error).split("\n")
    assert len(lines) == len(error.problems) > 0
    assert all(line.isprintable() for line in lines)
    for problem in error.problems:
        assert problem.message
        assert 0 <= problem.line <= 1 + len(data)
    return str(error)
