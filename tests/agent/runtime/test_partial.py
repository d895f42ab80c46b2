"""What remains of a file with mistakes, and what is checked of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import pytest
from pydantic import Field

from agent.runtime.exceptions import ConfigError, UnreadError
from agent.runtime.partial import partial
from agent.runtime.settings import Settings, as_far_as_read, parse
from agent.runtime.yaml_lines import Location
from agent.settings import AgentSettings


class Lamp(Settings):
    name: str
    height: int = 2
    colour: str | None = None


class Gas(Settings):
    kind: Literal["gas"]
    pressure: int = 1


class Mains(Settings):
    kind: Literal["mains"] = "mains"


class Street(Settings):
    lamps: tuple[Lamp, ...] = ()
    by_name: dict[str, Lamp] = Field(default_factory=dict)
    best: Lamp | None = None
    origin: str = Field(default="here", alias="from")
    supply: Annotated[Gas | Mains, Field(discriminator="kind")] = Mains()

    def problems(self) -> Iterator[tuple[Location, str]]:
        """Lamps that are too high, and a best one that is none of the street's."""
        for index, lamp in enumerate(self.lamps):
            for at, message in as_far_as_read(self._high(lamp)):
                yield ("lamps", index, *at), message
        if self.best is not None and self.best.name not in {lamp.name for lamp in self.lamps}:
            yield ("best",), f"{self.best.name} is no lamp of this street"

    def _high(self, lamp: Lamp) -> Iterator[tuple[Location, str]]:
        if lamp.height > 9:
            yield ("height",), f"{lamp.name} is too high"


def told(text: str) -> list[str]:
    """What is wrong with a street."""
    with pytest.raises(ConfigError) as refused:
        parse(text, Street, "f")
    return [f"{problem.line} {problem.key}" for problem in refused.value.problems]


def test_what_is_right_beside_what_is_wrong_is_read() -> None:
    """Values keep what they are; what is wrong is not there, not even its default."""
    read = partial(
        Street,
        {"lamps": [{"name": "a", "height": "x"}, {"name": "b", "colour": "red"}], "from": "there"},
        [("lamps", 0, "height")],
    )
    assert (read.origin, read.best, read.supply) == ("there", None, Mains())
    assert read.lamps[1] == Lamp(name="b", colour="red")
    assert (read.lamps[0].name, read.lamps[0].colour) == ("a", None)
    with pytest.raises(UnreadError, match="height"):
        _ = read.lamps[0].height


@pytest.mark.parametrize(
    ("value", "mistake"),
    [
        (None, ()),
        ([], ()),
        ({"lamps": 5}, ("lamps",)),
        ({"lamps": {"name": "a"}}, ("lamps", "name")),
        ({"lamps": [["a"]]}, ("lamps", 0, 0)),
        ({"by_name": {"a": 5}}, ("by_name", "a")),
        ({"best": {"height": 5}}, ("best", "name")),
        ({"supply": {"kind": "gas", "pressure": "x"}}, ("supply", "pressure")),
        ({"supply": 5}, ()),
    ],
)
def test_whatever_is_wrong_something_is_made_of_it(value: object, mistake: Location) -> None:
    """Only who touches it is told."""
    read = partial(Street, value, [mistake])
    with pytest.raises(UnreadError):
        _ = [
            [(lamp.name, lamp.height) for lamp in read.lamps],
            {key: lamp.height for key, lamp in read.by_name.items()},
            read.best and read.best.name,
            read.supply.kind,
        ]


def test_mistakes_of_both_kinds_are_told_at_once() -> None:
    """What a value is by itself, and what does not fit together."""
    assert told("lamps:\n- {name: a, height: 10, colur: red}\n- {name: b, height: x}\n- {height: 11}\n") == [
        "2 lamps[0].colur",
        "2 lamps[0].height",
        "3 lamps[1].height",
        "4 lamps[2].name",
    ]


def test_what_only_follows_is_not_told() -> None:
    """Whether the best lamp is of this street cannot be known while the name of one is not."""
    assert told("lamps:\n- {name: a}\nbest: {name: c}\n") == ["3 best"]
    assert told("lamps:\n- {name: 5}\nbest: {name: c}\n") == ["2 lamps[0].name"]
    assert told("lamps:\n- !!str a\nbest: {name: c}\n") == ["2 lamps[0]"]


@pytest.mark.parametrize(
    ("lines", "mistakes"),
    [
        ("{kind: icpm, address: '::1'}", ["paths[0].kind"]),
        ("{kind: !!str icmp, address: '::1'}", ["paths[0].kind"]),
        ("{kind: 5, address: '::1', dscp: 64}", ["paths[0].dscp", "paths[0].kind"]),
        ("{kind: icmp, address: '::1', dscp: 64}", ["paths[0].dscp"]),
        ("{kind: tcp, address: 'a:1', timeout: 2s, dscp: 64}", ["paths[0].dscp", "paths[0].timeout"]),
        ("{kind: tcp, address: a, dscp: 64}", ["paths[0].address", "paths[0].dscp"]),
        ("{kind: stamp, address: 'a:0', dscp: 64}", ["paths[0].address", "paths[0].dscp"]),
    ],
)
def test_an_address_is_judged_by_its_kind_or_not_at_all(lines: str, mistakes: list[str]) -> None:
    """What an address must be depends on what is probed; of a kind that nobody knows it may be right."""
    lines = lines.replace("}", ", target: t, limits: {round_trip: < 1s}}")
    with pytest.raises(ConfigError) as refused:
        parse(f"site: s\npaths: [{lines}]\n", AgentSettings, "f")
    assert sorted(problem.key for problem in refused.value.problems) == mistakes, refused.value


def test_a_field_that_is_none_is_still_no_attribute() -> None:
    """A slip in our own code is not taken for a mistake in a file."""
    with pytest.raises(AttributeError):
        _ = Lamp(name="a").wattage  # type: ignore[attr-defined]
