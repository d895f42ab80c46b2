"""The lock beside a state file; that it holds between processes and dies with them is shown in test_program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collector.store.exceptions import StoreError
from collector.store.lock import held_alone


def test_a_state_file_has_one_collector_at_a_time(tmp_path: Path) -> None:
    """The second is told who has it; afterwards it may have it."""
    file = tmp_path / "state.sqlite"
    told = rf"state.sqlite is used by another collector \(pid {os.getpid()}\)$"
    with held_alone(file):
        with pytest.raises(StoreError, match=told), held_alone(file):
            pass
        with pytest.raises(StoreError, match=told), held_alone(file):
            pass  # who was refused has not loosened it
    with held_alone(file):
        pass


def test_another_name_of_the_file_is_no_way_around(tmp_path: Path) -> None:
    """A symbolic link leads to the same lock, also from another folder."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link = folder / "other.sqlite"
    link.symlink_to(tmp_path / "state.sqlite")
    refused = pytest.raises(StoreError, match=r"other\.sqlite is used")
    with held_alone(tmp_path / "state.sqlite"), refused, held_alone(link):
        pass


def test_the_state_file_itself_is_not_touched(tmp_path: Path) -> None:
    """It is neither made nor opened: a descriptor of it, closed, would take SQLite's locks with it."""
    with held_alone(tmp_path / "state.sqlite"):
        assert [file.name for file in tmp_path.iterdir()] == ["state.sqlite.lock"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """As a problem of the configuration, not as a traceback."""
    refused = pytest.raises(StoreError, match=r"nowhere/state\.sqlite\.lock: No such file or directory")
    with refused, held_alone(tmp_path / "nowhere" / "state.sqlite"):
        pass


def test_a_full_disk_keeps_nobody_from_locking(tmp_path: Path) -> None:
    """Only who has it cannot be told: nothing that is written to this device finds room."""
    (tmp_path / "state.sqlite.lock").symlink_to("/dev/full")
    with held_alone(tmp_path / "state.sqlite"):
        pass
