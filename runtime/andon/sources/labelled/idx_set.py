"""MNIST and similar sets: four idx files, packed or unpacked, checked against the digests of their publishers.

The digests of the ``.gz`` files are those that torchvision checks. The digests of the unpacked files were computed from files
that passed that check. Packed files are unpacked into the cache and not into their own folder, which may be read-only or shared.
"""

import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.foundation.atomic import write_atomically
from andon.foundation.errors import ConfigError, DataError
from andon.sources.labelled.cache_folder import VARIABLE, cache_folder
from andon.sources.labelled.class_set import ClassSet, Request, array_set, digest_of
from andon.sources.labelled.torchvision_import import torchvision_set


class Sums(NamedTuple):
    """The MD5 of a file as published, and of its unpacked content."""

    packed: str
    unpacked: str


class IdxSet(Struct, frozen=True, kw_only=True):
    """A set of grey pictures in torchvision's layout, ``ROOT/FOLDER/raw/train-images-idx3-ubyte`` and three more."""

    name: str
    folder: str
    """Name of the folder, and of torchvision's data set."""
    classes: tuple[str, ...]
    sums: dict[str, Sums]
    """Digests by the names of the unpacked files."""


PARTS = {"train": "train", "test": "t10k"}


def open_idx(known: IdxSet, request: Request) -> ClassSet:
    """Open the set below `request.root`, or in the cache if there is no root.

    Raises:
        DataError: a file is missing, damaged, or not the published one.
        ConfigError: the cache is not writable.
        MissingExtra: a download needs torchvision, which is not installed.
    """
    root = cache_folder() / known.name if request.root is None else Path(request.root)
    if request.download:
        torchvision_set(known.folder, root)

    def read(part: str, kind: str) -> NDArray[np.uint8]:
        return read_idx(_unpacked(known, root, f"{PARTS[part]}-{kind}-ubyte"))

    train, test = ((read(part, "images-idx3")[..., None], read(part, "labels-idx1")) for part in PARTS)
    return array_set(known.classes, train, test)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Map an idx file of bytes from the disk as an array.

    The header is ``0 0 8 dimensions``, followed by the sizes as big-endian uint32.

    Raises:
        DataError: the header is different, or the file does not have the size that the header states.
    """
    with path.open("rb") as stream:
        head = stream.read(4)
        sizes = np.frombuffer(stream.read(4 * head[3]) if head[:3] == b"\0\0\x08" else b"", ">u4")
    start = 4 + 4 * len(sizes)
    if not len(sizes) or path.stat().st_size != start + int(np.prod(sizes, dtype=np.int64)):
        raise DataError(
            f"{path}: expected a complete idx file of bytes, got {path.stat().st_size} bytes with header {head.hex()} and sizes "
            f"{sizes.tolist()}. Download the file again."
        )
    return np.memmap(path, np.uint8, "r", start, tuple(sizes.tolist()))


def _unpacked(known: IdxSet, root: Path, name: str) -> Path:
    """Return the unpacked file. Its digest is checked each time, which takes 0.1 s for 47 MB."""
    sums = known.sums[name]
    for folder in (root / known.folder / "raw", root / "raw", root):
        if (folder / name).is_file():
            _require(folder / name, sums.unpacked)
            return folder / name
        if (folder / f"{name}.gz").is_file():
            _require(folder / f"{name}.gz", sums.packed)
            return _in_cache(known, folder / f"{name}.gz", name)
    where = (
        f"root=PATH, the folder that contains {known.folder}/raw, or download=true if this machine has network access"
        if root == cache_folder() / known.name
        else f"the folder that contains {known.folder}/raw, or download=true if this machine has network access"
    )
    raise DataError(
        f"{root}: expected {known.folder}/raw/{name}, packed (.gz) or unpacked, found neither. Give {where}."
    )


def _in_cache(known: IdxSet, packed: Path, name: str) -> Path:
    target = cache_folder() / known.name / known.folder / "raw" / name
    if target.is_file() and digest_of(target) == known.sums[name].unpacked:
        return target
    try:
        content = gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{packed}: cannot be unpacked: {error}. Download the file again.") from error
    try:
        write_atomically(target, content)
    except ConfigError as error:
        raise ConfigError(f"{error} Set {VARIABLE} to a folder for unpacked data.") from error
    _require(target, known.sums[name].unpacked)
    return target


def _require(path: Path, expected: str) -> None:
    found = digest_of(path)
    if found != expected:
        raise DataError(
            f"{path}: expected the published file with MD5 {expected}, got {found}. The file is damaged, incomplete or another "
            f"one. Download it again. Copies that andon made itself are in its cache folder ({VARIABLE})."
        )
