"""What Grafana needs to load the dashboards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from deploy.quickstart import watching
from grafana.generate import FOLDER
from grafana.sheet import DATASOURCE_UID

PROVISIONING = FOLDER.parent / "provisioning"


def read(name: str) -> dict[str, Any]:
    """A provisioning file."""
    document: dict[str, Any] = yaml.safe_load(
        PROVISIONING.joinpath(name, "isochrone.yaml").read_text("utf-8")
    )
    return document


def test_the_data_source_is_the_one_that_dashboards_start_with() -> None:
    """By its fixed UID, in every dashboard."""
    (source,) = read("datasources")["datasources"]
    assert source["uid"] == DATASOURCE_UID
    for file in FOLDER.glob("*/*.json"):
        variables = json.loads(file.read_text(encoding="utf-8"))["templating"]["list"]
        (chosen,) = (one["current"]["value"] for one in variables if one["name"] == "datasource")
        assert chosen == source["uid"]


def test_every_dashboard_is_loaded_once() -> None:
    """Each language from its folder, into a folder of its own with a fixed UID."""
    providers = read("dashboards")["providers"]
    paths = [
        Path(provider["options"]["path"].replace("${ISOCHRONE_DASHBOARDS}", str(FOLDER)))
        for provider in providers
    ]
    assert sorted(paths) == sorted({file.parent for file in FOLDER.glob("*/*.json")})
    assert len({provider["folderUid"] for provider in providers}) == len(providers)


def test_the_quickstart_gives_what_the_files_ask_for() -> None:
    """No variable of the environment is left empty."""
    text = "".join(file.read_text(encoding="utf-8") for file in PROVISIONING.glob("*/*.yaml"))
    for name, value in watching.sources("127.0.0.1:9466").items():
        assert f"${{{name}}}" in text
        text = text.replace(f"${{{name}}}", value)
    assert "${" not in text
