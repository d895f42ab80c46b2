"""Malformed configuration files, each with the line, the key and the words that a person is to be given."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType

import pytest
import yaml
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from agent.runtime import yaml_lines
from agent.runtime.exceptions import ConfigError
from agent.runtime.quantities import DurationNs, Endpoint, LimitText, endpoint_with_default_port
from agent.runtime.settings import Settings, parse
from agent.runtime.wording import Accepts
from agent.runtime.yaml_lines import Location

Code = NewType("Code", int)


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise AssertionError(f"{number}\nis even")
    return number


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Declared(Settings):
    source: Literal["declared"]
    bound: DurationNs


class Kernel(Settings):
    source: Literal["kernel", "adjtimex"]
    device: str = ""


class Hook(Settings):
    url: Annotated[str, Field(pattern="^https?://")] = "http://a"
    secret: Annotated[str, Field(pattern="^whsec_")] = "whsec_"
    token_life: DurationNs = 1
    api_keys: tuple[int, ...] = ()


class Road(Settings):
    target: Annotated[str, Field(min_length=1, max_length=10)]
    interval: DurationNs = 1
    limit: LimitText | None = None
    address: Annotated[Endpoint, endpoint_with_default_port(862)] | None = None
    dscp: Annotated[int, Field(ge=0, le=63)] = 0

    @model_validator(mode="after")
    def _own_address(self) -> Road:
        if self.target == "nowhere":
            raise ValueError('"nowhere" is no target')
        return self


class Network(Settings):
    site: str
    listen: Endpoint | None = None
    clock: Annotated[Declared | Kernel, Field(discriminator="source")] | None = None
    clocks: tuple[Annotated[Declared | Kernel, Field(discriminator="source")], ...] = ()
    colour: Colour = Colour.RED
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    enabled: bool = True
    level: Literal["low", "high"] = "low"
    page: Annotated[str, Field(pattern="^https?://"), Accepts("a URL such as https://a")] = "http://a"
    state: Path = Path("state")
    pair: tuple[int, str] | None = None
    either: int | Hook | None = None
    words: Annotated[list[int], BeforeValidator(lambda text: text.split(","))] | None = None
    since: date | None = None
    code: Code | None = None
    odd: Annotated[int, AfterValidator(_odd)] = 1
    tiers: Annotated[dict[Annotated[str, Field(pattern="^[a-z]+$")], Road], Field(max_length=2)] = Field(
        default_factory=dict
    )
    hook: Hook = Hook()
    roads: Annotated[tuple[Road, ...], Field(min_length=1, max_length=3)] = (Road(target="home"),)

    def problems(self) -> Iterator[tuple[Location, str]]:
        for index, road in enumerate(self.roads):
            if road.target == self.site:
                yield ("roads", index, "target"), "leads to where it begins"
            if road.target == "far":
                yield ("roads", index, "limit", "operator"), "far away"


ROAD_KEYS = "address, dscp, interval, limit, target"

CASES: dict[str, tuple[str, list[str]]] = {
    # the file
    "nothing": ("", ["1: the file is empty"]),
    "only a comment": ("# site: a\n", ["1: the file is empty"]),
    "only null": ("---\n~\n", ["1: the file is empty"]),
    "a list": ("\n- site: a\n", ["2: a mapping with the keys site, listen, "]),
    "a word": ("site\n", ["1: a mapping with the keys site, "]),
    "two documents": ("site: a\n---\nsite: b\n", ["2: a second document (---) begins: one is accepted"]),
    "control character": ("site: a\nlisten: \x01\n", ["2: not YAML: the character U+0001 cannot stand"]),
    # what YAML itself does not understand
    "tab": ("roads:\n\t- target: a\n", ["2: not YAML: a tab begins this line; indent with spaces"]),
    "colon in text": ("site: a: b\n", ["1: not YAML: a key where none can be; the indentation is off"]),
    "indented too far": ("site: a\n  listen: b\n", ["2: not YAML: a key where none can be"]),
    "reserved character": (
        "site: @a\n",
        ['1: not YAML: "@" cannot begin a value; write the value in quotes'],
    ),
    "percent": ("site: a\nshare: %5\n", ['2: not YAML: "%" cannot begin a value']),
    "open list": (
        "site: a\npair: [1, 2\n",
        ["2: not YAML: a comma or a closing bracket is missing after the bracket in line 2"],
    ),
    "open mapping": (
        "site: a\nclock: {source: declared\nlisten: b\n",
        ["3: not YAML: a comma or a closing bracket is missing after the bracket in line 2"],
    ),
    "open quote": ('listen: a\nsite: "a\n', ["2: not YAML: the quote that begins here is not closed"]),
    "a mapping in a list": (
        "- site: a\nlisten: b\n",
        ["2: not YAML: this fits neither the indentation nor the kind of the lines from line 1 on"],
    ),
    "text after a quote": ("site: 'a' b\n", ["1: not YAML: this fits neither the indentation"]),
    "bad escape": ('site: "\\q"\n', ["1: not YAML: found unknown escape character"]),
    # what YAML allows and we do not
    "duplicate key": ("site: a\nsite: b\n", ["2: site: the key stands twice, first in line 1"]),
    "duplicate key, quoted": ('site: a\n"site": b\n', ["2: site: the key stands twice, first in line 1"]),
    "duplicate key, deep": (
        "site: a\nroads:\n- target: b\n- target: c\n  dscp: 1\n  dscp: 2\n",
        ["6: roads[1].dscp: the key stands twice, first in line 5"],
    ),
    "duplicate key in braces": (
        "site: a\nclock: {source: kernel, source: declared}\n",
        ["2: clock.source: the key stands twice"],
    ),
    "merge key": (
        "site: a\nhook: &h {url: 'http://b'}\nroads:\n- <<: *h\n  target: b\n",
        ["4: roads[0]: merge keys (<<) are not accepted"],
    ),
    "tag": ("site: !!str 5\n", ['1: site: the tag "!!str" is not accepted']),
    "tag on a key": ("!!str site: a\n", ['1: site: the tag "!!str" is not accepted']),
    "dangerous tag": (
        "site: a\nstate: !!python/object/apply:os.system [ls]\n",
        ['2: state: the tag "!!python/object/apply:os.system"'],
    ),
    "unknown alias": ("site: *s\n", ["1: site: the alias *s stands for nothing: no &s before it"]),
    "recursive alias": (
        "site: a\nroads: &r [*r]\n",
        ["2: roads[0]: the alias *r stands for what it is part of"],
    ),
    "a list as key": (
        "site: a\n? [a, b]\n: 1\n",
        ["2: a key must be a word, not a list, a mapping or an alias"],
    ),
    "an alias as key": (
        "site: &a x\n*a : 1\n",
        ["2: a key must be a word, not a list, a mapping or an alias"],
    ),
    "control character, escaped": (
        'site: "a\\0b"\n',
        ["1: site: the text holds the control character U+0000"],
    ),
    "nested too deeply": (
        "site: " + "[" * 40 + "]" * 40,
        ["1: site" + "[0]" * 31 + ": nested more than 32 deep"],
    ),
    # keys
    "missing key": ("listen: 'a:1'\n", ["1: site: is missing: text"]),
    "missing key, deep": (
        "site: a\nroads:\n- target: b\n-\n  dscp: 1\n",
        ["5: roads[1].target: is missing: text"],
    ),
    "missing duration": (
        "site: a\nclock:\n  source: declared\n",
        ["2: clock.bound: is missing: a duration such as 50us, 200ms, 1s, 5m"],
    ),
    "unknown key": (
        "site: a\nbanana: 1\n",
        ["2: banana: unknown key; accepted: clock, clocks, code, colour, "],
    ),
    "misspelt key": (
        "site: a\nroads:\n- target: b\n  intervall: 1s\n",
        [f"4: roads[0].intervall: unknown key (did you mean interval?); accepted: {ROAD_KEYS}"],
    ),
    "unknown key of a tagged mapping": (
        "site: a\nclock:\n  source: declared\n  bound: 1ms\n  device: x\n",
        ["5: clock.device: unknown key; accepted: bound, source"],
    ),
    "a key named like the tag": (
        "site: a\nclock:\n  source: declared\n  bound: 1ms\n  declared: 1\n",
        ["5: clock.declared: unknown key"],
    ),
    "unknown key in a dict": (
        "site: a\ntiers:\n  city:\n    target: b\n    x: 1\n",
        [f"5: tiers.city.x: unknown key; accepted: {ROAD_KEYS}"],
    ),
    "key that does not fit": (
        "site: a\ntiers:\n  City 1: {target: b}\n",
        ['3: tiers."City 1": "City 1" is not accepted as a key: text that matches ^[a-z]+$'],
    ),
    "empty key": ("site: a\n'': 1\n", ['2: "": unknown key; accepted: ']),
    "key with a line end": ('site: a\n"x\\ny": 1\n', ['2: "x\\ny": unknown key; accepted: ']),
    # values of the wrong kind
    "number for text": ("site: 12\n", ['1: site: "12" is not text: write it in quotes']),
    "truth for text": ("site: true\n", ['1: site: "true" is not text: write it in quotes']),
    "nothing for text": ("site:\n", ["1: site: nothing is not text"]),
    "list for text": ("site: [a]\n", ["1: site: a list is not text"]),
    "mapping for text": ("site: {a: b}\n", ["1: site: a mapping is not text"]),
    "text for a number": (
        "site: a\nroads:\n- {target: b, dscp: ef}\n",
        ['3: roads[0].dscp: "ef" is not a whole number'],
    ),
    "quoted number": (
        "site: a\nroads:\n- {target: b, dscp: '5'}\n",
        ['3: roads[0].dscp: "5" is not a whole number'],
    ),
    "truth for a number": (
        "site: a\nroads:\n- {target: b, dscp: true}\n",
        ['3: roads[0].dscp: "true" is not a whole number'],
    ),
    "fraction for a whole number": (
        "site: a\nroads:\n- {target: b, dscp: 1.5}\n",
        ['3: roads[0].dscp: "1.5" is not a whole number'],
    ),
    "octal": (
        "site: a\nroads:\n- {target: b, dscp: 0777}\n",
        ['3: roads[0].dscp: "0777" is not a whole number'],
    ),
    "underscores": (
        "site: a\nroads:\n- {target: b, dscp: 1_0}\n",
        ['3: roads[0].dscp: "1_0" is not a whole number'],
    ),
    "exponent": ("site: a\nshare: 1e-1\n", ['2: share: "1e-1" is not a number']),
    "not a number": ("site: a\nshare: .nan\n", ['2: share: ".nan" is not a number']),
    "yes": ("site: a\nenabled: yes\n", ['2: enabled: "yes" is not true or false']),
    "on": ("site: a\nenabled: on\n", ['2: enabled: "on" is not true or false']),
    "one for true": ("site: a\nenabled: 1\n", ['2: enabled: "1" is not true or false']),
    "number for a path": ("site: a\nstate: 5\n", ['2: state: "5" is not text: write it in quotes']),
    "mapping for a list": ("site: a\nroads: {target: b}\n", ["2: roads: a mapping is not a list"]),
    "text for a list": ("site: a\nroads: b\n", ['2: roads: "b" is not a list']),
    "nothing for a list": ("site: a\nroads:\n", ["2: roads: nothing is not a list"]),
    "list for a mapping": (
        "site: a\nhook: [1]\n",
        ["2: hook: a list is not a mapping with the keys url, secret, token_life, api_keys"],
    ),
    "text for a mapping": (
        "site: a\nroads:\n- b\n",
        ['3: roads[0]: "b" is not a mapping with the keys target, interval, limit, address, dscp'],
    ),
    "list for a dict": ("site: a\ntiers: []\n", ["2: tiers: a list is not a mapping"]),
    "text for a tagged mapping": (
        "site: a\nclock: declared\n",
        ['2: clock: "declared" is not a mapping with the key source: one of declared, kernel, adjtimex'],
    ),
    "pair of the wrong kinds": (
        "site: a\npair: [b, 1]\n",
        ['2: pair[0]: "b" is not a whole number', '2: pair[1]: "1" is not text: write it in quotes'],
    ),
    "half a pair": ("site: a\npair: [1]\n", ["2: pair[1]: is missing: text"]),
    "neither of two kinds": (
        "site: a\neither: b\n",
        ['2: either: "b" is not a whole number or a mapping with the keys url, '],
    ),
    "either, the mapping": (
        "site: a\neither: {url: 5}\n",
        ["2: either: a mapping is not a whole number", '2: either.url: "5" is not text'],
    ),
    "part of a text": ("site: a\nwords: x\n", ['2: words: "x" is not accepted: a valid integer']),
    "no date": ("site: a\nsince: yesterday\n", ['2: since: "yesterday" is not accepted: ']),
    "no code": ("site: a\ncode: x\n", ['2: code: "x" is not accepted: a valid integer']),
    # words and tags
    "unknown word": ("site: a\ncolour: green\n", ['2: colour: "green" is not one of red, blue']),
    "unknown literal": ("site: a\nlevel: medium\n", ['2: level: "medium" is not one of low, high']),
    "no URL": ("site: a\npage: a/b\n", ['2: page: "a/b" is not accepted: a URL such as https://a']),
    "unknown tag": (
        "site: a\nclock:\n  bound: 1ms\n  source: gps\n",
        ['4: clock.source: "gps" is not one of declared, kernel, adjtimex'],
    ),
    "no tag": (
        "site: a\nclock:\n  bound: 1ms\n",
        ["2: clock.source: is missing: one of declared, kernel, adjtimex"],
    ),
    "tag of the wrong kind": (
        "site: a\nclock: {source: 5}\n",
        ['2: clock.source: "5" is not one of declared, kernel, adjtimex'],
    ),
    "wrong value in a tagged list": (
        "site: a\nclocks:\n- {source: kernel}\n- source: declared\n  bound: 50\n",
        ['5: clocks[1].bound: "50" has no unit'],
    ),
    # bounds
    "too small": (
        "site: a\nroads:\n- {target: b, dscp: -1}\n",
        ['3: roads[0].dscp: "-1" is not accepted: at least 0'],
    ),
    "too large": (
        "site: a\nroads:\n- target: b\n  dscp: 64\n",
        ['4: roads[0].dscp: "64" is not accepted: at most 63'],
    ),
    "not above": ("site: a\nshare: 0\n", ['2: share: "0" is not accepted: more than 0']),
    "not below": ("site: a\nshare: 1\n", ['2: share: "1" is not accepted: less than 1']),
    "far too large": (
        "site: a\nroads:\n- {target: b, dscp: 99999999999999999999}\n",
        ['3: roads[0].dscp: "99999999999999999999" is not a whole number'],
    ),
    "empty text": (
        "site: a\nroads:\n- target: ''\n",
        ['3: roads[0].target: "" is not accepted: at least 1 character'],
    ),
    "long text": (
        "site: a\nroads:\n- target: abcdefghijk\n",
        ['3: roads[0].target: "abcdefghijk" is not accepted: at most 10 characters'],
    ),
    "empty list": ("site: a\nroads: []\n", ["2: roads: has too few entries: at least 1"]),
    "long list": (
        "site: a\nroads: [{target: a}, {target: b}, {target: c}, {target: d}]\n",
        ["2: roads: has too many entries: at most 3"],
    ),
    "only a bad entry": ("site: a\nroads: [{dscp: 1}]\n", ["2: roads[0].target: is missing: text"]),
    "pattern": (
        "site: a\nhook: {url: 'ftp://u:p@h/x?token=1'}\n",
        ['2: hook.url: "ftp://h/…" is not accepted: text that matches ^https?://'],
    ),
    # durations, limits, endpoints
    "no unit": (
        "site: a\nroads:\n- target: b\n  interval: 10\n",
        ['4: roads[0].interval: "10" has no unit: a duration such as 50us, 200ms, 1s, 5m'],
    ),
    "unknown unit": (
        "site: a\nroads:\n- target: b\n  interval: 10 sec\n",
        ['4: roads[0].interval: "10 sec" has the unknown unit sec: ns, us, ms, s, m, h or d'],
    ),
    "sexagesimal": (
        "site: a\nroads:\n- target: b\n  interval: 10:30\n",
        ['4: roads[0].interval: "10:30" is no duration'],
    ),
    "negative duration": (
        "site: a\nroads:\n- target: b\n  interval: -1s\n",
        ['4: roads[0].interval: "-1s" is out of range: more than 0 and at most 400d'],
    ),
    "zero duration": (
        "site: a\nroads:\n- target: b\n  interval: 0ms\n",
        ['4: roads[0].interval: "0ms" is out of range'],
    ),
    "limit without operator": (
        "site: a\nroads:\n- {target: b, limit: 10ms}\n",
        ["3: roads[0].limit: \"10ms\" is no limit: a limit such as '< 1ms' (below) or '<= 10ms' (at most)"],
    ),
    "limit of the wrong side": (
        "site: a\nroads:\n- {target: b, limit: '> 10ms'}\n",
        ['3: roads[0].limit: "> 10ms" is no limit'],
    ),
    "limit without unit": (
        "site: a\nroads:\n- {target: b, limit: < 10}\n",
        ['3: roads[0].limit: "10" has no unit'],
    ),
    "endpoint without port": (
        "site: a\nlisten: 127.0.0.1\n",
        ['2: listen: "127.0.0.1" has no port: HOST:PORT such as'],
    ),
    "endpoint without host": (
        "site: a\nlisten: 9461\n",
        ['2: listen: "9461" is no endpoint: HOST:PORT such as'],
    ),
    "endpoint without brackets": (
        "site: a\nlisten: '::1'\n",
        [
            (
                '2: listen: "::1" is no endpoint: HOST:PORT such as 192.0.2.1:862 or [2001:db8::1]:862; '
                "an IPv6 address needs brackets"
            )
        ],
    ),
    "endpoint with a path": (
        "site: a\nlisten: http://a:80/x\n",
        ['2: listen: "http://a:80/…" is no endpoint'],
    ),
    "port too large": (
        "site: a\nroads:\n- {target: b, address: 'h:65536'}\n",
        ['3: roads[0].address: "h:65536" has a port above 65535'],
    ),
    "endpoint as a mapping": (
        "site: a\nlisten: {host: a, port: 1}\n",
        ["2: listen: a mapping is no endpoint"],
    ),
    # rules of our own
    "rule of a model": ("site: a\nroads:\n- target: nowhere\n", ['3: roads[0]: "nowhere" is no target']),
    "rule of a value": ("site: a\nodd: 2\n", ["2: odd: 2\\nis even"]),
    "rule of the whole": (
        "site: a\nroads:\n- dscp: 1\n  target: a\n",
        ["4: roads[0].target: leads to where it begins"],
    ),
    "rule about a part that is not written": (
        "site: a\nroads:\n- dscp: 1\n  target: far\n  limit: < 1ms\n",
        ["5: roads[0].limit.operator: far away"],
    ),
    # secrets
    "secret": (
        "site: a\nhook: {secret: hunter2hunter2}\n",
        ["2: hook.secret: the value is not accepted: text that matches ^whsec_"],
    ),
    "secret number": (
        "site: a\nhook: {secret: 12345678}\n",
        ["2: hook.secret: the value is not text: write it in quotes"],
    ),
    "secret in a list": (
        "site: a\nhook: {api_keys: [hunter2]}\n",
        ["2: hook.api_keys[0]: the value is not a whole number"],
    ),
    "secret in a message of our own": (
        "site: a\nhook: {token_life: hunter2hunter2}\n",
        ["2: hook.token_life: the value is no duration: a duration such as"],
    ),
    # all at once
    "many": (
        "sitte: a\nshare: 2\ncolour: green\nroads:\n- target: b\n  interval: 1\n- dscp: x\nlisten: a\nlisten: b\n",
        [
            "1: sitte: unknown key (did you mean site?)",
            "1: site: is missing",
            '2: share: "2" is not accepted: less than 1',
            '3: colour: "green" is not one of red, blue',
            '6: roads[0].interval: "1" has no unit',
            "7: roads[1].target: is missing",
            '7: roads[1].dscp: "x" is not a whole number',
            '8: listen: "a" has no port',
            "9: listen: the key stands twice, first in line 8",
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("loader", [yaml.CSafeLoader, yaml.SafeLoader], ids=["libyaml", "python"])
def test_malformed(case: str, loader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every problem is told once, on its line, under its key, with what would be accepted; and no other is."""
    monkeypatch.setattr(yaml_lines, "_Loader", loader)
    text, expected = CASES[case]
    with pytest.raises(ConfigError) as caught:
        parse(text, Network, "f")
    told = str(caught.value).splitlines()
    missed = [fragment for fragment in expected if not any(line.startswith(f"f:{fragment}") for line in told)]
    assert not missed, told
    assert len(told) == len(expected), told
    assert [problem.line for problem in caught.value.problems] == sorted(
        problem.line for problem in caught.value.problems
    )


@pytest.mark.parametrize("case", [case for case in CASES if "secret" in case])
def test_secrets_stay_secret(case: str) -> None:
    """What stands under a key with a secret's name is in no message."""
    text, _ = CASES[case]
    with pytest.raises(ConfigError) as caught:
        parse(text, Network, "f")
    assert "hunter" not in str(caught.value)
    assert "1234" not in str(caught.value)
