"""The reflector's part of the configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.core.admission import PacketRate
from agent.reflector_settings import ReflectorSettings
from agent.runtime.exceptions import ConfigError
from agent.runtime.settings import load, parse
from agent.settings import AgentSettings


def reflector(text: str) -> ReflectorSettings:
    """What an agent reads of this."""
    found = read(text).reflector
    assert found is not None
    return found


def read(text: str) -> AgentSettings:
    """An agent's file with such a reflector."""
    return parse(
        f"site: wuhan\nreflector: {{listen: [127.0.0.1, '[::1]:8620'], {text}}}\n", AgentSettings, "a.yaml"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "reflector: {listen: ['0.0.0.0', 127.0.0.1], allow: [10.0.0.0/8]}",
            "reflector.listen: 127.0.0.1:862 is listened",
        ),
        (
            "reflector: {listen: [127.0.0.1, 127.0.0.1], allow: [10.0.0.0/8]}",
            "127.0.0.1:862 is listened at twice, by UDP",
        ),
        (
            "listen: 0.0.0.0:1\nthroughput: {listen: [127.0.0.1:1], allow: [10.0.0.0/8], token_file: t}",
            "throughput.listen: 127.0.0.1:1 is listened at twice, by TCP",
        ),
    ],
)
def test_what_could_not_be_listened_at_is_refused(text: str, said: str) -> None:
    """The agent would not start, and only then say so."""
    with pytest.raises(ConfigError) as refused:
        parse(f"site: wuhan\n{text}\n", AgentSettings, "a.yaml")
    assert said in str(refused.value)


def test_everything_but_the_list_has_a_default() -> None:
    """Limits that no peer of the usual kind meets, and a share of the CPU."""
    made = reflector("allow: [10.0.0.0/8]")
    rules = made.rules()
    assert [str(network) for network in rules.allow] == ["10.0.0.0/8"]
    assert (rules.per_source, rules.overall) == (PacketRate(2_000, 400), PacketRate(60_000, 6_000))
    assert (made.max_sessions, made.cpu, list(rules.twamp_light)) == (65_536, 50, [])
    assert (made.credentials, made.dscp, made.keys(Path())) == (None, (), None)


def test_everything_can_be_said() -> None:
    """In the words of the documentation."""
    made = reflector(
        "allow: [10.0.0.0/8, '::1'], sessions: stateless, max_sessions: 1000, cpu: 25%, twamp_light: [10.1.0.0/16], "
        "credentials: keys.yaml, dscp: [10, 46], "
        "rate: {per_source: 100/s, burst: 20, global: 5000/s, global_burst: 500}"
    )
    rules = made.rules()
    assert (rules.per_source, rules.overall) == (PacketRate(100, 20), PacketRate(5_000, 500))
    assert [str(network) for network in rules.twamp_light] == ["10.1.0.0/16"]
    assert (made.sessions, made.max_sessions, made.cpu) == ("stateless", 1000, 25)
    assert (str(made.credentials), made.dscp) == ("keys.yaml", (10, 46))


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (
            "",
            "reflector.allow",
            "nobody would be answered: list all networks that may probe this agent, such as",
        ),
        ("allow: []", "reflector.allow", "nobody would be answered"),
        ("allow: [10.0.0.1/8]", "reflector.allow[0]", "the network is 10.0.0.0/8"),
        (
            "allow: [10.0.0.0/8], twamp_light: [10.1.1.1, 11.0.0.0/8]",
            "reflector.twamp_light[1]",
            "is in no network",
        ),
        ("allow: ['::/0'], twamp_light: [10.1.1.1]", "reflector.twamp_light[0]", "is in no network"),
        ("allow: [10.0.0.0/8], twamp_light: [0.0.0.0/0]", "reflector.twamp_light[0]", "is in no network"),
        ("allow: [10.0.0.0/8], rate: {global: 5}", "reflector.rate.global", "is no rate"),
        ("allow: [10.0.0.0/8], rate: {overall: 5/s}", "reflector.rate.overall", "unknown key"),
        ("allow: [10.0.0.0/8], rate: {burst: 1}", "reflector.rate.burst", "at least 2"),
        ("allow: [10.0.0.0/8], cpu: 50", "reflector.cpu", "is no share"),
        ("allow: [10.0.0.0/8], dscp: [64]", "reflector.dscp[0]", "at most 63"),
        ("credentials: keys.yaml, twamp_light: [10.1.1.1]", "reflector.twamp_light[0]", "is in no network"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, key: str, message: str) -> None:
    """File, line, key path, and what would be accepted."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert [(problem.line, problem.key) for problem in caught.value.problems] == [(2, key)]
    assert message in caught.value.problems[0].message


def test_what_is_probably_not_meant() -> None:
    """Everybody, and an address on which nobody of its family is allowed."""
    assert list(read("allow: [0.0.0.0/0]").warnings()) == [
        "reflector.allow[0]: 0.0.0.0/0 is everybody, and sources are easily made up",
        "reflector.listen[1]: [::1]:8620 answers nobody: allow has no network of IPv6",
    ]
    assert list(read("allow: [127.0.0.1, '::1']").warnings()) == []
    assert list(read("credentials: keys.yaml").warnings()) == []


def test_credentials_stand_beside_the_file_and_are_read_with_it(tmp_path: Path) -> None:
    """Keys open the door as well as a list; what is wrong with their file is said at the key that names it, once."""
    config, credentials = tmp_path / "agent.yaml", tmp_path / "keys.yaml"
    config.write_text("site: wuhan\nreflector:\n  listen: [127.0.0.1]\n  credentials: keys.yaml\n")
    credentials.write_text("keys: {7: 'hex:000102030405060708090a0b0c0d0e0f'}\n")
    for mode, text, message in (
        (0o600, "keys: {7: 'hex:00'}\n", "keys.yaml:1: keys.7"),
        (0o644, None, "others have access to the keys"),
    ):
        credentials.chmod(mode)
        whole = credentials.read_text()
        credentials.write_text(text or whole)
        with pytest.raises(ConfigError) as caught:
            load(config, AgentSettings)
        (problem,) = caught.value.problems
        assert (problem.line, problem.key) == (4, "reflector.credentials")
        assert message in problem.message
        credentials.write_text(whole)
    credentials.chmod(0o600)
    settings = load(config, AgentSettings).reflector
    assert settings is not None
    ring = settings.keys(tmp_path)
    assert ring is not None
    assert len(ring.keys(7)) == 1
