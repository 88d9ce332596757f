"""Divide an input into blocks: always the same blocks for the same input. Nothing is decoded here.

INPUT is a folder of pictures, a text file with one path per line, or Parquet files with pictures. All of them can be in an object
store, except lists. For model files that judge windows, INPUT is a log or a folder of logs.
"""

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from andon.archive.block import Block, LogBlock, PictureBlock, PictureFile, TableBlock, Version, VersionDigest
from andon.archive.columns import GIVEN
from andon.archive.file_system import SCHEMES, FileSystem, LocalFiles, StoredObjects, file_system_of
from andon.archive.reading import version_behind
from andon.foundation.errors import ConfigError, DataError
from andon.foundation.extras import needs
from andon.runtime.schema import InputSpec, WindowSpec
from andon.sources.addresses import scheme_of, shown_address
from andon.sources.kinds import logs
from andon.sources.pictures.folder import is_picture, layout, list_pictures, natural, open_listing

DEFAULT_BLOCK_ROWS = 2000
BYTES_PER_LOG_ROW = 64
"""Estimated size of a row of a log. It only decides into how many stretches a log is divided."""
_TABLES = (".parquet", ".pq")
_COLUMNS = ("item_id", "uri", "bytes", *GIVEN)
"""Columns that are read."""


class TableFile(Struct, frozen=True):
    """A Parquet file of pictures, and the number of rows of each row group."""

    path: str
    version: Version
    groups: tuple[int, ...]
    pictures: tuple[str, ...] = ()
    """For each block, the digest of the versions of its pictures. Empty if they are in the table, or in an object store."""


class LogFile(Struct, frozen=True):
    """A sensor log."""

    path: str
    name: str
    version: Version


Part = PictureFile | TableFile | LogFile


