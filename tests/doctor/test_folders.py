"""A folder that cannot be written is a problem, and one that is nearly full is a warning."""

from pathlib import Path

from andon.doctor.facts import folder
from andon.doctor.folders import Folder, check_folder


def test_a_folder_that_can_be_written_is_good_and_stays_empty(tmp_path: Path) -> None:
    found = check_folder(folder("cache", tmp_path, "ANDON_CACHE"))

    assert (found.ok, found.warning, found.remedy) == (True, False, "")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_exist_yet_is_judged_by_its_parent_and_not_made(tmp_path: Path) -> None:
    assert check_folder(folder("cache", tmp_path / "a" / "b", "ANDON_CACHE")).ok
    assert not list(tmp_path.iterdir())


def test_a_path_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    found = check_folder(folder("cache", tmp_path / "file" / "cache", "ANDON_CACHE"))

    assert not found.ok
    assert found.remedy.startswith("export ANDON_CACHE=")


def test_a_folder_that_is_nearly_full_is_a_warning() -> None:
    found = check_folder(Folder(purpose="temporary files", path="/tmp", variable="TMPDIR", free_bytes=5_000_000))

    assert (found.ok, found.warning) == (True, True)
    assert "only 5 MB free" in found.text
