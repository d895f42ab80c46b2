"""The fleet file as it is written: the whole of it, and what its parts ask of each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import URL

from agent.runtime.exceptions import ConfigError
from agent.runtime.quantities import Endpoint, format_duration
from agent.runtime.secret_files import load_token
from agent.runtime.settings import Settings, as_far_as_read
from agent.runtime.yaml_lines import Location
from collector.fleet.alerting import AlertsSettings
from collector.fleet.maintenance import FleetNames, MaintenanceSettings
from collector.fleet.names import same_twice
from collector.fleet.objectives import ObjectiveSettings, format_window
from collector.fleet.pilots import PilotedSettings
from collector.fleet.source import AgentsSourceSettings, PrometheusSourceSettings, RhythmNs, SourceSettings
from collector.sla.measure import Measure
from collector.sla.names import percent
from collector.sources.query_api import Access
from collector.store.location import StateText, UnusableAddress, location
from collector.urls import Url


class ApiSettings(Settings):
    """Who may write by way of the API.

    Attributes:
        token_file: the one line that a writer has to send as a bearer token; only its owner may read the file.
    """

    token_file: Path


class FleetSettings(PilotedSettings):
    """The whole file.

    Attributes:
        listen: where the page, the metrics and the API are served.
        external_url: how people reach the page; default: `listen`.
        state: SQLite file, relative to the fleet file, or postgresql://USER@HOST/DATABASE.
        state_url_file: file that holds such an address with its password, instead of `state`.
        minutes_kept_months: for how many months of 31 days the counts of minutes are kept.

    What `PilotedSettings` has stands in the same file.
    """

    listen: Endpoint
    external_url: Url | None = None
    state: StateText = "state.sqlite"
    state_url_file: Path | None = None
    minutes_kept_months: Annotated[int, Field(ge=1, le=1200)] = 14
    source: SourceSettings = AgentsSourceSettings(kind="agents")
    objectives: tuple[ObjectiveSettings, ...] = ()
    evaluation_interval: RhythmNs = 10_000_000_000
    alerts: AlertsSettings = AlertsSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    api: ApiSettings | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def problems(self) -> Iterator[tuple[Location, str]]:
        """What does not fit together, and what physics forbids."""
        yield from super().problems()
        yield from as_far_as_read(same_twice("objectives", self.objectives))
        yield from as_far_as_read(self._objectives())
        yield from as_far_as_read(self._alerts())
        yield from as_far_as_read(self._source())
        yield from as_far_as_read(self._states())
        yield from as_far_as_read(self._maintenance())

    def problems_beside(self, folder: Path) -> Iterator[tuple[Location, str]]:
        """Files of secrets that cannot be used, and a state file that cannot be written."""
        yield from as_far_as_read(self._alerts_beside(folder))
        yield from as_far_as_read(self._state_beside(folder))
        yield from as_far_as_read(self._token_beside(folder))
        yield from as_far_as_read(self._source_beside(folder))

    def names(self) -> FleetNames:
        """All that a selector can name."""
        sites = list(self._sites)
        providers = [site.provider for site in self.sites]
        providers += [path.provider or "" for path in self.paths]
        providers += [pilot.provider or "" for pilot in self.throughput.pilots]
        tags = [tag for site in self.sites for tag in site.tags]
        tags += [tag for path in self.paths for tag in path.tags]
        return FleetNames(
            [*self.tiers, *self.throughput.tiers],
            providers,
            [site.district for site in self.sites],
            sites,
            tags,
        )

    def token(self, folder: Path) -> str | None:
        """The API's token; None where there is none: nobody may write then.

        Raises:
            ConfigError: its file, which is named relative to a folder, is no good.
        """
        return None if self.api is None else load_token(folder / self.api.token_file)

    def access(self, folder: Path) -> Access:
        """How the source's API is asked, where it is a Prometheus; files are named relative to a folder.

        Raises:
            ConfigError: the token for it cannot be used.
        """
        source = self.source
        return source.access(folder) if isinstance(source, PrometheusSourceSettings) else Access()

    def _token_beside(self, folder: Path) -> Iterator[tuple[Location, str]]:
        try:
            self.token(folder)
        except ConfigError as error:
            for problem in error.problems:
                yield ("api", "token_file"), str(problem)

    def _source(self) -> Iterator[tuple[Location, str]]:
        if isinstance(self.source, PrometheusSourceSettings):
            for at, message in self.source.problems():
                yield ("source", *at), message

    def _source_beside(self, folder: Path) -> Iterator[tuple[Location, str]]:
        try:
            self.access(folder)
        except ConfigError as error:
            for problem in error.problems:
                yield ("source", "bearer_token_file"), str(problem)

    def _alerts(self) -> Iterator[tuple[Location, str]]:
        for at, message in self.alerts.problems():
            yield ("alerts", *at), message

    def _alerts_beside(self, folder: Path) -> Iterator[tuple[Location, str]]:
        for at, message in self.alerts.problems_beside(folder):
            yield ("alerts", *at), message

    def _maintenance(self) -> Iterator[tuple[Location, str]]:
        for at, message in self.maintenance.problems():
            yield ("maintenance", *at), message
        for at, message in self.maintenance.unknown(self.names()):
            yield ("maintenance", *at), message

    def _states(self) -> Iterator[tuple[Location, str]]:
        if self.state_url_file is not None and "state" in self.model_fields_set:
            yield ("state_url_file",), "one of state and state_url_file is enough"

    def _state_beside(self, folder: Path) -> Iterator[tuple[Location, str]]:
        try:
            state = location(self.state, self.state_url_file, folder)
        except UnusableAddress as error:
            yield ("state_url_file",), str(error)
            return
        if isinstance(state, URL):
            return
        if state.is_dir():
            yield ("state",), f"{self.state} is a folder: a file is needed"
        elif not state.parent.is_dir():
            yield ("state",), f"{self.state} is in no folder that exists"

    def warnings(self) -> Iterator[str]:
        """What is allowed and yet probably not meant."""
        yield from super().warnings()
        yield from self._too_few_packets()
        yield from self._too_few_tests()
        yield from self._of_no_path()
        yield from self.maintenance.warnings()
        if self.external_url is None and self.listen.host in ("0.0.0.0", "::"):  # noqa: S104 - recognised, not bound
            yield f"listen {self.listen} is no address to visit: set external_url, which alerts link to"

    def _too_few_packets(self) -> Iterator[str]:
        for index, path in enumerate(self.paths):
            for objective in self.objectives:
                packets = objective.window.longest_ns // path.interval
                needed = objective.packets_needed
                if objective.measure is Measure.THROUGHPUT:
                    continue
                if packets < needed and objective.selector().matches(self.facts(path)):
                    yield (
                        f"paths[{index}]: sends {packets} packets in the window of {objective.id}, "
                        f"{format_window(objective.window)}; proving at most {percent(objective.threshold)} "
                        f"needs {needed}: it can never pass"
                    )

    def _of_no_path(self) -> Iterator[str]:
        paths = [self.facts(path) for path in self.paths]
        lines = [self.line_facts(line) for line in self.lines]
        for index, objective in enumerate(self.objectives):
            tested = objective.measure is Measure.THROUGHPUT
            asked, named = (lines, "throughput.pilots") if tested else (paths, "the paths")
            if not any(objective.selector().matches(one) for one in asked):
                yield f"objectives[{index}]: {objective.id} selects none of {named}"
        for index, window in enumerate(self.maintenance.windows):
            if not any(window.selector.selector().matches(one) for one in (*paths, *lines)):
                yield f"maintenance.windows[{index}]: {window.id} selects none of the paths"

    def _too_few_tests(self) -> Iterator[str]:
        for index, line in enumerate(self.lines):
            for objective in self.objectives:
                if (
                    objective.measure is Measure.THROUGHPUT
                    and objective.window.longest_ns < 2 * line.every
                    and objective.selector().matches(self.line_facts(line))
                ):
                    yield (
                        f"throughput.pilots[{index}]: is tested every {format_duration(line.every)}, and the window of "
                        f"{objective.id}, {format_window(objective.window)}, may hold no test at times: it should be "
                        "at least twice as long"
                    )

    def _objectives(self) -> Iterator[tuple[Location, str]]:
        for index, objective in enumerate(self.objectives):
            at: Location = ("objectives", index)
            for within, message in as_far_as_read(objective.unknown(self.names())):
                yield (*at, *within), message
            for _, message in as_far_as_read(self._window_problems(objective)):
                yield (*at, "window"), message
            for within, message in as_far_as_read(objective.measure_problems()):
                yield (*at, *within), message

    def _window_problems(self, objective: ObjectiveSettings) -> Iterator[tuple[Location, str]]:
        window, evaluated = format_window(objective.window), format_duration(self.evaluation_interval)
        if objective.window.longest_ns < self.evaluation_interval:
            unjudged = "what happens between two evaluations would never be judged"
            yield (), f"{window} is shorter than evaluation_interval, {evaluated}: {unjudged}"
        if objective.window.longest_ns < 2 * self.source.interval:
            read = format_duration(self.source.interval)
            yield (), f"{window} holds fewer than two readings of the source, which is read every {read}"
