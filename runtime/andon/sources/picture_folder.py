"""Folders of pictures: which files count, in which order, and which layout they have."""

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from andon.runtime.errors import DataError
from andon.sources.addresses import shown_address
from andon.sources.folder_walk import walk

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
GOOD = "good"
_GOOD_NAMES = frozenset({GOOD, "ok", "normal"})

Layout = Literal["tree", "test alone", "good", "plain"]
"""``tree``: train/good, test/TYPE, ground_truth/TYPE/STEM_mask.png (as MVTec AD has it). ``test alone``: the same without
train/good. ``good``: good/, alone or with one folder for each type of defect. ``plain``: anything else. Names in upper case
count too, and so do the other names of `is_good`."""


class Stamp(NamedTuple):
    """What tells one writing of a file from another."""

    size: int
    mtime_ns: int


class PictureFile(NamedTuple):
    """A file and its stamp when it was listed."""

    path: Path
    stamp: Stamp


def list_pictures(root: Path) -> dict[str, PictureFile]:
    """Return all pictures below a folder, by key (relative, with ``/``), in natural order.

    A picture is known by its suffix, in either case; `folder_walk.walk` says which folders are looked into.

    Raises:
        OSError: a folder cannot be listed. Half a listing would make the other half look new when it returns.
    """
    files: dict[str, PictureFile] = {}
    for entry in walk(root):
        if is_picture(entry.name):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # gone since it was listed
                path = Path(entry.path)
                files[_key(root, path)] = PictureFile(path, stamp_of(entry.stat()))
    return {key: files[key] for key in natural(files)}


def is_picture(name: str) -> bool:
    """Whether a file name is a picture's."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - a name, and hot


def natural(keys: Iterable[str]) -> list[str]:
    """Sorted as people count: 2.png before 10.png.

    >>> natural(["10.png", "2.png", "B/1.png", "a/1.png"])
    ['2.png', '10.png', 'a/1.png', 'B/1.png']
    """
    return sorted(keys, key=lambda key: (_NUMBER.sub(_padded, key.casefold()), key))


def is_good(folder: str) -> bool:
    """Return whether a folder's name says that it holds good parts: good, ok or normal, in upper or lower case."""
    return folder.casefold() in _GOOD_NAMES


def layout(keys: Iterable[str]) -> Layout:
    """Return the layout that the keys of a folder show."""
    good = tested = False
    for key in keys:
        folders = key.split("/")[:-1]
        top = folders[0].casefold() if folders else ""
        if len(folders) > 1 and is_good(folders[1]):
            if top == "train":
                return "tree"
            tested = tested or top == "test"
        good = good or is_good(top)
    if good:
        return "good"
    return "test alone" if tested else "plain"


def is_in(top: str, key: str) -> bool:
    """Return whether a key lies in the folder `top` at the root, in upper or lower case."""
    return key.casefold().startswith(f"{top}/")


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file."""
    return Stamp(status.st_size, status.st_mtime_ns)


def open_listing(root: Path) -> dict[str, PictureFile]:
    """`list_pictures` of a folder, or the one picture at that path, at least one.

    Raises:
        DataError: nothing there, or no picture.
    """
    try:
        if root.is_file():
            return {_key(root.parent, root): PictureFile(root, stamp_of(root.stat()))}
        files = list_pictures(root)
    except OSError as error:
        raise DataError(
            f"{shown_address(str(root))}: expected a picture or a folder of pictures: {error.strerror}"
        ) from error
    if not files:
        raise DataError(
            f"{shown_address(str(root))}: no picture there; looked for {', '.join(sorted(SUFFIXES))}, in folders below too."
        )
    return files


_NUMBER = re.compile(r"[0-9]+")


def _padded(number: re.Match[str]) -> str:
    # as text of comparable length, so that keys stay plain strings: a length first, then the digits
    digits = number[0].lstrip("0")
    return f"{len(digits):04}{digits}"


def _key(root: Path, path: Path) -> str:
    # a name that is not UTF-8 must still fit into JSON
    return path.relative_to(root).as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
