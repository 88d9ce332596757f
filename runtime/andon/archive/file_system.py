"""List and read the files of an input: a local disk, or an object store through the file systems of pyarrow."""

import errno
import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from andon.archive.block import Version
from andon.foundation.errors import ConfigError, DataError
from andon.foundation.extras import needs
from andon.sources.addresses import scheme_of, shown_address
from andon.sources.pictures.limits import MAX_BYTES

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "file")
"""Schemes that pyarrow opens. Only ``s3`` and ``file`` have tests."""
_NS = 1_000_000_000
_OPTIONS = frozenset({"region", "scheme", "endpoint_override"})
_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR)
_NEVER_A_FILE = (errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO)


class UnfitFileError(DataError):
    """A path does not lead to a file that can be a picture. A further try has the same result."""


class Content(NamedTuple):
    """Bytes of a file, and the version that they belong to."""

    data: bytes
    version: Version


class FileSystem(Protocol):
    """Reads files by their path in it."""

    def address(self, path: str) -> str:
        """Return the address of a file for readers, without options of the connection."""
        ...

    def version(self, path: str) -> Version | None:
        """Return the version of a file, or None if it does not exist."""
        ...

    def versions(self, paths: Sequence[str]) -> Iterator[Version | None]:
        """Yield the version of each file."""
        ...

    def read(self, path: str) -> Content:
        """Read a whole file of at most `MAX_BYTES` bytes.

        Raises:
            FileNotFoundError: there is no file.
            UnfitFileError: it is a folder, a pipe or a device, it is too large, or its name cannot exist.
            OSError: it cannot be read.
        """
        ...

    def open(self, path: str) -> Any:
        """Open a file for `pyarrow.parquet.ParquetFile`."""
        ...

    def list(self) -> list[tuple[str, Version]]:
        """Return all files of the input with their versions, in the order of their names."""
        ...

    def resolve(self, name: str, folder: str) -> str:
        """Return the path of a file that is named in a list or table in `folder`."""
        ...


