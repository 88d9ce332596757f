"""List the pictures in a folder in natural order, and recognise the layout of the folder."""

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
"""Layout of a folder of pictures.

``tree``: train/good, test/TYPE, ground_truth/TYPE/STEM_mask.png, as in MVTec AD. ``test alone``: the same without train/good.
``good``: good/, alone or with one folder for each type of defect. ``plain``: anything else. Upper and lower case are the same,
and the other names of `is_good` count as good, too.
"""


class Stamp(NamedTuple):
    """The attributes that identify one version of a file; compare them with `same_version`."""

    size: int
    mtime_ns: int
    inode: int = 0
    ctime_ns: int = 0


class PictureFile(NamedTuple):
    """A file and its stamp at the time of the listing."""

    path: Path
    stamp: Stamp
    fault: str = ""
    """Reason why the file must not be read: it is a pipe, a device or a broken link. Empty for a regular file."""


class Listing(NamedTuple):
    """The result of listing a folder."""

    files: dict[str, PictureFile]
    """Picture files by key, in natural order."""
    unlisted: dict[str, OSError]
    """Sub-folders that could not be listed, by key. Their files are unknown; they do not count as deleted."""


def survey(root: Path) -> Listing:
    """List all pictures below a folder. An entry with an error does not affect the others.

    Pictures are recognised by their suffix, in upper or lower case. `folder_walk.walk` defines which sub-folders are read.

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
    """Return the files of `survey`, or raise an error if the listing is not complete.

    Raises:
        OSError: a folder cannot be listed; its `filename` is that folder.
    """
    listing = survey(root)
    for error in listing.unlisted.values():
        raise error
    return listing.files


def is_picture(name: str) -> bool:
    """Return whether a file name is the name of a picture."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - a str in a hot loop


def natural(keys: Iterable[str]) -> list[str]:
    """Sort keys in natural order: 2.png before 10.png.

    >>> natural(["10.png", "2.png", "B/1.png", "a/1.png"])
    ['2.png', '10.png', 'a/1.png', 'B/1.png']
    """
    return sorted(keys, key=lambda key: (_NUMBER.sub(_padded, key.casefold()), key))


def is_good(folder: str) -> bool:
    """Return whether a folder's name marks good parts: good, ok or normal, in upper or lower case."""
    return folder.casefold() in _GOOD_NAMES


def layout(keys: Iterable[str]) -> Layout:
    """Return the layout of a folder, given its keys."""
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
    """Return whether a key is in the folder `top` at the root, in upper or lower case."""
    return key.casefold().startswith(f"{top}/")


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp of a file."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def same_version(one: Stamp, other: Stamp) -> bool:
    """Return whether two stamps of one file name belong to the same content.

    If another file of equal size and time of change replaced the first one, both its inode and its ctime differ. A difference in
    one of them is not enough: ``chmod`` changes the ctime, and some network file systems change inode numbers after a while.
    """
    if (one.size, one.mtime_ns) != (other.size, other.mtime_ns):
        return False
    return one.inode == other.inode or one.ctime_ns == other.ctime_ns


def open_listing(root: Path) -> dict[str, PictureFile]:
    """List the pictures of a folder, see `list_pictures`, or return the single picture at that path.

    Raises:
        DataError: the path does not exist, or there is no picture.
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
            f"{shown_address(str(root))}: expected pictures ({', '.join(sorted(SUFFIXES))}) in this folder or its sub-folders, "
            "found none."
        )
    return files


_NUMBER = re.compile(r"[0-9]+")


def _padded(number: re.Match[str]) -> str:
    # keys stay plain strings: the length of the number first, then its digits
    digits = number[0].lstrip("0")
    return f"{len(digits):04}{digits}"


def _file(path: Path) -> tuple[Stamp, str] | None:
    """Return the stamp of a file and its fault, if any. Return None if the file was removed after it was listed."""
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
        return stamp_of(itself), "a broken link" if nothing else f"a link that cannot be followed: {error.strerror}"
    if stat.S_ISREG(status.st_mode):
        return stamp_of(status), ""
    # writing into a pipe must not look like a new version of a file
    return Stamp(0, 0, status.st_ino), f"expected a regular file, got a {_kind(status.st_mode)}"


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return kinds.get(stat.S_IFMT(mode), "special file")


def _key(root: Path, path: Path) -> str:
    # JSON must be able to hold a name that is not UTF-8: a byte becomes \xff. A backslash in a name is doubled, so that a name
    # with the four characters \xff has another key.
    name = path.relative_to(root).as_posix().encode("utf-8", "surrogateescape").replace(b"\\", b"\\\\")
    return name.decode("utf-8", "backslashreplace")
