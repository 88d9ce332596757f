"""A file is the old one or the whole new one."""

import os
import stat
from pathlib import Path

import pytest

from andon.runtime import ConfigError
from andon.runtime.atomic import write_atomically


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b.onnx", b"new")

    assert (tmp_path / "a" / "b.onnx").read_bytes() == b"new"


def test_an_old_file_is_replaced_and_nothing_else_left(tmp_path: Path) -> None:
    (tmp_path / "b.onnx").write_bytes(b"old")

    write_atomically(tmp_path / "b.onnx", b"new")

    assert [path.name for path in tmp_path.iterdir()] == ["b.onnx"]
    assert (tmp_path / "b.onnx").read_bytes() == b"new"


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.onnx").write_bytes(b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
        write_atomically(tmp_path / "b.onnx", b"new")

    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_an_interrupt_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "b.onnx", b"new")

    assert list(tmp_path.iterdir()) == []


def test_a_folder_where_a_file_stands_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ConfigError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "b.onnx", b"new")


@pytest.mark.skipif(os.name == "nt", reason="no umask")
def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "b.onnx", b"new")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "b.onnx").stat().st_mode) == 0o640
