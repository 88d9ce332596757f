"""Keep the files of results: in a folder of a disk, or below an address of an object store.

In both, a file is either complete or absent, and writing a name again replaces the file. On a disk a file is flushed and renamed.
An object store shows an object when its upload is complete. Neither knows locks. If two runs write the same name, the last one
counts. That does no harm, because the name of a block is a digest of everything that its rows depend on.
"""

import functools
import stat
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from andon.archive.file_system import StoredObjects
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import ConfigError
from andon.sources.addresses import scheme_of, shown_address

WRITABLE = ("s3",)
"""Schemes of the object stores that results can be written to."""


class ResultStore(Protocol):
    """Files by their name, such as ``blocks/KEY.parquet``."""

    @property
    def address(self) -> str:
        """Path or address for readers, without options and secrets."""
        ...

    def path(self, name: str) -> str:
        """Return the path or address of a file for readers."""
        ...

    def names(self) -> list[str]:
        """Return the names of the files and folders at the top. The list is empty if there is nothing yet."""
        ...

    def exists(self, name: str) -> bool:
        """Return whether there is a file."""
        ...

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: there is none.
            OSError: it cannot be read, or it is not a regular file.
        """
        ...

    def open(self, name: str) -> AbstractContextManager[Any]:
        """Open a file for `pyarrow.parquet.ParquetFile`. Raises as `read`."""
        ...

    def write(self, name: str, data: bytes | bytearray) -> None:
        """Write or replace a file.

        Raises:
            ConfigError: it cannot be written. Its ``__cause__`` is the `OSError`.
        """
        ...

    def remove_temporary(self, folder: str) -> None:
        """Remove what killed programs left in a folder."""
        ...


class Folder:
    """A folder of a disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def address(self) -> str:
        """The path as it was given."""
        return str(self._path)

    def path(self, name: str) -> str:
        """Return the path of a file."""
        return str(self._path / name)

    def names(self) -> list[str]:
        """Return the names at the top, except temporary files."""
        return [one.name for one in self._path.iterdir() if one.suffix != ".tmp"] if self._path.is_dir() else []

    def exists(self, name: str) -> bool:
        """Return whether there is a file."""
        return (self._path / name).exists()

    def read(self, name: str) -> bytes:
        """Return the content of a regular file."""
        self._require_regular(name)
        return (self._path / name).read_bytes()

    def open(self, name: str) -> AbstractContextManager[Any]:
        """Open a regular file. Arrow itself cannot open a path that is not UTF-8."""
        self._require_regular(name)
        return (self._path / name).open("rb")

    def write(self, name: str, data: bytes | bytearray) -> None:
        """Write or replace a file."""
        write_atomically(self._path / name, data)

    def remove_temporary(self, folder: str) -> None:
        """Remove temporary files in a folder."""
        for left in (self._path / folder).glob(".*.tmp"):
            left.unlink(missing_ok=True)

    def _require_regular(self, name: str) -> None:
        """Raise `OSError` for a pipe, which a folder from elsewhere may contain. Opening it would never end."""
        if not stat.S_ISREG((self._path / name).stat().st_mode):
            raise OSError(f"{name} is not a regular file")


class Bucket:
    """Objects below an address."""

    def __init__(self, address: str) -> None:
        self._objects = StoredObjects(address)

    @property
    def address(self) -> str:
        """The address without options."""
        return self._objects.address(self._objects.root)

    def path(self, name: str) -> str:
        """Return the address of an object."""
        return f"{self.address}/{name}"

    def names(self) -> list[str]:
        """Return the names at the top."""
        return self._objects.names()

    def exists(self, name: str) -> bool:
        """Return whether there is an object."""
        return self._objects.version(self._key(name)) is not None

    def read(self, name: str) -> bytes:
        """Return the content of an object."""
        with self.open(name) as file:
            data: bytes = file.read()
        return data

    def open(self, name: str) -> AbstractContextManager[Any]:
        """Open an object."""
        opened: AbstractContextManager[Any] = self._objects.open(self._key(name))
        return opened

    def write(self, name: str, data: bytes | bytearray) -> None:
        """Upload an object. It is visible when the upload is complete."""
        try:
            self._objects.write(self._key(name), data)
        except OSError as error:
            raise ConfigError(f"{self.path(name)}: cannot be written: {error}.") from error

    def remove_temporary(self, folder: str) -> None:
        """Do nothing: an upload that was killed has no name."""

    def _key(self, name: str) -> str:
        return f"{self._objects.root}/{name}"


def store_at(place: Path | str) -> ResultStore:
    """Return the store of results at a path or an address.

    Raises:
        ConfigError: the address cannot be used for results.
        MissingExtra: pyarrow is not installed.
    """
    if isinstance(place, Path) or not scheme_of(place):
        return Folder(Path(place))
    return _bucket(place)


@functools.lru_cache(maxsize=4)
def _bucket(address: str) -> Bucket:
    """Return the same connection for each block."""
    if scheme_of(address) not in WRITABLE or any(sign in address.partition("?")[0] for sign in "*["):
        raise ConfigError(
            f"{shown_address(address)}: expected a folder or an address such as s3://bucket/results. Other object stores can be "
            "read, but results are not written there."
        )
    bucket = Bucket(address)
    if not bucket.address.removeprefix("s3://").partition("/")[2]:
        raise ConfigError(
            f"{shown_address(address)}: expected a prefix within the bucket for the results, got only a bucket. Example: "
            "s3://bucket/results."
        )
    return bucket
