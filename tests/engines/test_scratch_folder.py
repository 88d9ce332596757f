"""Scratch folders: removed at the end, and those of killed processes by the next process. All others stay."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from andon.engines.scratch_folder import LOCK, remove_left_folders, scratch_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="nothing is removed on Windows")

PREFIX = "scratch-test-"
OWNER = """
import sys
from pathlib import Path
from andon.engines.scratch_folder import scratch_folder
with scratch_folder(sys.argv[1], Path(sys.argv[2])) as folder:
    (folder / "log").write_text("some content")
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def owner(parent: Path) -> Iterator[tuple[Path, "subprocess.Popen[str]"]]:
    """Yield a folder that another process owns, and the process."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, PREFIX, str(parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield Path(process.stdout.readline().strip()), process
        finally:
            process.kill()


def left_by_a_killed_process(parent: Path) -> Path:
    with owner(parent) as (folder, _):
        pass
    assert (folder / "log").exists()
    return folder


def test_the_folder_is_removed_at_the_end_also_after_an_error(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        assert folder.is_dir()
        assert folder.stat().st_mode & 0o077 == 0
        raise RuntimeError

    with pytest.raises(RuntimeError), scratch_folder(PREFIX, tmp_path) as folder:
        fail(folder)

    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_killed_process_is_removed_by_the_next_one(tmp_path: Path) -> None:
    left = left_by_a_killed_process(tmp_path)

    with scratch_folder(PREFIX, tmp_path) as own:
        assert [path.name for path in tmp_path.iterdir()] == [own.name]
    assert not left.exists()


def test_the_folder_of_a_process_that_lives_stays_whatever_number_its_name_has(tmp_path: Path) -> None:
    with owner(tmp_path) as (folder, _):
        renamed = folder.rename(tmp_path / f"{PREFIX}1-x")

        assert remove_left_folders(PREFIX, tmp_path) == []
        assert (renamed / "log").exists()


def test_a_free_lock_counts_and_not_the_number_of_the_process(tmp_path: Path) -> None:
    # as if another process had got the number of the killed owner
    left = left_by_a_killed_process(tmp_path).rename(tmp_path / f"{PREFIX}{os.getpid()}-x")

    assert remove_left_folders(PREFIX, tmp_path) == [left]


def test_a_folder_stays_while_a_process_works_in_it(tmp_path: Path) -> None:
    left = left_by_a_killed_process(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", "print(1, flush=True); input()", f"--session={left}/s"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        kept = remove_left_folders(PREFIX, tmp_path)
        worker.kill()

    assert kept == ([] if Path("/proc/self").exists() else [left])


def test_what_is_not_an_own_left_folder_stays(tmp_path: Path) -> None:
    precious = left_by_a_killed_process(tmp_path).rename(tmp_path / "precious")
    (tmp_path / f"{PREFIX}link").symlink_to(precious)
    (tmp_path / f"{PREFIX}file").write_text("a file")
    (tmp_path / f"{PREFIX}without-lock").mkdir(mode=0o700)
    linked = tmp_path / f"{PREFIX}linked-lock"
    linked.mkdir(mode=0o700)
    (linked / LOCK).symlink_to(precious / LOCK)
    writable = left_by_a_killed_process(tmp_path)
    writable.chmod(0o777)
    before = sorted(tmp_path.rglob("*"))

    assert remove_left_folders(PREFIX, tmp_path) == []
    assert sorted(tmp_path.rglob("*")) == before


def test_links_in_a_left_folder_are_removed_and_not_their_targets(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target/file").write_text("kept")
    left = left_by_a_killed_process(tmp_path)
    (left / "session_latest").symlink_to(tmp_path / "target")

    assert remove_left_folders(PREFIX, tmp_path) == [left]
    assert (tmp_path / "target/file").read_text() == "kept"


def test_a_parent_that_does_not_exist_has_no_left_folders(tmp_path: Path) -> None:
    assert remove_left_folders(PREFIX, tmp_path / "absent") == []