class LocalFiles:
    """The files of this machine, below a path."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def address(self, path: str) -> str:
        """Return the path, with escapes for bytes that are not UTF-8."""
        return stored_text(path)

    def version(self, path: str) -> Version | None:
        """Return size and time of change."""
        try:
            status = Path(path).stat()
        except ValueError:  # a name with a null byte
            return None
        except OSError as error:
            if error.errno in (*_NO_SUCH_FILE, *_NEVER_A_FILE):
                return None
            raise
        return _local_version(status)

    def versions(self, paths: Sequence[str]) -> Iterator[Version | None]:
        """Yield the version of each file."""
        return (self.version(path) for path in paths)

    def read(self, path: str) -> Content:
        """Read a whole file. A path in a list or table is untrusted: it may lead to a pipe that never ends."""
        try:
            with open(path, "rb", opener=_without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise UnfitFileError("expected a regular file, got a pipe or a device")
                _require_size(status.st_size)
                data = file.read()
                status = os.fstat(file.fileno())  # after reading: a change in the meantime is another version
                return Content(data, _local_version(status))
        except ValueError as error:  # a name with a null byte
            raise UnfitFileError(f"expected the name of a file: {error}") from error
        except OSError as error:
            if error.errno in _NO_SUCH_FILE:
                raise FileNotFoundError(error.errno, error.strerror, path) from error
            if error.errno in _NEVER_A_FILE:
                raise UnfitFileError(f"expected a regular file: {error.strerror}") from error
            raise

    def open(self, path: str) -> Any:
        """Return the path. Arrow opens it, and closes it again."""
        return path

    def list(self) -> list[tuple[str, Version]]:
        """Return the file, or all files below the folder, or those that match a pattern in the last part."""
        if self._root.is_file():
            found = [self._root]
        elif self._root.is_dir():
            found = [path for path in self._root.rglob("*") if not path.name.startswith((".", "_"))]
        else:
            found = list(self._root.parent.glob(self._root.name)) if self._root.parent.is_dir() else []
        files = [path for path in found if path.is_file()]
        return sorted((str(path), _local_version(path.stat())) for path in files)

    def resolve(self, name: str, folder: str) -> str:
        """Return the path. A relative one begins in the folder."""
        scheme = scheme_of(name)
        if scheme == "file":
            return unquote(urlsplit(name).path)
        if scheme in SCHEMES:
            raise _other_store(name, "a disk")
        return str(Path(folder, name))


class StoredObjects:
    """The objects of a store, below an address such as ``s3://bucket/prefix``.

    Args:
        address: the address. Its query may have the options region, scheme and endpoint_override.

    Raises:
        ConfigError: the address has a password, another option, or a scheme that pyarrow does not know.
        MissingExtra: pyarrow is not installed.
    """

    def __init__(self, address: str) -> None:
        with needs("archive", shown_address(address)):
            import pyarrow as pa
            from pyarrow import fs
        parts = urlsplit(address)
        unknown = sorted(set(parse_qs(parts.query)) - _OPTIONS)
        if "@" in parts.netloc or unknown:
            problem = "a user or password" if "@" in parts.netloc else f"the option {unknown[0]}"
            raise ConfigError(
                f"{shown_address(address)}: expected an address without secrets and only with the options "
                f"{', '.join(sorted(_OPTIONS))}, got {problem}. Give secrets in the environment, for example "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        self._fs = fs
        self._scheme = parts.scheme
        pattern = parts.path.rpartition("/")[2]
        self._pattern = pattern if any(one in pattern for one in "*?[") else ""
        place = parts.path.removesuffix(self._pattern).rstrip("/") if self._pattern else parts.path.rstrip("/")
        query = f"?{parts.query}" if parts.query else ""
        try:
            self._system, self._root = fs.FileSystem.from_uri(f"{parts.scheme}://{parts.netloc}{place}{query}")
        except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ConfigError(
                f"{shown_address(address)}: expected an address that pyarrow can open, such as s3://bucket/prefix: {error}."
            ) from error

    def address(self, path: str) -> str:
        """Return the address without options."""
        return f"{self._scheme}://{path}"

    def version(self, path: str) -> Version | None:
        """Return size and time of change."""
        return next(self.versions([path]))

    def versions(self, paths: Sequence[str]) -> Iterator[Version | None]:
        """Yield the version of each object."""
        for found in self._system.get_file_info(list(paths)):
            exists = found.type == self._fs.FileType.File
            yield _stored_version(found.size, found.mtime_ns) if exists else None

    def read(self, path: str) -> Content:
        """Read a whole object with one request."""
        with self._system.open_input_file(path) as file:
            _require_size(file.size())
            data: bytes = file.read()
            return Content(data, _stored_version(file.size(), _time_of_change(file.metadata())))

    def open(self, path: str) -> Any:
        """Open an object for reading parts of it."""
        return self._system.open_input_file(path)

    @property
    def root(self) -> str:
        """Path of the address: bucket and prefix."""
        root: str = self._root
        return root.rstrip("/")

    def names(self) -> list[str]:
        """Return the names of the objects and prefixes directly below the address."""
        selector = self._fs.FileSelector(self._root, allow_not_found=True)
        return [one.base_name for one in self._system.get_file_info(selector)]

    def write(self, path: str, data: bytes | bytearray) -> None:
        """Upload an object. Others see it when the upload is complete, and never a part of it."""
        with self._system.open_output_stream(path) as stream:
            stream.write(data)

    def list(self) -> list[tuple[str, Version]]:
        """Return the object, or all objects below the prefix."""
        here = self._system.get_file_info(self._root)
        if here.type == self._fs.FileType.File:
            return [(self._root, _stored_version(here.size, here.mtime_ns))]
        if here.type != self._fs.FileType.Directory:
            return []
        selector = self._fs.FileSelector(self._root, recursive=not self._pattern)
        found = [
            (one.path, _stored_version(one.size, one.mtime_ns))
            for one in self._system.get_file_info(selector)
            if one.type == self._fs.FileType.File and not one.base_name.startswith((".", "_"))
        ]
        matches = [one for one in found if fnmatch.fnmatchcase(one[0].rpartition("/")[2], self._pattern or "*")]
        return sorted(matches)

    def resolve(self, name: str, folder: str) -> str:
        """Return the path of an object; an address of the same store, or a name within the folder."""
        if scheme_of(name):
            parts = urlsplit(name)
            if parts.scheme != self._scheme:
                raise _other_store(name, f"{self._scheme}://")
            return f"{parts.netloc}{parts.path}"
        return f"{folder}/{name}" if folder else name


def _local_version(status: os.stat_result) -> Version:
    return Version(status.st_size, status.st_mtime_ns)


def _stored_version(size: int, mtime_ns: int | None) -> Version:
    # in whole seconds: some stores list milliseconds, but state only seconds with the object itself
    return Version(size, (mtime_ns or 0) // _NS * _NS)


def _time_of_change(metadata: dict[str, bytes]) -> int | None:
    """Return the time of change in the metadata of an object, in nanoseconds. None if the store states none that can be read."""
    try:
        changed = datetime.fromisoformat(metadata["Last-Modified"].decode())
        return None if changed.tzinfo is None else round(changed.timestamp()) * _NS
    except (KeyError, ValueError):
        return None


def stored_text(text: str) -> str:
    """Return a text that can be stored in UTF-8. Names of files may have other bytes, which become escapes such as ``\\xff``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _without_waiting(path: str, flags: int) -> int:
    # otherwise the opening of a pipe waits for its other end. Regular files do not know the flag
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _require_size(size: int) -> None:
    if size > MAX_BYTES:
        raise UnfitFileError(f"expected at most {MAX_BYTES / 1e6:.0f} MB, got {size / 1e6:.0f} MB")


def _other_store(name: str, store: str) -> DataError:
    return DataError(
        f"{shown_address(name)}: expected files where the input is ({store}), got the address of another place. Put the table "
        "next to its pictures, and judge each place with a command of its own."
    )


def file_system_of(address: str) -> FileSystem:
    """Return the file system of an input.

    Raises:
        ConfigError, MissingExtra: see `StoredObjects`.
    """
    return StoredObjects(address) if scheme_of(address) in SCHEMES else LocalFiles(address)
