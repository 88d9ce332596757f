"""The state folder: its lock, its file system and its ballast."""

import os
from pathlib import Path

import pytest

from andon.foundation.errors import ConfigError
from andon.monitor.store_folder import BALLAST, LOCK, StoreFolder, file_system

_LOCAL = "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"


def test_two_stores_cannot_use_one_folder(tmp_path: Path) -> None:
    with (
        StoreFolder(tmp_path),
        pytest.raises(ConfigError, match=rf"no other process uses, found one in use by process {os.getpid()}\. Stop"),
    ):
        StoreFolder(tmp_path)


def test_the_lock_is_free_after_closing(tmp_path: Path) -> None:
    StoreFolder(tmp_path).close()

    StoreFolder(tmp_path).close()


def test_a_lock_file_of_a_dead_process_does_not_block(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("99999\n")

    StoreFolder(tmp_path).close()


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="the system cannot refuse links")
def test_a_link_in_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    (tmp_path / LOCK).symlink_to(target)

    with pytest.raises(ConfigError, match="cannot store events in this folder"):
        StoreFolder(tmp_path)

    assert target.read_text() == "kept"


def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="Choose a folder on a local disk"):
        StoreFolder(tmp_path / "file" / "state")


# complaint 24: "database is locked" on network shares
@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuseblk", "9p"])
def test_c24_network_and_fuse_file_systems_are_recognised(kind: str) -> None:
    mounts = f"{_LOCAL}\n40 25 0:40 / /mnt/plant\\040share rw - {kind} server:/x rw"

    assert file_system(mounts, "/mnt/plant share/state") == kind
    assert file_system(mounts, "/mnt/plant sharer") == "ext4"
    assert file_system(mounts, "/var/lib/andon") == "ext4"


def test_a_later_mount_hides_an_earlier_one_at_the_same_place() -> None:
    mounts = f"{_LOCAL}\n40 25 0:40 / /data rw - nfs a:/x rw\n41 25 8:2 / /data rw - xfs /dev/sdb rw"

    assert file_system(mounts, "/data/state") == "xfs"


@pytest.mark.parametrize("mounts", ["", "garbage", "a b c - d", "\n\n"])
def test_an_unreadable_list_of_mounts_gives_no_file_system(mounts: str) -> None:
    assert file_system(mounts, "/data") == ""


def test_the_ballast_has_its_size_on_the_disk_and_is_dropped(tmp_path: Path) -> None:
    with StoreFolder(tmp_path) as folder:
        assert folder.make_ballast(1 << 16)
        assert folder.make_ballast(1 << 17)  # a new size replaces it
        assert (tmp_path / BALLAST).stat().st_size == 1 << 17
        if hasattr(os, "posix_fallocate"):
            assert (tmp_path / BALLAST).stat().st_blocks * 512 >= 1 << 17

        folder.drop_ballast()

        assert not (tmp_path / BALLAST).exists()


def test_a_ballast_that_would_fill_the_disk_is_not_made(tmp_path: Path) -> None:
    with StoreFolder(tmp_path) as folder:
        assert not folder.make_ballast(1 << 60)

    assert not (tmp_path / BALLAST).exists()
