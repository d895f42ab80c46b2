"""`python -m grafana.generate`, which is what `make grafana` does: writes every dashboard in every language."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from grafana.city import city
from grafana.fleet import fleet
from grafana.matrix import matrix
from grafana.path import one_path
from grafana.pilots import pilots
from grafana.sheet import Sheet
from grafana.words import LANGUAGES, Language

FOLDER: Final = Path(__file__).parent / "dashboards"
DASHBOARDS: Final[tuple[Callable[[Language], Sheet], ...]] = (city, one_path, matrix, pilots, fleet)


def documents() -> Iterator[tuple[Path, str]]:
    """Every dashboard: where it belongs in `FOLDER`, and its text."""
    for language in LANGUAGES:
        for made in DASHBOARDS:
            sheet = made(language)
            yield Path(language, f"{sheet.name}.json"), sheet.json()


def main() -> None:
    """Write them, and remove what no longer belongs there."""
    made = {FOLDER / place: text for place, text in documents()}
    for place in FOLDER.glob("*/*.json"):
        if place not in made:
            place.unlink()
    for place, text in made.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
