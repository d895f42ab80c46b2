"""The commands that `deploy/README.md` gives, by where they are to be run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

PAGES: Final = {
    "en": Path(__file__).resolve().parents[2] / "deploy" / "README.md",
    "zh": Path(__file__).resolve().parents[2] / "deploy" / "README.zh-CN.md",
}
_BLOCK: Final = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """Commands that belong together.

    Attributes:
        where: what its first line says after `# on`, up to a comma; empty where it is not for the test.
        commands: all of it.
    """

    where: str
    commands: str


def blocks(page: Path = PAGES["en"]) -> list[Block]:
    """All of a page, in its order."""
    found = []
    for commands in _BLOCK.findall(page.read_text(encoding="utf-8")):
        first = commands.partition("\n")[0]
        where = first.removeprefix("# on ").partition(",")[0] if first.startswith("# on ") else ""
        found.append(Block(where, commands))
    return found