class ArchiveInput:
    """An input as a short description from which its blocks can be made again and again.

    Args:
        address: the input.
        parts: its files, in their order.
        block_rows: largest number of items of a block.
        stretches: number of stretches of each log. None: from its size.
    """

    def __init__(self, address: str, parts: Sequence[Part], block_rows: int, *, stretches: int | None = None) -> None:
        self.address = address
        self._parts = parts
        self._block_rows = block_rows
        self._stretches = stretches

    @property
    def files(self) -> int:
        """Number of files."""
        return len(self._parts)

    def would_list(self, out: str) -> bool:
        """Return whether a later run of the same input would list results at `out`, because they lie within the input."""
        if scheme_of(out) and scheme_of(self.address) == scheme_of(out):
            inner, outer = (f"{_prefix_of(one)}/" for one in (out, self.address))
            return inner.startswith(outer)
        pictures = isinstance(self._parts[0], PictureFile)
        if scheme_of(out) or not Path(self.address).is_dir() or pictures:
            return False
        return Path(out).is_relative_to(Path(self.address).resolve())

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks, in the order of the input."""
        pictures: list[PictureFile] = []
        for part in self._parts:
            if isinstance(part, PictureFile):
                pictures.append(part)
                if len(pictures) == self._block_rows:
                    yield PictureBlock(tuple(pictures))
                    pictures = []
            elif isinstance(part, TableFile):
                blocks = _of_table(part, self._block_rows)
                if part.pictures:
                    pairs = zip(blocks, part.pictures, strict=True)
                    yield from (msgspec.structs.replace(block, pictures=digest) for block, digest in pairs)
                else:
                    yield from blocks
            else:
                estimate = math.ceil(part.version.size / (self._block_rows * BYTES_PER_LOG_ROW))
                count = max(1, estimate) if self._stretches is None else self._stretches
                for number in range(count):
                    yield LogBlock(part.path, part.name, part.version, number, count)
        if pictures:
            yield PictureBlock(tuple(pictures))


def open_input(
    address: str, spec: InputSpec, *, block_rows: int = DEFAULT_BLOCK_ROWS, stretches: int | None = None
) -> ArchiveInput:
    """List an input.

    Args:
        address: see the module.
        spec: the input specification of the model file.
        block_rows: largest number of items of a block.
        stretches: number of blocks of each log. None: from its size and `block_rows`.

    Raises:
        DataError: there is nothing to judge, or a table lacks a column.
        ConfigError: the address cannot be used.
        MissingExtra: pyarrow is not installed.
    """
    if isinstance(spec, WindowSpec):
        return ArchiveInput(address, _log_files(address), block_rows, stretches=stretches)
    if scheme_of(address) in SCHEMES:
        return ArchiveInput(address, _stored(address, StoredObjects(address), block_rows), block_rows)
    path = Path(address)
    if path.is_file() and path.suffix.lower() == ".txt":
        return ArchiveInput(address, _listed(path, file_system_of(address), block_rows), block_rows)
    if path.is_dir() and (pictures := _folder(path)):
        mixed = next((one.name for one in path.iterdir() if one.name.lower().endswith(_TABLES)), None)
        if mixed is not None:
            raise DataError(
                f"{address}: expected a folder of pictures or a folder of Parquet files, got both ({pictures[0].item_id}, "
                f"{mixed}). Move one kind into another folder, or give the files: '{address}/*.parquet'."
            )
        return ArchiveInput(address, pictures, block_rows)
    if path.is_file() and is_picture(path.name):
        return ArchiveInput(address, _folder(path), block_rows)
    files = file_system_of(address)
    tables = [(name, version) for name, version in files.list() if name.lower().endswith(_TABLES)]
    if tables:
        return ArchiveInput(address, _tables(tables, files, block_rows), block_rows)
    kind = "a file of another kind" if path.is_file() else "none of them" if path.exists() else "no such file or folder"
    raise DataError(
        f"{shown_address(address)}: expected a folder of pictures, a list of paths (.txt), Parquet files (.parquet) or an "
        f"address such as s3://bucket/prefix, got {kind}."
    )


def _folder(root: Path) -> list[PictureFile]:
    """List a folder of pictures, or one picture. The list is empty for a folder without pictures."""
    root = root.resolve()
    if root.is_dir():
        try:
            found = list_pictures(root)
        except OSError as error:
            raise DataError(f"{root}: expected a folder of pictures, but it cannot be listed: {error}.") from error
    else:
        found = open_listing(root)
    labelled = layout(found) != "plain"
    return [
        PictureFile(
            key,
            str(file.path),
            Version(file.stamp.size, file.stamp.mtime_ns),
            file.fault,
            label_of(key) if labelled else None,
        )
        for key, file in found.items()
    ]


def label_of(key: str) -> str | None:
    """Return the folder of a picture, which names its label where a folder has a known layout.

    >>> label_of("test/crack/003.png"), label_of("003.png")
    ('crack', None)
    """
    folders = key.split("/")[:-1]
    return folders[-1] if folders else None


def _listed(path: Path, files: FileSystem, block_rows: int) -> Sequence[Part]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a text file in UTF-8 with one path per line: {error}.") from error
    names = [line for line in lines if line]
    if not names:
        raise DataError(f"{path}: expected one path per line, got an empty file.")
    remote = next((name for name in names if scheme_of(name)), None)
    if remote is not None:
        raise DataError(
            f"{path}: expected paths of files, got the address {shown_address(remote)}. Give the common address as INPUT, for "
            "example s3://bucket/prefix, or a Parquet table with a column uri."
        )
    paths = [files.resolve(name, str(path.parent.resolve())) for name in names]
    _require_different(path, names, paths)
    versions, faults = _looked_up(paths, files)
    if all(name.lower().endswith(_TABLES) for name in names):
        missing = next((name for name, version in zip(names, versions, strict=True) if version is None), None)
        if missing is not None:
            raise DataError(f"{path}: expected Parquet files that exist, but {missing} does not. Correct the list.")
        return _tables(
            [(one, version) for one, version in zip(paths, versions, strict=True) if version], files, block_rows
        )
    return [
        PictureFile(name, one, version or Version(0, 0), fault)
        for name, one, version, fault in zip(names, paths, versions, faults, strict=True)
    ]


def _require_different(path: Path, names: Sequence[str], paths: Sequence[str]) -> None:
    """Refuse a list with two lines for one file, also in different words such as ``./a.png``. Links are not followed."""
    first: dict[str, str] = {}
    for name, one in zip(names, paths, strict=True):
        place = os.path.normpath(one)
        if place in first:
            twice = f"{name!r} twice" if first[place] == name else f"{first[place]!r} and {name!r}"
            raise DataError(f"{path}: expected each file once, got {twice}. Remove one of the two lines.")
        first[place] = name


def _looked_up(paths: Sequence[str], files: FileSystem) -> tuple[list[Version | None], list[str]]:
    """Return the version of each file and the reason why there is none. One path does not affect the others."""
    versions: list[Version | None] = []
    faults = []
    for path in paths:
        try:
            version, fault = files.version(path), "does not exist"
        except OSError as error:
            version, fault = None, f"cannot be read: {error.strerror or error}"
        versions.append(version)
        faults.append("" if version else fault)
    return versions, faults


def _stored(address: str, files: StoredObjects, block_rows: int) -> Sequence[Part]:
    try:
        found = files.list()
    except OSError as error:
        raise DataError(f"{shown_address(address)}: cannot be listed: {error}.") from error
    tables = [one for one in found if one[0].lower().endswith(_TABLES)]
    if tables:
        return _tables(tables, files, block_rows)
    pictures = {path: version for path, version in found if is_picture(path.rpartition("/")[2])}
    if not pictures:
        raise DataError(
            f"{shown_address(address)}: expected Parquet files or pictures below this address, found none of them among "
            f"{len(found)} files."
        )
    return [PictureFile(path, path, pictures[path]) for path in natural(pictures)]


def _tables(found: Sequence[tuple[str, Version]], files: FileSystem, block_rows: int) -> list[TableFile]:
    with needs("archive", "reading Parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    tables = []
    for path, version in found:
        try:
            with pq.ParquetFile(files.open(path)) as opened:
                names, metadata = opened.schema_arrow.names, opened.metadata
                groups = tuple(metadata.row_group(at).num_rows for at in range(metadata.num_row_groups))
        except (OSError, UnicodeError, pa.ArrowException) as error:  # a name that is not UTF-8
            raise DataError(
                f"{files.address(path)}: expected a Parquet file, but it cannot be read: {error}."
            ) from error
        if "item_id" not in names or not {"uri", "bytes"} & set(names):
            raise DataError(
                f"{files.address(path)}: expected the columns item_id and bytes, or item_id and uri, got {', '.join(names)}. "
                "'andon pack FOLDER OUT.parquet' writes such a file."
            )
        twice = next((name for name in _COLUMNS if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(
                f"{files.address(path)}: expected each column once, got {twice} {names.count(twice)} times. Remove the others."
            )
        table = TableFile(path, version, groups)
        if "bytes" not in names and isinstance(files, LocalFiles):  # a store would ask a price for each picture
            table = _with_pictures(table, files, block_rows)
        tables.append(table)
    if not any(sum(table.groups) for table in tables):
        raise DataError(f"{files.address(found[0][0])}: expected rows, got a table without rows.")
    return tables


def _with_pictures(table: TableFile, files: LocalFiles, block_rows: int) -> TableFile:
    """Look up the versions of the pictures that a table names, so that the blocks of replaced pictures get other keys."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = table.path.rpartition("/")[0]
    ends = itertools.accumulate(block.count for block in _of_table(table, block_rows))
    end, at = next(ends, 0), 0
    digests, digest = [], VersionDigest()
    try:
        with pq.ParquetFile(files.open(table.path)) as opened:
            for batch in opened.iter_batches(columns=["uri"], use_threads=False):
                for uri in batch.column(0).cast(pa.string()).to_pylist():
                    digest.add(version_behind(uri, files, folder))
                    at += 1
                    if at == end:
                        digests.append(digest.text)
                        digest, end = VersionDigest(), next(ends, 0)
    except (OSError, ValueError, pa.ArrowException):  # the worker that reads these rows reports it
        return table
    return msgspec.structs.replace(table, pictures=tuple(digests))


