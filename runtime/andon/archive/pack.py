"""Pack a folder of pictures into Parquet files, because millions of small files cost as much to open as to judge."""

import contextlib
import io
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from andon.archive.columns import known_time
from andon.archive.file_system import stored_text
from andon.archive.plan import label_of
from andon.foundation.errors import ConfigError, DataError
from andon.foundation.extras import needs
from andon.foundation.progress import Progress, silent
from andon.sources.pictures.folder import PictureFile, layout, list_pictures
from andon.sources.pictures.limits import MAX_BYTES

DEFAULT_SHARD_MB = 256
_GROUP_ROWS, _GROUP_BYTES = 500, 32 << 20
_EXIF, _TAKEN, _CHANGED = 0x8769, 0x9003, 0x0132
"""Tags of EXIF: the directory, the time of the photo, and the time of the last change."""


class Packed(Struct, frozen=True, kw_only=True):
    """Outcome of packing."""

    files: tuple[str, ...]
    """Paths of the Parquet files."""
    address: str
    """Path or pattern of all of them, as INPUT of ``andon score``."""
    pictures: int
    unreadable: int
    """Number of entries without bytes: broken links, pipes, or files that are too large or cannot be read."""
    labelled: bool


def pack(
    folder: Path | str,
    out: Path | str,
    *,
    shard_mb: float = DEFAULT_SHARD_MB,
    line: str | None = None,
    lot: str | None = None,
    label: str | None = None,
    prefix: str = "",
    progress: Progress = silent,
) -> Packed:
    """Write all pictures below a folder into Parquet files with the columns of an archive.

    The rows have the keys of the pictures as ``item_id``, and their bytes without a change. ``captured_at`` is the time of the
    photo in the EXIF data, or else the time of change of the file. If the folder has a known layout (``good/``,
    ``test/good``), the name of a picture's folder is its label.

    Args:
        folder: folder of pictures.
        out: name of the file, ``NAME.parquet``. Several files are named ``NAME-1-of-3.parquet`` and so on.
        shard_mb: size of a file in MB. 64 to 512 suit object stores.
        line: name of the line, for all rows.
        lot: name of the lot, for all rows.
        label: label for all rows, instead of the folders.
        prefix: text at the beginning of each ``item_id``. It keeps the names of several packed folders apart.
        progress: is called after each picture.

    Raises:
        DataError: there is no picture.
        ConfigError: a file cannot be written, or exists.
        MissingExtra: pyarrow is not installed.
    """
    with needs("archive", "andon pack"):
        import pyarrow as pa
    folder, out = Path(folder), Path(out)
    line, lot, label = (None if text is None else stored_text(text) for text in (line, lot, label))
    prefix = stored_text(prefix)
    if out.suffix.lower() != ".parquet":
        raise ConfigError(
            f"{out}: expected a name that ends with .parquet. Example: andon pack {folder} archive.parquet."
        )
    try:
        files = list_pictures(folder)
    except OSError as error:
        raise DataError(f"{folder}: expected a folder of pictures: {error.strerror or error}.") from error
    if not files:
        raise DataError(f"{folder}: expected pictures in this folder or its sub-folders, found none.")
    named = label is None and layout(files) != "plain"
    shards = _shards(list(files.items()), shard_mb * 1e6)
    paths = [out] if len(shards) == 1 else [
        out.with_name(f"{out.stem}-{at}-of-{len(shards)}.parquet") for at in range(1, len(shards) + 1)
    ]  # fmt: skip
    taken = next((path for path in paths if path.exists()), None)
    if taken is not None:
        raise ConfigError(f"{taken}: expected a new file, but it exists. Remove it, or give another name.")
    schema = pa.schema(
        [
            pa.field("item_id", pa.string(), nullable=False),
            pa.field("bytes", pa.binary()),
            pa.field("captured_at", pa.timestamp("us", tz="UTC")),
            *(pa.field(name, pa.string()) for name in ("line", "lot", "label")),
        ]
    )
    unreadable = done = 0
    for path, shard in zip(paths, shards, strict=True):
        with _new_file(path, schema) as write:
            group: list[dict[str, Any]] = []
            size = 0
            for key, file in shard:
                data = _bytes(file)
                unreadable += data is None
                group.append(
                    {
                        "item_id": prefix + key,
                        "bytes": data,
                        "captured_at": _captured_at(file, data),
                        "line": line,
                        "lot": lot,
                        "label": label_of(key) if named else label,
                    }
                )
                size += len(data or b"")
                if len(group) == _GROUP_ROWS or size >= _GROUP_BYTES:
                    write(group)
                    group, size = [], 0
                done += 1
                progress("packing", done, len(files))
            if group:
                write(group)
    address = str(out) if len(shards) == 1 else str(out.with_name(f"{out.stem}-*-of-{len(shards)}.parquet"))
    return Packed(
        files=tuple(map(str, paths)),
        address=address,
        pictures=len(files),
        unreadable=unreadable,
        labelled=named or label is not None,
    )


def _shards(files: Sequence[tuple[str, PictureFile]], most: float) -> list[list[tuple[str, PictureFile]]]:
    """Divide files into groups of nearly equal size, in their order."""
    total = sum(file.stamp.size for _, file in files)
    count = max(1, math.ceil(total / most))
    shards: list[list[tuple[str, PictureFile]]] = [[]]
    size = 0.0
    for key, file in files:
        if len(shards) < count and size >= total / count * len(shards):
            shards.append([])
        shards[-1].append((key, file))
        size += file.stamp.size
    return shards


@contextlib.contextmanager
def _new_file(path: Path, schema: Any) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """Yield a function that writes a row group. The file gets its name when it is complete."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            words = ["line", "lot", "label"]
            with temporary.open("wb") as stream:
                with pq.ParquetWriter(stream, schema, compression="zstd", use_dictionary=words) as writer:
                    yield lambda rows: writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}.") from error


def _bytes(file: PictureFile) -> bytes | None:
    if file.fault or file.stamp.size > MAX_BYTES:
        return None
    try:
        return file.path.read_bytes()
    except OSError:
        return None


def _captured_at(file: PictureFile, data: bytes | None) -> datetime | None:
    if data is not None and data[:2] == b"\xff\xd8" and b"Exif\0" in data[:65536]:
        taken = _photo_time(data)
        if taken is not None:
            return taken
    return known_time(file.stamp.mtime_ns / 1e9) if file.stamp.mtime_ns else None


def _photo_time(data: bytes) -> datetime | None:
    """Return the time in the EXIF data of a JPEG. Cameras write no time zone; it is taken as UTC."""
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as picture:
            warnings.simplefilter("ignore")
            exif = picture.getexif()
        text = exif.get_ifd(_EXIF).get(_TAKEN) or exif.get(_CHANGED)
        return None if text is None else datetime.strptime(str(text), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except Exception:  # noqa: BLE001 - Pillow raises many types. Damaged EXIF data do not matter: the picture is judged anyway
        return None
