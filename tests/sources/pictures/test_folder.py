"""Pictures of a folder are listed in one order and read by key."""

import errno
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.foundation.errors import DataError
from andon.sources.pictures.folder import layout, list_pictures, natural, open_listing, survey


def put(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def test_pictures_are_found_at_every_depth_by_suffix_in_either_case(tmp_path: Path) -> None:
    put(tmp_path, "b.PNG", "a/1.jpg", "a/b/2.JPeG", "notes.txt", "c.tif")

    assert list(list_pictures(tmp_path)) == ["a/1.jpg", "a/b/2.JPeG", "b.PNG", "c.tif"]


def test_hidden_and_unfinished_files_and_masks_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, ".hidden.png", ".cache/1.png", "1.png.tmp", "2.tmp", "ground_truth/crack/0_mask.png", "0.png")

    assert list(list_pictures(tmp_path)) == ["0.png"]


def test_linked_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    put(tmp_path, "root/1.png", "elsewhere/2.png")
    (tmp_path / "root/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/up").symlink_to(tmp_path / "root")

    assert list(list_pictures(tmp_path / "root")) == ["1.png", "linked/2.png"]


def test_a_name_that_is_not_utf8_gets_a_key_that_is(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"x")

    (key,) = list_pictures(tmp_path)
    assert key == r"\xff.png"


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_numbers_in_names_count_as_numbers(numbers: list[int]) -> None:
    assert natural(f"part{number}.png" for number in numbers) == [f"part{number}.png" for number in sorted(numbers)]


@given(st.lists(st.text(alphabet="aAbB/019.", max_size=8), unique=True))
def test_the_order_does_not_depend_on_the_order_of_listing(names: list[str]) -> None:
    assert natural(names) == natural(reversed(names))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["train/good/1.png", "test/crack/1.png"], "tree"),
        (["Train/OK/1.png", "Test/NG/1.png"], "tree"),
        (["test/good/1.png", "test/crack/1.png"], "test alone"),
        (["good/1.png", "crack/1.png"], "good"),
        (["Good/1.png", "Crack/1.png"], "good"),
        (["good/1.png", "good/2.png"], "good"),
        (["nok/1.png", "cam1/2.png"], "plain"),
        (["1.png", "2.png"], "plain"),
        (["monday/1.png", "tuesday/2.png"], "plain"),
    ],
)
def test_layouts_are_told_apart(keys: list[str], expected: str) -> None:
    assert layout(keys) == expected


def test_a_place_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected pictures .* found none"):
        open_listing(tmp_path)
    with pytest.raises(DataError, match="nowhere"):
        open_listing(tmp_path / "nowhere")


def test_a_byte_that_is_not_utf8_and_the_letters_that_spell_it_have_different_keys(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    (tmp_path / r"\xff.png").write_bytes(b"x")
    (tmp_path / r"\\xff.png").write_bytes(b"x")

    assert set(list_pictures(tmp_path)) == {r"\xff.png", r"\\xff.png", r"\\\\xff.png"}


def odd(folder: Path, kind: str) -> None:
    """Create an entry with the name odd.png."""
    path = folder / "odd.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(os.path.relpath(path))  # an absolute path may be too long for a socket
    else:
        path.symlink_to({"link to itself": "odd.png", "link to nothing": "nowhere", "device": "/dev/zero"}[kind])


@pytest.mark.parametrize("kind", ["pipe", "socket", "link to itself", "link to nothing", "device"])
def test_an_odd_entry_is_named_with_its_fault_and_the_rest_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1.png").write_bytes(b"x")
    odd(tmp_path, kind)

    files = list_pictures(tmp_path)

    assert list(files) == ["1.png", "odd.png"]
    assert files["1.png"].fault == ""
    expected = {
        "link to nothing": "a broken link",
        "link to itself": "Too many levels of symbolic links",
        "pipe": "got a pipe",
        "socket": "got a socket",
        "device": "got a device",
    }
    assert expected[kind] in files["odd.png"].fault


class _NoRights:
    """A simulated user without permission to list a folder. The tests may run as root, which has it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        real = os.scandir

        def scandir(path: os.PathLike[str]) -> object:
            if Path(path) == folder:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_below_that_cannot_be_listed_is_named_and_the_rest_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "1.png").write_bytes(b"x")
    _NoRights(monkeypatch, tmp_path / "lost+found")

    listing = survey(tmp_path)

    assert list(listing.files) == ["1.png"]
    assert [(key, error.strerror) for key, error in listing.unlisted.items()] == [("lost+found", "Permission denied")]
    with pytest.raises(DataError, match=r"Permission denied \(.*lost\+found\)"):
        open_listing(tmp_path)
