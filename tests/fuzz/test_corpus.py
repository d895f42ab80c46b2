"""Every kept input, and inputs near them, against every target: what a fuzzing run found stays found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.mutation import mutants
from tests.fuzz.targets import CORPORA, TARGETS, corpus
from tests.support.requirements import require_ipv6, require_root

_MUTANTS = 300
_SEED = 8762
_MAX_OCTETS = 300_000


def _require(target: str) -> None:
    if target.endswith("-session") and target.startswith("icmp"):
        require_root()
    if target == "icmpv6-session":
        require_ipv6()


@pytest.mark.parametrize("target", TARGETS)
def test_kept_inputs_break_nothing(target: str) -> None:
    """No input of the corpus breaks its target, an empty one neither."""
    _require(target)
    TARGETS[target](b"")
    for path in corpus(target):
        TARGETS[target](path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_inputs_near_the_kept_ones_break_nothing(target: str) -> None:
    """Some hundred seeded mutants of the corpus, the same ones in every run."""
    _require(target)
    for mutant in mutants([path.read_bytes() for path in corpus(target)], _MUTANTS, _SEED):
        TARGETS[target](mutant)


def test_the_corpora_are_small_and_belong_to_targets() -> None:
    """Each target has inputs, each folder a target, and all of them are less than a clone would notice."""
    assert {folder.name for folder in CORPORA.iterdir()} == set(TARGETS)
    files: list[Path] = [path for target in TARGETS for path in corpus(target)]
    assert all(corpus(target) for target in TARGETS)
    assert sum(path.stat().st_size for path in files) < _MAX_OCTETS
