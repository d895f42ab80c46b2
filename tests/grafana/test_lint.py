"""What is asked of every dashboard, read from the committed JSON as Grafana reads it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from grafana.generate import FOLDER, documents

FILES = sorted(FOLDER.glob("*/*.json"))
STATE_METRICS = re.compile(
    r"isochrone_(sla_verdict|sla_breach_open|source_up|clock_synchronized|target_resolved)\b"
)

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")


def load(file: Path) -> dict[str, Any]:
    """A dashboard."""
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return document


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Panels that show something; the headings between them do not."""
    for panel in board["panels"]:
        assert not panel.get("panels"), "a panel within a collapsed row"
        if panel["type"] != "row":
            yield panel


def variables(board: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Variables by name."""
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def queries(board: dict[str, Any]) -> list[str]:
    """Every expression that the dashboard asks, those of annotations too."""
    asked = [target["expr"] for panel in panels(board) for target in panel["targets"]]
    return asked + [annotation["expr"] for annotation in board["annotations"]["list"]]


def test_the_committed_files_are_what_the_source_makes() -> None:
    """Byte for byte, none missing and none left over: `make grafana` changes nothing."""
    made = {FOLDER / place: text.encode() for place, text in documents()}
    assert set(made) == set(FILES)
    for place, text in made.items():
        assert place.read_bytes() == text, f"{place} is not what `make grafana` writes"


@each_file
def test_every_panel_explains_itself(file: Path) -> None:
    """It has a title, a description that says more, a unit, and says so where there is nothing to show."""
    for panel in panels(load(file)):
        assert panel["title"].strip()
        assert len(panel["description"]) > len(panel["title"])
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]


@each_file
def test_titles_are_told_apart(file: Path) -> None:
    """No two panels have the same title, and none the same id as another or as a heading."""
    board = load(file)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)


@each_file
def test_the_data_source_is_the_readers_choice(file: Path) -> None:
    """Panels, queries, variables and annotations all ask the data source that is chosen at the top."""
    board = load(file)
    assert variables(board)["datasource"]["query"] == "prometheus"
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    asking = list(panels(board))
    asking += [target for panel in panels(board) for target in panel["targets"]]
    asking += [variable for variable in board["templating"]["list"] if variable["type"] == "query"]
    asking += board["annotations"]["list"]
    assert all(one["datasource"] == chosen for one in asking)


@each_file
def test_the_grid_holds_every_panel_once(file: Path) -> None:
    """Panels stay within the grid's 24 columns and none lies on another."""
    taken: dict[tuple[int, int], str] = {}
    for panel in load(file)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for cell in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        ):
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            taken[cell] = panel["title"]


@each_file
def test_rates_look_back_far_enough(file: Path) -> None:
    """Every range is `$__rate_interval`: a shorter one would find too few samples at some zoom."""
    for expr in queries(load(file)):
        assert set(re.findall(r"\[[^\]]*\]", expr)) <= {"[$__rate_interval]"}, expr
        functions = re.findall(r"\b(rate|increase|irate|delta|idelta|changes|resets)\(", expr)
        assert len(functions) == expr.count("[$__rate_interval]"), expr


@each_file
def test_every_variable_is_used_and_every_used_one_exists(file: Path) -> None:
    """What can be chosen matters, and nothing is asked for that cannot be chosen."""
    board = load(file)
    known = variables(board)
    text = json.dumps([board["panels"], board["links"], board["annotations"]])
    chained = json.dumps([variable.get("query") for variable in known.values()])
    used = {name for name in known if re.search(rf"\$\{{?{name}\b", text + chained)}
    assert used == set(known)
    asked = set(re.findall(r"\$\{?(\w+)", " ".join(queries(board)) + chained))
    assert asked - {"1"} <= set(known) | {"__rate_interval"}


