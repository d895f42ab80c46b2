"""The credentials file."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from agent.core.authentication import Key, serialise_sender
from agent.core.stamp import SenderPacket
from agent.credentials import load_credentials
from agent.runtime.exceptions import ConfigError

HEX = "000102030405060708090a0b0c0d0e0f"
BASE64 = "ICEiIyQlJicoKSorLC0uLw=="


def credentials(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    """A credentials file with these contents."""
    file = tmp_path / "credentials.yaml"
    file.write_text(text)
    file.chmod(mode)
    return file


def problems(file: Path) -> list[str]:
    """What is wrong with it, a line each."""
    with pytest.raises(ConfigError) as error:
        load_credentials(file)
    return [line.removeprefix(f"{file}:") for line in str(error.value).splitlines()]


def test_keys_are_read(tmp_path: Path) -> None:
    """Hex and base64, one key or two, in their order; an SSID that is not listed has the default."""
    ring = load_credentials(
        credentials(tmp_path, f"keys:\n  default: hex:{HEX}\n  42: [base64:{BASE64}, hex:{HEX}]\n")
    )
    key, other = Key(bytes(range(16))), Key(bytes(range(32, 48)))
    assert ring.keys(0) == ring.keys(7) == (key,)
    assert ring.keys(42) == (other, key)
    packet = serialise_sender(SenderPacket(1, 0xE8FE6F80_80000000, 0x8AD2, 42), ring.keys(42)[1])
    assert packet[96:].hex() == "394ae455be2222ad297b4497caed2624"


def test_no_default_no_keys(tmp_path: Path) -> None:
    """Without a default an SSID that is not listed has no key."""
    ring = load_credentials(credentials(tmp_path, f"keys: {{65535: 'hex:{HEX}'}}"))
    assert ring.keys(65_535)
    assert ring.keys(1) == ()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_others_must_not_have_access(tmp_path: Path, mode: int) -> None:
    """A file that group or others can read, write or run is refused before it is read, with what to do."""
    file = credentials(tmp_path, "not even YAML: [", mode)
    assert problems(file) == [f" others have access to the keys (mode {mode:04o}): chmod 600 {file}"]


def test_owner_may_be_kept_from_writing(tmp_path: Path) -> None:
    """A read-only file, as a service manager hands it over, is fine."""
    assert load_credentials(credentials(tmp_path, f"keys: {{default: 'hex:{HEX}'}}", 0o400)).keys(0)


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is an error of ours and no traceback."""
    assert problems(tmp_path / "none.yaml") == [" cannot be read: No such file or directory"]


def test_all_problems_with_their_lines(tmp_path: Path) -> None:
    """Each mistake is told with its line, and what would be accepted."""
    text = f"""keys:
  default: hex:0001
  7: hex:zz
  8: base64:a
  9: 5
  0: hex:{HEX}
  65536: hex:{HEX}
  042: hex:{HEX}
  12: []
  13: [hex:{HEX}, base64:{BASE64}, hex:{HEX[::-1]}]
  14: {HEX}
  15: {{hex: zz}}
kees: 1
"""
    no_key = "is no key: hex:… or base64:… of at least 16 octets"
    undecodable = "cannot be decoded as what its prefix says"
    no_session = "not default or an SSID (16 bits, not zero)"
    assert problems(credentials(tmp_path, text)) == [
        "2: keys.default: a key of 2 octets is too short: at least 16",
        f"3: keys.7: {undecodable}",
        f"4: keys.8: {undecodable}",
        f"5: keys.9: {no_key}",
        f"6: keys.0: {no_session}",
        f"7: keys.65536: {no_session}",
        f"8: keys.042: {no_session}",
        "9: keys.12: has too few entries: at least 1",
        "10: keys.13: has too many entries: at most 2",
        f"11: keys.14: {no_key}",
        f"12: keys.15: {no_key}",
        "13: kees: unknown key (did you mean keys?); accepted: keys",
    ]


def test_rotation_to_the_same_key(tmp_path: Path) -> None:
    """Two keys that are one are refused."""
    text = f"keys:\n  42: [hex:{HEX}, hex:{HEX.upper()}]\n"
    assert problems(credentials(tmp_path, text)) == ["2: keys.42: both keys are the same"]


@pytest.mark.parametrize(
    "text",
    [
        f"hex:{HEX}",
        f"- hex:{HEX}",
        f"hex:{HEX}: 1",
        f"{HEX}: 1",
        f"keys:\n  hex:{HEX}: 1",
        f"keys:\n  {HEX}: hex:{HEX}",
        f"keys:\n  1: !hex:{HEX} a",
        f"keys:\n  1: *{HEX}",
        f"keys:\n  1: 'hex:{HEX}",
        f"keys:\n  1: hex: {HEX}",
        f"keys:\n  1: hex:{HEX}\n  1: hex:{HEX}",
        f"keys:\n  1: [[hex:{HEX}]]",
        f"keys:\n  1: hex:{HEX}0",
    ],
)
def test_no_message_shows_a_key(tmp_path: Path, text: str) -> None:
    """However a file is wrong, no message and no cause of it holds four digits of the key in a row."""
    with pytest.raises(ConfigError) as error:
        load_credentials(credentials(tmp_path, text))
    assert error.value.__suppress_context__
    shown = str(error.value).replace(str(tmp_path), "")
    assert not [HEX[at : at + 4] for at in range(29) if HEX[at : at + 4] in shown]


def test_damaged_files_show_no_key(tmp_path: Path) -> None:
    """Hundreds of damaged files: each is read, or refused without a word of a key."""
    rng = random.Random(600)
    whole = f"keys:\n  default: hex:{HEX}\n  42: [base64:{BASE64}, hex:{HEX[::-1]}]\n"
    file = credentials(tmp_path, whole)
    for _ in range(500):
        at = rng.randrange(len(whole))
        damage = rng.choice([":", "\n", " ", "[", "'", "!", "*", "&", ",", "\t", "x", ""])
        file.write_text(whole[:at] + damage + whole[at + rng.randrange(3) :])
        try:
            load_credentials(file)
        except ConfigError as error:
            shown = str(error).replace(str(tmp_path), "")
            assert not [HEX[at : at + 6] for at in range(27) if HEX[at : at + 6] in shown]
            assert BASE64[:6] not in shown


def test_ring_has_no_text_of_keys(tmp_path: Path) -> None:
    """What is logged of a ring says which SSIDs have keys and no more."""
    ring = load_credentials(credentials(tmp_path, f"keys: {{7: 'hex:{HEX}'}}"))
    assert f"{ring!r}" == "KeyRing(ssids=[7], default=False)"
    assert os.fspath(tmp_path) not in repr(ring)
