"""Configuration files that are right, and the ways in which a file can be unreadable."""

from __future__ import annotations

import os
import re
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from agent.core.outcome import Limit, Operator
from agent.runtime import settings as module
from agent.runtime.exceptions import ConfigError, IsochroneError, Problem
from agent.runtime.quantities import DurationNs, Endpoint, LimitText, endpoint_with_default_port
from agent.runtime.settings import Settings, load, parse


class Mode(Enum):
    STATEFUL = "stateful"


class Road(Settings):
    target: str
    interval: DurationNs = 5
    limit: LimitText | None = None
    address: Annotated[Endpoint, endpoint_with_default_port(862)] | None = None


class Declared(Settings):
    source: Literal["declared"]
    bound: DurationNs


class Kernel(Settings):
    source: Literal["kernel"] = "kernel"


class Network(Settings):
    site: str = "home"
    lat: float = 0.0
    enabled: bool = True
    state: Path = Path("state")
    mode: Mode | None = None
    listen: Endpoint | None = None
    clock: Annotated[Declared | Kernel, Field(discriminator="source")] = Kernel()
    roads: tuple[Road, ...] = ()
    names: dict[str, str] = Field(default_factory=dict)
    numbers: frozenset[int] = frozenset()


class Aliased(Settings):
    origin: str = Field(alias="from")


def test_everything(tmp_path: Path) -> None:
    """A file becomes a model of exact values."""
    file = tmp_path / "f.yaml"
    file.write_text(
        "site: 武汉\nlat: 30\nenabled: false\nstate: a.sqlite\nmode: stateful\nlisten: '[::1]:9461'\n"
        "clock: {source: declared, bound: 50us}\nnumbers: [2, 1, 2]\nnames: {zh: 武汉}\n"
        "roads:\n- {target: a, interval: 1.5ms, limit: < 1ms, address: h}\n- target: b\n  address: h:1\n"
    )
    assert load(file, Network) == Network(
        site="武汉",
        lat=30.0,
        enabled=False,
        state=Path("a.sqlite"),
        mode=Mode.STATEFUL,
        listen=Endpoint("::1", 9461),
        clock=Declared(source="declared", bound="50us"),
        numbers=frozenset({1, 2}),
        names={"zh": "武汉"},
        roads=(
            Road(
                target="a",
                interval="1.5ms",
                limit=Limit(1_000_000, Operator.BELOW),
                address=Endpoint("h", 862),
            ),
            Road(target="b", address=Endpoint("h", 1)),
        ),
    )


def test_settings_never_change() -> None:
    """A model that was read cannot be changed."""
    with pytest.raises(ValidationError):
        parse("site: a", Network, "f").site = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    "word", ["on", "off", "yes", "No", "y", "10:30", "0777", "0x10", "1e3", "2024-05-01", ".5"]
)
def test_words_stay_words(word: str) -> None:
    """What YAML 1.1 would turn into truth, numbers or dates stays the text it is."""
    assert parse(f"site: {word}", Network, "f").site == word


def test_aliases() -> None:
    """An alias stands for what was anchored, and a mistake in it is told where it was written."""
    assert parse("names: &n {zh: a}\nsite: b\nroads: []", Network, "f").names == {"zh": "a"}
    both = parse("roads:\n- &r {target: a}\n- *r\n", Network, "f").roads
    assert both == (Road(target="a"), Road(target="a"))
    with pytest.raises(ConfigError) as caught:
        parse("roads:\n- &r\n  target: a\n  interval: 5\n- *r\n- target: b\n", Network, "f")
    assert [(problem.line, problem.key) for problem in caught.value.problems] == [
        (4, "roads[0].interval"),
        (4, "roads[1].interval"),
    ]


def test_aliases_are_bounded() -> None:
    """A small file of aliases of aliases cannot mean a huge one."""
    laughs = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    laughs += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    with pytest.raises(ConfigError, match=r"f:5: a4\S*: the aliases stand for more than 100000 values"):
        parse("\n".join(laughs), Network, "f")


