"""MNIST and its relatives: four idx files, packed or not, checked against their publishers' digests.

The digests of the ``.gz`` files are those that torchvision's data sets check; those of the unpacked files were taken from
files that passed. Packed files are unpacked into the cache, never beside themselves: the root may be read-only or shared.
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
from andon.sources.labelled.torchvision_import import fetched


class Sums(NamedTuple):
    """MD5 of a file as published, and unpacked."""

    packed: str
    unpacked: str


class IdxSet(Struct, frozen=True, kw_only=True):
    """A set of grey pictures in torchvision's layout, ``ROOT/FOLDER/raw/train-images-idx3-ubyte`` and three more."""

    name: str
    folder: str
    """Also the name of torchvision's data set."""
    classes: tuple[str, ...]
    sums: dict[str, Sums]
    """By the names of the unpacked files."""


PARTS = {"train": "train", "test": "t10k"}


def open_idx(known: IdxSet, request: Request) -> ClassSet:
    """The set below `request.root`, or, without a root, in the cache.

    Raises:
        DataError: a file is missing, damaged, or not the published one.
        ConfigError: the cache cannot be written to.
        MissingExtra: a download without torchvision.
    """
    root = cache_folder() / known.name if request.root is None else Path(request.root)
    if request.download:
        fetched(known.folder, root)

    def read(part: str, kind: str) -> NDArray[np.uint8]:
        return read_idx(_unpacked(known, root, f"{PARTS[part]}-{kind}-ubyte"))

    train, test = ((read(part, "images-idx3")[..., None], read(part, "labels-idx1")) for part in PARTS)
    return array_set(known.classes, train, test)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An idx file of bytes as an array, mapped from the disk: header ``0 0 8 dimensions``, sizes as big-endian uint32.

    Raises:
        DataError: another header, or another size than it states.
    """
    with path.open("rb") as stream:
        head = stream.read(4)
        sizes = np.frombuffer(stream.read(4 * head[3]) if head[:3] == b"\0\0\x08" else b"", ">u4")
    start = 4 + 4 * len(sizes)
    if not len(sizes) or path.stat().st_size != start + int(np.prod(sizes, dtype=np.int64)):
        raise DataError(
            f"{path}: expected an idx file of bytes, whole; its header is {head.hex()}, sizes {sizes.tolist()}."
        )
    return np.memmap(path, np.uint8, "r", start, tuple(sizes.tolist()))


def _unpacked(known: IdxSet, root: Path, name: str) -> Path:
    """The file with that content, which is checked each time: 47 MB take a tenth of a second."""
    sums = known.sums[name]
    for folder in (root / known.folder / "raw", root / "raw", root):
        if (folder / name).is_file():
            _require(folder / name, sums.unpacked)
            return folder / name
        if (folder / f"{name}.gz").is_file():
            _require(folder / f"{name}.gz", sums.packed)
            return _in_cache(known, folder / f"{name}.gz", name)
    where = (
        f"root=PATH, the folder that holds {known.folder}/raw, or download=true where there is a network"
        if root == cache_folder() / known.name
        else f"the folder that holds {known.folder}/raw, or download=true where there is a network"
    )
    raise DataError(f"{root}: has no {known.folder}/raw/{name}, packed (.gz) or not. Give {where}.")


def _in_cache(known: IdxSet, packed: Path, name: str) -> Path:
    target = cache_folder() / known.name / known.folder / "raw" / name
    if target.is_file() and digest_of(target) == known.sums[name].unpacked:
        return target
    try:
        content = gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{packed}: cannot be unpacked: {error}") from error
    try:
        write_atomically(target, content)
    except ConfigError as error:
        raise ConfigError(f"{error} Name a folder for unpacked data in {VARIABLE}.") from error
    _require(target, known.sums[name].unpacked)
    return target


def _require(path: Path, expected: str) -> None:
    found = digest_of(path)
    if found != expected:
        raise DataError(
            f"{path}: is damaged or not the published file: expected MD5 {expected}, got {found}. Fetch it again, or see "
            f"whether a download was cut off ({VARIABLE} says where andon keeps its own copies)."
        )
