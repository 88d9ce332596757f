"""Folders of pictures: which files count, in which order, and which layout they have."""

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from andon.foundation.errors import DataError
from andon.sources.addresses import shown_address
from andon.sources.pictures.folder_walk import walk

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
GOOD = "good"
_GOOD_NAMES = frozenset({GOOD, "ok", "normal"})

Layout = Literal["tree", "test alone", "good", "plain"]
"""``tree``: train/good, test/TYPE, ground_truth/TYPE/STEM_mask.png (as MVTec AD has it). ``test alone``: the same without
train/good. ``good``: good/, alone or with one folder for each type of defect. ``plain``: anything else. Names in upper case
count too, and so do the other names of `is_good`."""


class Stamp(NamedTuple):
    """The marks of one writing of a file; compare them with `same_writing`."""

    size: int
    mtime_ns: int
    inode: int = 0
    ctime_ns: int = 0


class PictureFile(NamedTuple):
    """A file and its stamp when it was listed."""

    path: Path
    stamp: Stamp
    fault: str = ""
    """Why it must not be read although its name is a picture's: a pipe, a device, a link to nothing. Empty: a regular file."""


class Listing(NamedTuple):
    """What a look at a folder found."""

    files: dict[str, PictureFile]
    """By key, in natural order."""
    unlisted: dict[str, OSError]
    """Folders below that could not be listed, by key. What they hold is unknown; it is not gone."""


def survey(root: Path) -> Listing:
    """List all pictures below a folder. One odd entry costs only itself.

    A picture is known by its suffix, in either case; `folder_walk.walk` says which folders are looked into.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    found, unlisted = dict[str, PictureFile](), dict[str, OSError]()
    for entry in walk(root, on_unlisted=lambda folder, error: unlisted.update({_key(root, Path(folder)): error})):
        path = Path(entry.path)
        if is_picture(entry.name) and (file := _file(path)) is not None:
            found[_key(root, path)] = PictureFile(path, *file)
    return Listing({key: found[key] for key in natural(found)}, unlisted)


def list_pictures(root: Path) -> dict[str, PictureFile]:
    """Return the files of `survey` if it is complete.

    Raises:
        OSError: a folder cannot be listed; its `filename` is that folder. Half a listing is not what the user asked for.
    """
    listing = survey(root)
    for error in listing.unlisted.values():
        raise error
    return listing.files


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
    """Return the stamp of a file."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def same_writing(one: Stamp, other: Stamp) -> bool:
    """Return whether two stamps of one name are of the same content.

    A file that replaced another one of equal size and time of change has another inode and another ctime. Either alone proves
    nothing: ``chmod`` changes the ctime, and some network file systems number their files anew after a while.
    """
    if (one.size, one.mtime_ns) != (other.size, other.mtime_ns):
        return False
    return one.inode == other.inode or one.ctime_ns == other.ctime_ns


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
        inner = f" ({error.filename})" if error.filename and Path(error.filename) != root else ""
        raise DataError(
            f"{shown_address(str(root))}: expected a picture or a folder of pictures: {error.strerror}{inner}"
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


def _file(path: Path) -> tuple[Stamp, str] | None:
    """Return the stamp of a file and what is wrong with it; None where it is gone since it was listed."""
    try:
        status = path.stat()
    except OSError as error:
        try:
            itself = path.lstat()
        except OSError:
            return None
        if not stat.S_ISLNK(itself.st_mode):
            return None if isinstance(error, FileNotFoundError) else (stamp_of(itself), f"{error.strerror}")
        nothing = isinstance(error, FileNotFoundError)
        return stamp_of(itself), "a link to nothing" if nothing else f"a link that leads nowhere: {error.strerror}"
    if stat.S_ISREG(status.st_mode):
        return stamp_of(status), ""
    # what is written into a pipe is no new writing of a file
    return Stamp(0, 0, status.st_ino), f"expected a regular file, got a {_kind(status.st_mode)}"


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return kinds.get(stat.S_IFMT(mode), "special file")


def _key(root: Path, path: Path) -> str:
    # A name that is not UTF-8 must still fit into JSON: a byte becomes \xff. A backslash in a name is doubled, so that the
    # name that spells \xff in letters has another key.
    name = path.relative_to(root).as_posix().encode("utf-8", "surrogateescape").replace(b"\\", b"\\\\")
    return name.decode("utf-8", "backslashreplace")
