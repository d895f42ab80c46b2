"""A Grafana beside the quickstart: how it is started where it is installed, and how another one is pointed here.

Grafana is configured by its environment (GF_SECTION_KEY); its provisioning files take the rest from there too.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Final

ADDRESS: Final = "127.0.0.1:9467"
FOLDER: Final = Path(__file__).parents[2] / "grafana"
SCRAPE_INTERVAL: Final = "1s"
_PACKAGED_HOME: Final = Path("/usr/share/grafana")
_HOME_PAGES: Final = {"zh": "zh/city.json", "en": "en/city.json"}


def installed() -> list[str] | None:
    """The command that starts the Grafana on the PATH, without settings; None where there is none.

    Grafana finds its own files in its home folder: above the program, or where packages put it, for what these put on
    the PATH is a script.
    """
    found = shutil.which("grafana") or shutil.which("grafana-server")
    if found is None:
        return None
    own_home = Path(found).resolve().parents[1]
    home = own_home if own_home.joinpath("conf", "defaults.ini").exists() else _PACKAGED_HOME
    packaged = home / "bin" / "grafana"
    program = packaged if packaged.exists() else Path(found)
    subcommand = ["server"] if program.name == "grafana" else []
    return [str(program), *subcommand, "--homepath", str(home)]


def sources(prometheus: str) -> dict[str, str]:
    """What the provisioning files take from the environment.

    Args:
        prometheus: HOST:PORT.
    """
    return {
        "ISOCHRONE_PROMETHEUS_URL": f"http://{prometheus}",
        "ISOCHRONE_SCRAPE_INTERVAL": SCRAPE_INTERVAL,
        "ISOCHRONE_DASHBOARDS": str(FOLDER / "dashboards"),
    }


def command(grafana: list[str], folder: Path, address: str, prometheus: str, lang: str) -> list[str]:
    """The command line of a Grafana that keeps all it writes in a folder, and asks nobody but Prometheus.

    Args:
        grafana: as `installed` gives it.
        folder: takes its database and logs.
        address: HOST:PORT where it listens.
        prometheus: HOST:PORT of what it shows.
        lang: of the dashboard it opens with.
    """
    host, _, port = address.rpartition(":")
    settings = {
        "GF_PATHS_DATA": str(folder / "grafana"),
        "GF_PATHS_LOGS": str(folder / "grafana"),
        "GF_PATHS_PLUGINS": str(folder / "grafana" / "plugins"),
        "GF_PATHS_PROVISIONING": str(FOLDER / "provisioning"),
        "GF_SERVER_HTTP_ADDR": host,
        "GF_SERVER_HTTP_PORT": port,
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(FOLDER / "dashboards" / _HOME_PAGES[lang]),
        # on loopback, for the length of a story: who can reach it may look, and nobody needs a password
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        # nothing that needs the internet
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_NEWS_NEWS_FEED_ENABLED": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED": "true",
        "GF_SECURITY_DISABLE_GRAVATAR": "true",
        "GF_SNAPSHOTS_EXTERNAL_ENABLED": "false",
    }
    environment = [f"{name}={value}" for name, value in {**settings, **sources(prometheus)}.items()]
    return ["env", *environment, *grafana]


def instead(prometheus: str) -> tuple[str, str]:
    """How a Grafana that runs already is pointed at the dashboards, in Chinese and English.

    Args:
        prometheus: HOST:PORT.
    """
    environment = {"GF_PATHS_PROVISIONING": str(FOLDER / "provisioning"), **sources(prometheus)}
    lines = "".join(f"\n  {name}={shlex.quote(value)}" for name, value in environment.items())
    zh = (
        f"PATH 上没有 grafana 或 grafana-server；要让已有的 Grafana 显示面板，在其环境中设置下列变量并重启它：{lines}\n"
        "  （它已有自己的 provisioning 目录时，不设第一项，把这里的两个文件链接到该目录的同名子目录中）"
    )
    en = (
        "neither grafana nor grafana-server is on the PATH; for a Grafana that runs already, set "
        f"this in its environment and start it anew:{lines}\n"
        "  (where it has a provisioning folder of its own, leave the first out and link the two files into that folder)"
    )
    return zh, en
