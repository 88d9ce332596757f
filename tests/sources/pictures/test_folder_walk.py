"""The same walk is used to recognise a folder and to read it."""

import errno
import os
from pathlib import Path

import pytest

from andon.sources.kinds import images, logs
from andon.sources.pictures.folder_walk import walk


def put(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def found(root: Path, most: int | None = None) -> set[str]:
    return {os.path.relpath(entry.path, root) for entry in walk(root, most=most)}


def test_hidden_entries_and_masks_are_left_out_at_every_depth(tmp_path: Path) -> None:
    put(tmp_path, "1.png", ".2.png", ".thumbs/3.png", "a/.cache/b/4.png", "a/5.csv", "a/Ground_Truth/6.png")

    assert found(tmp_path) == {"1.png", "a/5.csv"}


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path, "root/1.png", "elsewhere/2.png")
    (tmp_path / "root/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/up").symlink_to(tmp_path / "root")
    (tmp_path / "root/self").symlink_to("self")

    assert found(tmp_path / "root") == {"1.png", "linked/2.png", "self"}


def test_a_run_folder_is_left_out_below_the_root_only(tmp_path: Path) -> None:
    put(
        tmp_path,
        "1.png",
        "a/run/run.json",
        "a/run/pictures/curves.png",
        "a/run/2.csv",
        "a/b/3.png",
        "a/b/run.json/4.png",
    )

    assert found(tmp_path) == {"1.png", "a/b/3.png", "a/b/run.json/4.png"}
    assert found(tmp_path / "a/run") == {"run.json", "pictures/curves.png", "2.csv"}


def test_a_look_ends_after_so_many_entries(tmp_path: Path) -> None:
    put(tmp_path, *(f"{number}.txt" for number in range(20)))

    assert len(found(tmp_path, most=7)) == 7


def test_a_folder_below_that_cannot_be_listed_is_passed_on_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "1.png", "lost+found/2.png")
    scandir = os.scandir

    def refusing(path: str) -> object:  # the tests may run as root, which may list all folders
        if path.endswith("lost+found"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    unlisted: list[str] = []

    names = {entry.name for entry in walk(tmp_path, on_unlisted=lambda folder, _: unlisted.append(folder))}

    assert names == {"1.png"}
    assert unlisted == [str(tmp_path / "lost+found")]
    with pytest.raises(PermissionError):
        found(tmp_path)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["log.csv", ".thumbs/x.png"], "logs"),
        (["log.csv"], "logs"),
        (["log.csv", "x.png"], "images"),
        (["deep/x.png"], "images"),
        ([".directory"], "images"),
        (["notes.txt"], ""),
    ],
)
def test_a_folder_is_what_its_visible_files_are(names: list[str], kind: str, tmp_path: Path) -> None:
    put(tmp_path, *names)

    accepted = [one.SOURCE.name for one in (images, logs) if one.SOURCE.accepts(str(tmp_path))]
    assert accepted == ([kind] if kind else [])


def test_a_tree_of_links_next_to_a_stray_file_is_a_folder_of_pictures(tmp_path: Path) -> None:
    """Use a file run.json, as a run folder inside the data folder has it."""
    put(tmp_path, "elsewhere/good/1.png", "data/run.json")
    (tmp_path / "data/good").symlink_to(tmp_path / "elsewhere/good")

    assert images.SOURCE.accepts(str(tmp_path / "data"))
    assert [ref.key for ref in images.collect(str(tmp_path / "data")).refs] == ["good/1.png"]


def test_logs_in_linked_folders_are_read_and_hidden_ones_are_not(tmp_path: Path) -> None:
    put(tmp_path, "data/x.txt")
    for name in ("elsewhere/1.csv", "data/.trash/2.csv"):
        put(tmp_path, name)
        (tmp_path / name).write_text("time,a\n0,1\n1,2\n")
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")

    assert [run.name for run in logs.collect(str(tmp_path / "data")).runs] == ["linked/1.csv"]
