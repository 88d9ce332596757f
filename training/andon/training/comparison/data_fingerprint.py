"""Compute a digest of the files of a data set, to find a node of a cluster on which they differ."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from andon.foundation.errors import DataError
from andon.training.comparison.plan import DataSet

CHUNK_BYTES = 1 << 20


def data_fingerprint(data: DataSet) -> str:
    """Return the digest of all files of a set: names below its paths, and contents.

    An address that is not a path, such as a simulation, counts as its text. So a path that only one of two machines has gives
    different digests.

    Raises:
        DataError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for field in ("train", "test", "truth", "group"):
        text = getattr(data, field)
        if text is None:
            continue
        digest.update(f"{field}\0".encode())
        path = Path(text)
        if not _exists(path):
            digest.update(b"text\0" + text.encode("utf-8", "surrogateescape"))
            continue
        for file, name in _files(path):
            digest.update(f"file\0{name}\0".encode("utf-8", "surrogateescape"))
            digest.update(_content(file))
    return digest.hexdigest()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, or has characters that paths cannot have
        return False


def _files(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files and their names below the path, in a fixed order."""
    if not path.is_dir():
        yield path, ""
        return
    for folder, folders, names in os.walk(path, followlinks=True):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            yield file, file.relative_to(path).as_posix()


def _content(file: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"{file}: cannot read the file: {error.strerror}.") from error
    return digest.digest()
