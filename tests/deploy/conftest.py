"""What tests of the installation share: a Debian tree, and the release as the guide packs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.booted import debian
from tests.support.guide import blocks

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tree() -> Iterator[Path]:
    """The tree that machines are booted over."""
    with debian() as root:
        yield root


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the guide's first commands have packed a release: build/isochrone.tar."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("agent", "collector", "deploy", "grafana"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "Makefile"):
        shutil.copy(ROOT / name, checkout)
    (build,) = (block for block in blocks() if block.where == "the build host")
    commands = build.commands.replace("make wheelhouse", f"make wheelhouse PYTHON={sys.executable}")
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return checkout
