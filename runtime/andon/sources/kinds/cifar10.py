"""CIFAR-10: colour photographs of ten classes, 32 x 32. Some classes are good, the others are defects.

Example: ``cifar10:normal=cat,root=data/cifar10``. Classes are given by name or by number. Source: Krizhevsky, 2009.

Two layouts are supported. One is the layout of torchvision (``cifar-10-batches-py`` or ``cifar-10-python.tar.gz``) with 50 000
+ 10 000 pictures, which torchvision reads and checks. The other is a subset: ``train.png`` and ``test.png`` contain original
pictures, stacked and 32 px wide, and ``labels.npz`` contains `y_train`, `y_test` and `classes`. For a subset, a warning states
the number of pictures, because results on it cannot be compared with published ones.
"""

import logging
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError, DataError
from andon.sources.labelled.cache_folder import VARIABLE, cache_folder
from andon.sources.labelled.class_set import ClassSet, Request, array_set, class_source, digest_of
from andon.sources.labelled.torchvision_import import torchvision_set
from andon.sources.pictures.decode import decode_file

SIDE = 32
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES, ARCHIVE, ARCHIVE_MD5 = "cifar-10-batches-py", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"

Part = tuple[NDArray[np.uint8], NDArray[np.uint8]]

logger = logging.getLogger(__name__)


def open_cifar(request: Request) -> ClassSet:
    """Open the set at `request.root`, or in the cache if there is no root.

    Raises:
        DataError: the folder has neither layout, or the files are damaged.
        ConfigError: the cache is not writable.
        MissingExtra: torchvision is not installed, for its layout, or OpenCV, for pictures.
    """
    root = cache_folder() / "cifar10" if request.root is None else Path(request.root)
    if (root / "labels.npz").is_file():
        names, train, test = _subset(root)
        _warn_once(
            f"cifar10: a subset, {len(train[0])} training and {len(test[0])} test pictures; results on it cannot be compared "
            "with those on 50000 and 10000"
        )
    else:
        names, (train, test) = NAMES, _whole(root, download=request.download)
    return array_set(names, train, test)


@cache
def _warn_once(text: str) -> None:
    logger.warning(text)


def _subset(root: Path) -> tuple[tuple[str, ...], Part, Part]:
    try:
        with np.load(root / "labels.npz", allow_pickle=False) as stored:
            names = tuple(str(name) for name in stored["classes"])
            labels = {part: np.asarray(stored[f"y_{part}"], np.uint8) for part in ("train", "test")}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{root / 'labels.npz'}: expected arrays y_train, y_test and classes, but they cannot be read: {error}"
        ) from error
    return names, (_stacked(root / "train.png"), labels["train"]), (_stacked(root / "test.png"), labels["test"])


def _stacked(path: Path) -> NDArray[np.uint8]:
    """Read pictures ``[n, 32, 32, 3]`` that are stacked vertically in one file."""
    if not path.is_file():
        raise DataError(f"{path}: expected this file next to labels.npz, but it is missing.")
    tall = np.asarray(decode_file(path, channels=3), np.uint8)
    if tall.shape[1] != SIDE or tall.shape[0] % SIDE:
        raise DataError(
            f"{path}: expected stacked pictures of {SIDE} x {SIDE}, got {tall.shape[0]} x {tall.shape[1]} (height x width)."
        )
    return tall.reshape(-1, SIDE, SIDE, 3)


def _whole(root: Path, *, download: bool) -> list[Part]:
    archive = root / ARCHIVE
    if not (root / BATCHES).is_dir() and archive.is_file():
        found = digest_of(archive)
        if found != ARCHIVE_MD5:
            raise DataError(
                f"{archive}: expected MD5 {ARCHIVE_MD5}, got {found}. The archive is damaged. Download it again."
            )
        root = cache_folder() / "cifar10"  # not next to the archive: the root may be read-only or shared
        if not (root / BATCHES).is_dir():
            _unpack(archive, root)
    if not (root / BATCHES).is_dir() and not download:
        raise DataError(
            f"{root}: expected {BATCHES}, {ARCHIVE}, or train.png, test.png and labels.npz, found none of them. Give root=PATH, "
            "or download=true if this machine has network access."
        )
    parts = [torchvision_set("CIFAR10", root, train=train, download=download) for train in (True, False)]
    return [(np.asarray(part.data, np.uint8), np.asarray(part.targets, np.uint8)) for part in parts]


def _unpack(archive: Path, root: Path) -> None:
    """Unpack the archive atomically: into a temporary folder that is then renamed.

    If another process has unpacked it in the meantime, that result is used.

    Raises:
        ConfigError: the cache is not writable.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".unpacking-") as temporary:
            with tarfile.open(archive) as packed:
                # Python 3.11.0 to 3.11.3 has no filters; they are not needed, since the digest proves the published archive
                if hasattr(tarfile, "data_filter"):
                    packed.extractall(temporary, filter="data")
                else:
                    packed.extractall(temporary)  # noqa: S202
            try:
                (Path(temporary) / BATCHES).rename(root / BATCHES)
            except OSError:
                if not (root / BATCHES).is_dir():
                    raise
    except OSError as error:
        raise ConfigError(
            f"{root}: {archive.name} cannot be unpacked there: {error.strerror or error}. Set {VARIABLE} to a folder for "
            "unpacked data."
        ) from error


SOURCE = class_source(
    "cifar10", "small photographs, with the good classes given: cifar10:normal=cat,root=PATH", open_cifar
)