def _of_table(table: TableFile, most: int) -> Iterator[TableBlock]:
    """Join small row groups to blocks, and divide large ones."""
    first, rows = 0, 0
    for at, size in enumerate(table.groups):
        if rows and rows + size > most:
            yield TableBlock(table.path, table.version, (first, at), 0, rows)
            rows = 0
        if not rows:
            first = at
        if size > most:
            for start in range(0, size, most):
                yield TableBlock(table.path, table.version, (at, at + 1), start, min(most, size - start))
            continue
        rows += size
    if rows:
        yield TableBlock(table.path, table.version, (first, len(table.groups)), 0, rows)


def _prefix_of(address: str) -> str:
    """Return bucket and prefix of an address, without a pattern in the last part."""
    parts = urlsplit(address)
    folder, _, last = parts.path.rpartition("/")
    place = folder if any(sign in last for sign in "*?[") else parts.path
    return f"{parts.netloc}{place}".rstrip("/")


def _log_files(address: str) -> list[LogFile]:
    if scheme_of(address) in SCHEMES:
        raise ConfigError(
            f"{shown_address(address)}: expected a log or a folder of logs on a disk, got an address. Copy the logs to a disk "
            "that all workers can read."
        )
    root = Path(address)
    paths = logs.files_of(root)
    if not paths:
        raise DataError(f"{address}: expected a CSV or Parquet log, or a folder of them; found none.")
    found = []
    for path in paths:
        status = path.stat()
        name = path.name if path == root else path.relative_to(root).as_posix()
        found.append(LogFile(str(path.resolve()), name, Version(status.st_size, status.st_mtime_ns)))
    return found
