"""Read the items of a block, each with the facts that the input states about it."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from andon.archive.block import Block, Job, LogBlock, PictureBlock, PictureFile, TableBlock, Version, VersionDigest
from andon.archive.columns import GIVEN, Facts, known_time
from andon.archive.file_system import FileSystem, UnfitFileError, file_system_of, stored_text
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import InputSpec, Reason, WindowSpec
from andon.sources.kinds import logs
from andon.sources.pictures.decode import Channels, WarnedKinds, decode, frame_channels
from andon.sources.pictures.limits import MAX_BYTES
from andon.sources.series.windows import WindowCollection, cut

Given = tuple[Facts, Item | Lost]

_BATCH_ROWS = 256
_SINCE_1970_S = 1e8
"""Times from this one on, in the year 1973, are seconds since 1970. Earlier ones count from the start of a recording."""

_log = logging.getLogger(__name__)


def read_block(job: Job, block: Block, spec: InputSpec) -> Iterator[Given]:
    """Yield the items of a block in their order. A damaged picture is `Lost`.

    Raises:
        DataError: a file is not the one that was planned, a table has a wrong column, or an item is there twice.
        OSError: a disk or a store does not answer. It may answer later, so this is not the fault of an item.
    """
    if isinstance(block, LogBlock):
        return _windows(block, spec)
    files = file_system_of(job.root)
    channels = frame_channels(spec, "an archive of pictures", deep=True)
    if isinstance(block, PictureBlock):
        return _pictures(block, files, channels)
    return _rows(block, files, channels)


def _pictures(block: PictureBlock, files: FileSystem, channels: Channels) -> Iterator[Given]:
    warned = WarnedKinds()
    for file in block.files:
        taken = known_time(file.version.mtime_ns / 1e9) if file.version.mtime_ns else None
        facts = Facts(item_id=file.item_id, uri=files.address(file.path), captured_at=taken, label=file.label)
        yield facts, _picture(file, files, channels, warned)


def _picture(file: PictureFile, files: FileSystem, channels: Channels, warned: WarnedKinds) -> Item | Lost:
    ref = Ref(key=file.item_id)
    if file.fault:
        return Lost(ref, Reason.UNREADABLE, f"{file.item_id}: {file.fault}")
    if file.version.size > MAX_BYTES:
        size = f"{file.version.size / 1e6:.0f} MB"
        return Lost(ref, Reason.UNREADABLE, f"{file.item_id}: expected at most {MAX_BYTES / 1e6:.0f} MB, got {size}")
    try:
        data, version = files.read(file.path)
    except PermissionError as error:
        return Lost(ref, Reason.UNREADABLE, f"{file.item_id}: cannot be read: {error.strerror or error}")
    except UnfitFileError as error:
        return Lost(ref, Reason.UNREADABLE, f"{file.item_id}: {error}")
    except FileNotFoundError:
        raise _changed(files.address(file.path)) from None
    if not version.may_be(file.version):
        raise _changed(files.address(file.path))
    return _decoded(data, ref, channels, warned)


def _decoded(data: bytes, ref: Ref, channels: Channels, warned: WarnedKinds) -> Item | Lost:
    try:
        return Item(ref, decode(data, channels=channels, name=ref.key, warned=warned))
    except DataError as error:
        return Lost(ref, Reason.UNREADABLE, str(error))


def _changed(address: str) -> DataError:
    return DataError(
        f"{address}: expected the file as it was when the blocks were planned, got another version. Run the same command again "
        "with --new-plan."
    )


class _Pictures(NamedTuple):
    """Means to read the pictures of a table."""

    files: FileSystem
    folder: str
    channels: Channels
    warned: WarnedKinds


def _rows(block: TableBlock, files: FileSystem, channels: Channels) -> Iterator[Given]:
    """Yield the pictures of a table in small batches, so that memory does not depend on the size of a row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    address = files.address(block.path)
    _require_version(files, block.path, block.version)
    pictures = _Pictures(files, block.path.rpartition("/")[0], channels, WarnedKinds())
    seen = set[str]()
    versions = VersionDigest() if block.pictures else None
    try:
        with pq.ParquetFile(files.open(block.path)) as opened:
            wanted = [name for name in ("item_id", "uri", "bytes", *GIVEN) if name in opened.schema_arrow.names]
            at, end = 0, block.start + block.count
            for batch in opened.iter_batches(
                batch_size=_BATCH_ROWS, row_groups=list(range(*block.groups)), columns=wanted, use_threads=False
            ):
                low, high = max(block.start - at, 0), min(end - at, batch.num_rows)
                at += batch.num_rows
                if low < high:
                    for row in _plain(batch.slice(low, high - low), address):
                        facts = _facts(row, pictures, address)
                        if facts.item_id in seen:
                            raise DataError(
                                f"{address}: expected each item_id once, got {facts.item_id!r} twice. Correct the table."
                            )
                        seen.add(facts.item_id)
                        yield facts, _from_row(row, facts, pictures)
                        if versions is not None:
                            # after reading: a change in the meantime is another version
                            versions.add(version_behind(row["uri"], files, pictures.folder))
                if at >= end:
                    break
    except pa.ArrowException as error:
        raise DataError(f"{address}: damaged Parquet file: {error}.") from error
    if versions is not None and versions.text != block.pictures:
        raise DataError(
            f"{address}: expected the pictures of these rows as they were when the blocks were planned, got another version of "
            "one of them. Run the same command again with --new-plan."
        )


