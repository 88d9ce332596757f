"""CIFAR-10: photographs of ten classes, 32 x 32, colour; some classes good, the others defects.

``cifar10:normal=cat,root=data/cifar10``; classes by name or by number. Two layouts are read: torchvision's
(``cifar-10-batches-py`` or ``cifar-10-python.tar.gz``, 50 000 + 10 000 pictures, read and checked by torchvision), and a subset
of original pictures stacked into ``train.png`` and ``test.png``, 32 px wide, with ``labels.npz`` (`y_train`, `y_test`,
`classes`). Of a subset it is said how many there are: figures on it do not stand beside published ones. Source: Krizhevsky, 2009.
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
from andon.sources.labelled.torchvision_import import fetched
from andon.sources.pictures.decode import decode_file

SIDE = 32
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES, ARCHIVE, ARCHIVE_MD5 = "cifar-10-batches-py", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"

Part = tuple[NDArray[np.uint8], NDArray[np.uint8]]

logger = logging.getLogger(__name__)


def open_cifar(request: Request) -> ClassSet:
    """The set at `request.root`, or, without a root, in the cache.

    Raises:
        DataError: neither layout is there, or it is damaged.
        ConfigError: the cache cannot be written to.
        MissingExtra: torchvision's layout without torchvision, or pictures without OpenCV.
    """
    root = cache_folder() / "cifar10" if request.root is None else Path(request.root)
    if (root / "labels.npz").is_file():
        names, train, test = _subset(root)
        _say_once(
            f"cifar10: a subset, {len(train[0])} training and {len(test[0])} test pictures; figures on it do not stand "
            "beside those on 50000 and 10000"
        )
    else:
        names, (train, test) = NAMES, _whole(root, download=request.download)
    return array_set(names, train, test)


@cache
def _say_once(text: str) -> None:
    logger.warning(text)


def _subset(root: Path) -> tuple[tuple[str, ...], Part, Part]:
    try:
        with np.load(root / "labels.npz", allow_pickle=False) as stored:
            names = tuple(str(name) for name in stored["classes"])
            labels = {part: np.asarray(stored[f"y_{part}"], np.uint8) for part in ("train", "test")}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{root / 'labels.npz'}: expected y_train, y_test and classes: {error}") from error
    return names, (_stacked(root / "train.png"), labels["train"]), (_stacked(root / "test.png"), labels["test"])


def _stacked(path: Path) -> NDArray[np.uint8]:
    """``[n, 32, 32, 3]`` from pictures stacked upon each other."""
    if not path.is_file():
        raise DataError(f"{path}: is missing beside labels.npz.")
    tall = decode_file(path, channels=3)
    if tall.shape[1] != SIDE or tall.shape[0] % SIDE:
        raise DataError(
            f"{path}: expected pictures of {SIDE} x {SIDE}, stacked; got {tall.shape[0]} x {tall.shape[1]} (height x width)."
        )
    return tall.reshape(-1, SIDE, SIDE, 3)


def _whole(root: Path, *, download: bool) -> list[Part]:
    archive = root / ARCHIVE
    if not (root / BATCHES).is_dir() and archive.is_file():
        found = digest_of(archive)
        if found != ARCHIVE_MD5:
            raise DataError(f"{archive}: is damaged: expected MD5 {ARCHIVE_MD5}, got {found}. Fetch it again.")
        root = cache_folder() / "cifar10"  # never unpacked beside itself: the root may be read-only or shared
        if not (root / BATCHES).is_dir():
            _unpack(archive, root)
    if not (root / BATCHES).is_dir() and not download:
        raise DataError(
            f"{root}: expected {BATCHES}, {ARCHIVE}, or train.png, test.png and labels.npz. Give root=PATH, or "
            "download=true where there is a network."
        )
    parts = [fetched("CIFAR10", root, train=train, download=download) for train in (True, False)]
    return [(np.asarray(part.data, np.uint8), np.asarray(part.targets, np.uint8)) for part in parts]


def _unpack(archive: Path, root: Path) -> None:
    """Whole or not at all: beside its place, then renamed; whoever comes second takes what the first has put there.

    Raises:
        ConfigError: the cache cannot be written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".unpacking-") as beside:
            with tarfile.open(archive) as packed:
                # Python 3.11.0 to 3.11.3 has no filters; the archive is the published one to the byte
                if hasattr(tarfile, "data_filter"):
                    packed.extractall(beside, filter="data")
                else:
                    packed.extractall(beside)  # noqa: S202
            try:
                (Path(beside) / BATCHES).rename(root / BATCHES)
            except OSError:
                if not (root / BATCHES).is_dir():
                    raise
    except OSError as error:
        raise ConfigError(
            f"{root}: {archive.name} cannot be unpacked there: {error.strerror or error}. Name a folder for unpacked data in "
            f"{VARIABLE}."
        ) from error


SOURCE = class_source(
    "cifar10", "small photographs, some classes of them good: cifar10:normal=cat,root=PATH", open_cifar
)