@each_file
def test_every_query_is_narrowed_by_what_is_chosen(file: Path) -> None:
    """Series of paths by tier, provider and both sites; series of an agent by its site and that site's provider.

    The collector's series about itself belong to no site.
    """
    of_collector = re.compile(r"isochrone_(evaluation|faults|notifications)|process_")
    of_agents = [{"source"}, {"site", "site_provider"}] if file.stem == "fleet" else [{"site"}]
    narrowed = [{"tier", "provider", "source", "target"}, *of_agents]
    for expr in queries(load(file)):
        for metric, matchers in re.findall(r"\b((?:isochrone|process|up)_?\w*)\{([^}]*)\}", expr):
            labels = set(re.findall(r"(\w+)(?==)", matchers))
            assert of_collector.match(metric) or any(need <= labels for need in narrowed), (metric, matchers)
        bare = re.findall(r"\bisochrone_\w+(?!\w*\{)\b", re.sub(r"isochrone_\w+\{", "", expr))
        assert all(of_collector.match(metric) for metric in bare), bare


@each_file
def test_states_are_told_by_words(file: Path) -> None:
    """A panel that shows a state's number maps every value to a word, with a sign of its own beside the colour."""
    for panel in panels(load(file)):
        if not any(shows_a_state(target["expr"]) for target in panel["targets"]):
            continue
        (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
        texts = [result["text"] for result in mapping["options"].values()]
        assert len({text[0] for text in texts}) == len(texts), panel["title"]
        assert all(re.search(r"\w{2,}|[\u4e00-\u9fff]", text) for text in texts)


def shows_a_state(expr: str) -> bool:
    """Whether the values of an expression are those of a state, not counted or compared ones."""
    return bool(STATE_METRICS.search(expr)) and not re.match(r"(sum|avg|count)\b", expr)


@each_file
def test_nothing_needs_the_internet(file: Path) -> None:
    """Addresses are those of the collector, which is a variable, or relative to Grafana."""
    text = file.read_text(encoding="utf-8")
    found = [*re.findall(r'"url": "([^"]*)"', text), *re.findall(r"\w+://[^\s\"\\]*", text)]
    for url in found:
        assert url.startswith(("${collector:raw}/", "/d/isochrone-")) or url == "http://$1", url


@each_file
def test_links_lead_somewhere(file: Path) -> None:
    """To every other dashboard in the same language, to the same one in the other, and to the collector's page."""
    uids = {
        f"/d/{load(other)['uid']}"
        for other in FILES
        if (other.parent == file.parent) != (other.stem == file.stem)
    }
    links = [link["url"] for link in load(file)["links"]]
    assert {link for link in links if link.startswith("/")} == uids
    assert any(link.startswith("${collector:raw}/?lang=") for link in links)
    within = re.findall(r"/d/([\w-]+)", json.dumps(load(file)["panels"]))
    assert set(within) <= {load(other)["uid"] for other in FILES if other.parent == file.parent}


@each_file
def test_both_languages_ask_the_same(file: Path) -> None:
    """The other language has the same panels at the same places with the same queries, and other words."""
    board = load(file)
    (other_file,) = (one for one in FILES if one.stem == file.stem and one != file)
    other = load(other_file)
    assert queries(board) == queries(other)
    assert [panel["gridPos"] for panel in board["panels"]] == [panel["gridPos"] for panel in other["panels"]]
    assert set(variables(board)) == set(variables(other))
    for mine, theirs in zip(panels(board), panels(other), strict=True):
        assert mine["title"] != theirs["title"]
        assert mine["description"] != theirs["description"]
    chinese = [bool(re.search(r"[\u4e00-\u9fff]", panel["title"])) for panel in panels(board)]
    assert all(chinese) if file.parent.name == "zh" else not any(chinese)


@each_file
def test_the_uid_is_fixed(file: Path) -> None:
    """Links from elsewhere hold: the UID is the file's name and language."""
    assert load(file)["uid"] == f"isochrone-{file.stem}-{file.parent.name}"


def test_one_version_of_grafana_everywhere() -> None:
    """The pinned library, what is installed and what the files say are of the same Grafana: 11.6, schema 41."""
    root = FOLDER.parents[1]
    pin = re.search(r"grafana-foundation-sdk==([^\"]+)", root.joinpath("pyproject.toml").read_text("utf-8"))
    assert pin
    constraints = root.joinpath("deploy", "constraints.txt").read_text("utf-8").splitlines()
    assert f"grafana_foundation_sdk=={pin[1]}" in constraints
    assert version("grafana-foundation-sdk") == pin[1]
    assert pin[1].endswith("!11.6.0")
    assert {load(file)["schemaVersion"] for file in FILES} == {41}