def version_behind(uri: str | None, files: FileSystem, folder: str) -> Version | None:
    """Return the version of the picture that a row of a table names. Return None if there is none."""
    try:
        return None if uri is None else files.version(files.resolve(uri, folder))
    except (OSError, DataError):  # reading it reports why
        return None


def _plain(batch: Any, address: str) -> list[dict[str, Any]]:
    import pyarrow as pa

    names = batch.schema.names
    columns = []
    for name in names:
        column = batch.column(name)
        kind = (
            pa.timestamp("us", tz="UTC") if name == "captured_at" else pa.binary() if name == "bytes" else pa.string()
        )
        if name == "captured_at" and pa.types.is_integer(column.type):  # arrow would read any number as microseconds
            raise DataError(
                f"{address}: the column {name}: expected {kind}, got {column.type}. Convert the numbers to timestamps."
            )
        try:
            if name == "captured_at" and pa.types.is_timestamp(column.type) and column.type.tz is None:
                column = column.cast(pa.timestamp("us"), safe=False)  # without a zone the times are UTC
            columns.append(column.cast(kind, safe=False).to_pylist())
        # the conversion to Python refuses texts that are not UTF-8, and times after the year 9999
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise DataError(
                f"{address}: the column {name}: expected {kind}, got {column.type}: {str(error).rstrip('.')}."
            ) from error
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _facts(row: dict[str, Any], pictures: _Pictures, address: str) -> Facts:
    item_id, uri = row["item_id"], row.get("uri")
    if not item_id:
        raise DataError(f"{address}: expected a name in each row of the column item_id, got an empty one.")
    files = pictures.files
    shown = None if uri is None else files.address(files.resolve(uri, pictures.folder))
    # many exports write an empty text where there is no value. It must not become a line, or one part of many rows
    return Facts(item_id=item_id, uri=shown, **{name: row.get(name) or None for name in GIVEN})


def _from_row(row: dict[str, Any], facts: Facts, pictures: _Pictures) -> Item | Lost:
    data, uri = row.get("bytes"), row.get("uri")
    ref = Ref(key=facts.item_id)
    if data is None and uri is None:
        return Lost(ref, Reason.LOST, f"{facts.item_id}: the table has neither bytes nor a uri for it")
    if data is None:
        try:
            data = pictures.files.read(pictures.files.resolve(str(uri), pictures.folder)).data
        except FileNotFoundError:
            return Lost(ref, Reason.LOST, f"{facts.item_id}: {facts.uri} does not exist")
        except UnfitFileError as error:
            return Lost(ref, Reason.UNREADABLE, f"{facts.item_id}: {facts.uri}: {error}")
        except PermissionError as error:
            return Lost(ref, Reason.UNREADABLE, f"{facts.item_id}: cannot be read: {error.strerror or error}")
    return _decoded(data, ref, pictures.channels, pictures.warned)


def _require_version(files: FileSystem, path: str, planned: Version) -> None:
    if files.version(path) != planned:
        raise _changed(files.address(path))


class _LastLog:
    """The log that this process read last. The blocks of one log follow each other, so it is read once per worker."""

    def __init__(self) -> None:
        self._key: tuple[str, Version, WindowSpec] | None = None
        self._windows: WindowCollection | None = None

    def windows(self, block: LogBlock, spec: WindowSpec) -> WindowCollection:
        """Return the windows of a log."""
        key = (block.path, block.version, spec)
        if self._windows is None or self._key != key:
            _require_version(file_system_of(block.path), block.path, block.version)
            self._windows, self._key = cut(logs.collect(block.path), spec), key
        return self._windows


_LAST_LOG = _LastLog()


def _windows(block: LogBlock, spec: InputSpec) -> Iterator[Given]:
    """Yield the windows that end in a stretch of a log.

    The whole log is read and cut: where windows end depends on the first row, and on each hole since then. So a stretch has the
    same windows, with the same warm-up before them, however the log is divided.
    """
    if not isinstance(spec, WindowSpec):
        raise ConfigError(
            f"{block.path}: this model file judges frames: expected pictures, got a log of sensor values."
        )
    windows = _LAST_LOG.windows(block, spec)
    refs = windows.refs
    first, end = (len(refs) * at // block.parts for at in (block.part, block.part + 1))
    run = Path(block.path).name
    for ref in refs[first:end]:
        time_s = ref.time_s if ref.time_s is not None and ref.time_s >= _SINCE_1970_S else None
        facts = Facts(
            item_id=stored_text(f"{block.name}{ref.key.removeprefix(run)}"),
            uri=stored_text(block.path),
            captured_at=None if time_s is None else known_time(time_s),
        )
        yield facts, windows.read(ref)
