"""`make fuzz`: looks for inputs that break a parser, guided by the branches they reach; stops by itself.

What it finds on its way is kept in build/fuzz and built upon in the next run; an input that breaks a target is written
to build/fuzz/TARGET/crash-… and belongs, once the bug is mended, into tests/data/fuzz/TARGET.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Final

BUILD: Final = Path("build/fuzz")
_SECONDS: Final = 60
_LONGEST_INPUT: Final = 16_384
_SLOW_S: Final = 10
_DONE: Final = re.compile(r"#(\d+)\s+DONE\s+cov: (\d+)")
_INSTRUMENTED: Final = ["agent", "collector"]


def main() -> int:
    """Fuzz the chosen targets one after the other, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help="default: all")
    parser.add_argument("--seconds", type=int, default=_SECONDS, help=f"for each target (default {_SECONDS})")
    parser.add_argument("--alone", action="store_true", help="one target, in this process")
    chosen = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is needed: pip install -e '.[dev,fuzz]', or make fuzz", file=sys.stderr)
        return 2
    if chosen.alone:
        _fuzz(chosen.target[0], chosen.seconds)
    from tests.fuzz.targets import TARGETS

    unknown = [name for name in chosen.target if name not in TARGETS]
    if unknown:
        print(f"no such target: {', '.join(unknown)}; there are: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    broken: list[str] = []
    for name in chosen.target or TARGETS:
        try:
            TARGETS[name](b"")
        except PermissionError as error:
            print(f"{name:18} left out: {error}", flush=True)
            continue
        if not _watched(name, chosen.seconds):
            broken.append(name)
    if broken:
        print(f"broken: {', '.join(broken)}; the inputs lie in {BUILD}")
    return 1 if broken else 0


def _watched(name: str, seconds: int) -> bool:
    """Fuzz one target in another process and print a line of what came of it; whether nothing broke it."""
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(seconds), "--alone"]
    log = BUILD / f"{name}.log"
    with log.open("wb") as output:
        ended = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    said = log.read_text(errors="replace")
    done = _DONE.search(said)
    if ended.returncode == 0 and done is not None:
        print(f"{name:18} {int(done[1]):>10,} inputs, {int(done[2]):>5,} branches", flush=True)
        return True
    print(f"{name:18} broken: see {log}", flush=True)
    return False


def _fuzz(name: str, seconds: int) -> None:
    """Fuzz one target; ends the process."""
    import atheris

    with atheris.instrument_imports(include=_INSTRUMENTED):
        from tests.fuzz.targets import CORPORA, TARGETS
    warnings.simplefilter("error")
    folder = BUILD / name
    options = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={folder}/",
        f"-max_len={_LONGEST_INPUT}",
        f"-timeout={_SLOW_S}",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(folder), str(CORPORA / name)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