def test_alias_of_a_field() -> None:
    """A field whose name is no word of Python is known by the key it has in the file."""
    assert parse("from: a", Aliased, "f").origin == "a"
    with pytest.raises(ConfigError, match=r"f:1: form: unknown key \(did you mean from\?\); accepted: from"):
        parse("form: a", Aliased, "f")


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not there, no file, too large or no text is named, with the reason."""
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file or directory\Z"):
        load(tmp_path / "none.yaml", Network)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, Network)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"site: a\nlat: \xff\n")
    with pytest.raises(ConfigError, match=r"binary\.yaml:2: not UTF-8: octet 0xff"):
        load(binary, Network)
    monkeypatch.setattr(module, "_MAX_FILE_OCTETS", 3)
    with pytest.raises(ConfigError, match="larger than"):
        load(binary, Network)


def test_forbidden_file(tmp_path: Path) -> None:
    """A file that may not be read is named, with the reason."""
    file = tmp_path / "f.yaml"
    file.touch(mode=0)
    user = os.geteuid()
    if user == 0:  # root may read everything
        os.seteuid(65_534)
    try:
        with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
            load(file, Network)
    finally:
        os.seteuid(user)


def test_byte_order_mark(tmp_path: Path) -> None:
    """A byte order mark, as some editors leave it, is no part of the first key."""
    file = tmp_path / "f.yaml"
    file.write_bytes(b"\xef\xbb\xbfsite: a\r\nlat: 1\r\n")
    assert load(file, Network) == Network(site="a", lat=1)


def test_error_carries_its_problems() -> None:
    """The error holds every problem in the order of lines, and is one line of text for each."""
    error = ConfigError(
        [Problem("f", 3, "b", "bad"), Problem("f", 0, "", "worse"), Problem("f", 1, "", "odd")]
    )
    assert [problem.line for problem in error.problems] == [0, 1, 3]
    assert str(error) == "f: worse\nf:1: odd\nf:3: b: bad"
    assert isinstance(error, IsochroneError)


def _refusal(text: str) -> ConfigError | None:
    try:
        parse(text, Network, "f")
    except ConfigError as error:
        return error
    return None


_INDENTED = st.recursive(
    st.sampled_from(
        ["a", "5", "1ms", "'", "[", "]", "{", "}", "*x", "&x", "|", "!!str", "", "on", "\t", "# c", "武"]
    ),
    lambda inner: st.builds(
        lambda keys, values: "\n".join(
            f"{key}: {value}"
            if "\n" not in value and ":" not in value
            else f"{key}:\n  " + value.replace("\n", "\n  ")
            for key, value in zip(keys, values, strict=False)
        ),
        st.lists(
            st.sampled_from(
                ["site", "roads", "clock", "names", "target", "- target", "source", "x", "<<", "? "]
            )
        ),
        st.lists(inner, max_size=4),
    ),
)


@given(st.text() | _INDENTED | st.text(alphabet="abc:-[]{}&*!|>'\"%@`#?, \n\t\\0\x85\ud800"))
def test_any_text(text: str) -> None:
    """Whatever a file holds, it is read or refused, with at least one problem and one line of text for each."""
    error = _refusal(text)
    if error is None:
        return
    assert error.problems
    assert len(str(error).split("\n")) == len(error.problems)
    assert str(error).replace("\n", "").isprintable()
    lines = len(re.findall("[\n\r\x85\u2028\u2029]", text)) + 1
    assert all(1 <= problem.line <= lines for problem in error.problems)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*Network.model_fields, "target", "bound", "source", "5"]), inner, max_size=4
            )
        ),
    )
)
def test_any_structure(value: Any) -> None:
    """Whatever stands where something else is expected, it is read or refused, in words that are not pydantic's."""
    error = _refusal(yaml.safe_dump(value, allow_unicode=True))
    assert "nput should" not in str(error)


@given(
    st.builds(
        Network,
        site=st.text(st.characters(codec="utf-8", exclude_categories=["C"])),
        lat=st.floats(-90, 90).map(lambda lat: round(lat, 30)),
    )
)
def test_round_trip(settings: Network) -> None:
    """What a YAML writer has written is read as the same."""
    text = yaml.safe_dump({"site": settings.site, "lat": settings.lat}, allow_unicode=True)
    assert parse(text, Network, "f") == settings


def test_names_of_what_was_written_down_are_shared() -> None:
    """A thousand entries with the same keys know which those are, and remember them once; a changed copy its own."""

    class Named(Settings):
        name: str
        size: int = 1

    first, second = (Named(name=name) for name in "ab")
    assert first.model_fields_set is second.model_fields_set
    assert first.model_fields_set == {"name"}
    assert first.model_copy(update={"size": 2}).model_fields_set == {"name", "size"}
    assert second.model_fields_set == {"name"}
