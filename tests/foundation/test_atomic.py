"""A file is the old one or the whole new one, and nothing but a file is ever replaced."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from andon.foundation.atomic import write_atomically
from andon.runtime import ConfigError


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


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the address of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


def _device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root may make devices")


_OTHER_THINGS: dict[str, Callable[[Path], None]] = {
    "a folder": Path.mkdir,
    "a named pipe": os.mkfifo,
    "a socket": _socket,
    "a device": _device,
}


@pytest.mark.skipif(os.name == "nt", reason="no pipes and devices among files")
@pytest.mark.parametrize("linked", [False, True], ids=["itself", "through a link"])
@pytest.mark.parametrize("kind", _OTHER_THINGS)
def test_what_exists_and_is_not_a_regular_file_is_refused_and_left_alone(
    tmp_path: Path, kind: str, linked: bool
) -> None:
    thing = target = tmp_path / "thing"
    _OTHER_THINGS[kind](thing)
    if linked:
        target = tmp_path / "link"
        target.symlink_to("thing")
    before = thing.lstat()

    with pytest.raises(
        ConfigError, match=rf"{target.name}: expected a regular file or a new name, got {kind}\. Choose"
    ):
        write_atomically(target, b"new")

    after = thing.lstat()
    assert (after.st_mode, after.st_ino, after.st_rdev) == (before.st_mode, before.st_ino, before.st_rdev)
    assert {path.name for path in tmp_path.iterdir()} == {"thing", target.name}


def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "7.onnx").write_bytes(b"old")
    (tmp_path / "middle.onnx").symlink_to("models/7.onnx")
    (tmp_path / "current.onnx").symlink_to(tmp_path / "middle.onnx")

    write_atomically(tmp_path / "current.onnx", b"new")

    assert (tmp_path / "current.onnx").is_symlink()
    assert (tmp_path / "middle.onnx").is_symlink()
    assert [path.read_bytes() for path in (tmp_path / "models").iterdir()] == [b"new"]


def test_a_dangling_link_gets_its_target_where_the_folder_of_the_target_exists(tmp_path: Path) -> None:
    (tmp_path / "current.onnx").symlink_to("7.onnx")

    write_atomically(tmp_path / "current.onnx", b"new")

    assert (tmp_path / "current.onnx").is_symlink()
    assert (tmp_path / "7.onnx").read_bytes() == b"new"


def test_a_dangling_link_into_a_folder_that_is_gone_is_refused(tmp_path: Path) -> None:
    """Do not create the folder: it may be a disk that is not mounted, and the file would be hidden below the mount."""
    (tmp_path / "current.onnx").symlink_to("usb/7.onnx")

    with pytest.raises(ConfigError, match=r"current\.onnx: cannot be written"):
        write_atomically(tmp_path / "current.onnx", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["current.onnx"]


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")

    with pytest.raises(ConfigError, match=r"loop\.onnx: cannot be written"):
        write_atomically(tmp_path / "loop.onnx", b"new")
    assert (tmp_path / "loop.onnx").is_symlink()


@pytest.mark.skipif(os.name == "nt", reason="no such modes")
@pytest.mark.parametrize("mode", [0o640, 0o600, 0o664])
def test_a_file_that_is_replaced_keeps_who_may_read_it(tmp_path: Path, mode: int) -> None:
    (tmp_path / "b.onnx").write_bytes(b"old")
    (tmp_path / "b.onnx").chmod(mode)

    write_atomically(tmp_path / "b.onnx", b"new")

    assert stat.S_IMODE((tmp_path / "b.onnx").stat().st_mode) == mode


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_a_file_that_is_replaced_keeps_its_owner(tmp_path: Path) -> None:
    (tmp_path / "b.onnx").write_bytes(b"old")
    os.chown(tmp_path / "b.onnx", 1234, 5678)

    write_atomically(tmp_path / "b.onnx", b"new")

    found = (tmp_path / "b.onnx").stat()
    assert (found.st_uid, found.st_gid) == (1234, 5678)


@pytest.mark.skipif(not hasattr(os, "fchown"), reason="files have no such owner here")
def test_a_file_of_somebody_else_is_replaced_even_where_its_owner_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b.onnx").write_bytes(b"old")

    def forbidden(handle: int, user: int, group: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", forbidden)
    write_atomically(tmp_path / "b.onnx", b"new")

    assert (tmp_path / "b.onnx").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["x" * 250 + ".onnx", "é" * 125 + ".onnx"])
def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, b"new")

    assert [path.name for path in tmp_path.iterdir()] == [name]
