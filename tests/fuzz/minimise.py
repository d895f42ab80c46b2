"""`python -m tests.fuzz.minimise`: keeps of build/fuzz what reaches more than the corpus, drops what reaches nothing.

Inputs that a person has given a name stay, whatever they reach: they show the format, or have broken their target once.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path
from typing import Final

import coverage

from tests.fuzz.__main__ import BUILD
from tests.fuzz.targets import CORPORA, TARGETS, Target, corpus

_MEASURED: Final = ["agent", "collector"]
_LONGEST: Final = 2_048
"""Octets of an input that a fuzzer made."""
_NAME_DIGITS: Final = 12
_NAME: Final = re.compile(f"[0-9a-f]{{{_NAME_DIGITS}}}")

Arcs = frozenset[tuple[str, int, int]]
"""File and two lines, of which the second was run right after the first."""


def main() -> int:
    """Minimise the corpora of the chosen targets."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.minimise", description=__doc__)
    parser.add_argument("target", nargs="*", choices=[[], *TARGETS], default=[], help="default: all")
    for name in parser.parse_args().target or TARGETS:
        kept = _minimised(name)
        print(f"{name:18} {kept:>4} inputs", flush=True)
    return 0


def _minimised(name: str) -> int:
    """Minimise one corpus; how many inputs it has."""
    target, folder = TARGETS[name], CORPORA / name
    target(b"")  # what is done only once belongs to no input
    given = {path for path in corpus(name) if not _NAME.fullmatch(path.name)}
    reached = {arc for path in given for arc in _arcs(target, path.read_bytes())}
    for path in _others(name, given):
        data = path.read_bytes()
        arcs = _arcs(target, data)
        if arcs <= reached:
            if path.parent == folder:
                path.unlink()
            continue
        reached |= arcs
        if path.parent != folder:
            (folder / hashlib.sha256(data).hexdigest()[:_NAME_DIGITS]).write_bytes(data)
    return len(corpus(name))


def _others(name: str, given: set[Path]) -> list[Path]:
    """Inputs that the fuzzer made, by their length: what a short one reaches, no long one need be kept for."""
    fresh = BUILD / name
    paths = {path for path in corpus(name) if path not in given}
    if fresh.is_dir():
        paths |= {path for path in fresh.iterdir() if "-" not in path.name}  # none that broke the target
    sizes = {path: path.stat().st_size for path in paths}
    return sorted(
        (path for path in paths if sizes[path] <= _LONGEST), key=lambda path: (sizes[path], path.name)
    )


def _arcs(target: Target, data: bytes) -> Arcs:
    """What an input reaches."""
    measured = coverage.Coverage(data_file=None, branch=True, source=_MEASURED, messages=False)
    measured.start()
    try:
        target(data)
    finally:
        measured.stop()
    result = measured.get_data()
    return frozenset(
        (file, first, second) for file in result.measured_files() for first, second in result.arcs(file) or ()
    )


if __name__ == "__main__":
    sys.exit(main())
