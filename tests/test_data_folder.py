"""The data folder: one process holds it, and the others find it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onpace.config.errors import DataFolderBusy, OnPaceError
from onpace.deploy.data_folder import Address, DataFolder, address_of, last_address


def test_the_holder_can_be_found_and_nobody_once_it_is_gone(tmp_path: Path) -> None:
    """Others read its address while it holds the folder, and only then."""
    assert address_of(tmp_path) is None
    with DataFolder(tmp_path) as folder:
        folder.publish(clickhouse="http://127.0.0.1:1", web="http://127.0.0.1:2", kafka="127.0.0.1:3")
        assert address_of(tmp_path) == Address(
            os.getpid(), "http://127.0.0.1:1", "http://127.0.0.1:2", "127.0.0.1:3", None
        )
    assert address_of(tmp_path) is None


def test_a_second_holder_is_told_which_process_has_the_folder(tmp_path: Path) -> None:
    """One line that says what to do."""
    with DataFolder(tmp_path) as folder:
        folder.publish(web="http://127.0.0.1:2")
        with pytest.raises(DataFolderBusy, match=rf"in use by process {os.getpid()}: stop it, or choose another"):
            DataFolder(tmp_path)


def test_a_stack_that_runs_is_not_waited_for(tmp_path: Path) -> None:
    """Only a command that holds the folder for a moment is."""
    with DataFolder(tmp_path) as folder:
        folder.publish(web="http://127.0.0.1:2")
        with pytest.raises(DataFolderBusy):
            DataFolder(tmp_path, patience=3600)


def test_the_folder_remembers_its_kpi_files(tmp_path: Path) -> None:
    """Whoever holds it next and names none keeps them."""
    DataFolder(tmp_path, kpis=tmp_path / "kpis").close()
    DataFolder(tmp_path).close()
    last = last_address(tmp_path)
    assert last is not None
    assert last.kpis == str(tmp_path / "kpis")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """Not a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(OnPaceError, match="choose another with --data"):
        DataFolder(tmp_path / "file" / "inner")


def test_a_damaged_lock_file_is_nobody(tmp_path: Path) -> None:
    """What a crash left half written."""
    (tmp_path / "onpace.lock").write_text('{"pid": 1, "clickh')
    assert last_address(tmp_path) is None
    with DataFolder(tmp_path):
        assert address_of(tmp_path) is not None
