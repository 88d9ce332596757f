"""Write and read a folder of results: one Parquet file for each block, and a manifest that names them.

* ``_plan.json``: the digest of all blocks, the model, the input and the options. It is written first.
* ``blocks/KEY.parquet``: the rows of one block. The key is a digest of model, options and input.
* ``_manifest.json``: the blocks that belong to the results. It is written last.

Every file is either complete or absent (`andon.archive.result_store`). Readers read only what the manifest names. Blocks of an
older plan may lie next to them.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from andon.archive.columns import SCHEMA, Row, schema, table_of, write_options
from andon.archive.result_store import store_at
from andon.foundation.errors import DataError
from andon.foundation.extras import needs
from andon.runtime.detector import Detector
from andon.runtime.schema import canonical_json

Place = Path | str
"""Folder of results, or their address in an object store."""
BLOCKS, PLAN, MANIFEST = "blocks", "_plan.json", "_manifest.json"
MANIFEST_SCHEMA = "andon.results/1"
_PREFIX = "andon."
_KEY = r"^[0-9A-Za-z_-]{1,64}\Z"
_DAMAGED = (KeyError, ValueError, msgspec.MsgspecError, RecursionError)
"""Errors of a reader if the content of a footer or manifest is damaged or forged."""


class ModelIdentity(Struct, frozen=True, kw_only=True):
    """The model file that judged."""

    name: str
    detector: str
    detector_version: int
    sha256: str
    """Checksum of the file, as ``sha256sum`` prints it. The column ``model_sha256`` contains it."""
    short: str
    """First 12 digits of the digest that the file contains, as in verdicts."""
    threshold: float


class Promise(Struct, frozen=True, kw_only=True):
    """The statement of the model file about false rejects, for the device that judged."""

    promised: bool
    """False if the file has an estimate only, or if this device is not of the type that it was calibrated on."""
    kind: str
    alpha: float
    """Upper bound for the share of good parts that are rejected."""
    confidence: float
    unit: str
    """``part``, ``window`` or ``block``."""
    grouped: bool
    """True if a part consists of several files."""
    sentence: str
    tau: float = 1.0
    """Autocorrelation time of the scores, in units. Audits divide their counts by it."""
    one_per_lot: bool = False
    """True if one part was drawn from each lot, because parts of a lot depend on each other."""


class Identity(Struct, frozen=True, kw_only=True):
    """Identity of the judge: model file, promise, software and device. The footer of each block contains it."""

    model: ModelIdentity
    promise: Promise | None
    versions: dict[str, str]
    provider: str
    """``cpu`` or ``cuda``."""
    precision: str


class Counts(Struct, frozen=True, kw_only=True):
    """Numbers of rows."""

    rows: int = 0
    rejects: int = 0
    reviews: int = 0
    invalid: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Return the sum."""
        return Counts(
            rows=self.rows + other.rows,
            rejects=self.rejects + other.rejects,
            reviews=self.reviews + other.reviews,
            invalid=self.invalid + other.invalid,
        )


class BlockEntry(Struct, frozen=True, kw_only=True):
    """One block of the manifest."""

    key: Annotated[str, Meta(pattern=_KEY)]
    """A digest. It becomes part of a path, so a manifest from elsewhere must not have ``../`` in it."""
    counts: Counts
    sha256: str
    """Checksum of the file."""


class MissingBlock(Struct, frozen=True, kw_only=True):
    """A block without results."""

    key: str
    items: str
    """Description of its items for readers, for example ``part-7.parquet, row group 3``."""
    error: str


class Manifest(Struct, frozen=True, kw_only=True):
    """Content of ``_manifest.json``."""

    schema: str = MANIFEST_SCHEMA
    plan: str
    """Digest of the plan."""
    input: str
    """The input as the user gave it."""
    complete: bool
    """False if blocks of the plan are missing: poisoned, not judged yet, or left out by ``--limit-blocks``."""
    identity: Identity
    counts: Counts
    missing: tuple[MissingBlock, ...] = ()
    """Blocks that were tried and have no results."""
    blocks: tuple[BlockEntry, ...] = ()


def identity_of(detector: Detector) -> Identity:
    """Return what identifies a loaded model file on this device."""
    from importlib.metadata import version

    from andon.runtime import __version__
    from andon.runtime.session import onnxruntime

    model, card = detector.model, detector.card
    calibration = card.calibration
    promise = None
    if calibration is not None:
        promise = Promise(
            promised=detector.promised,
            kind=calibration.kind,
            alpha=calibration.alpha,
            confidence=calibration.confidence,
            unit=calibration.unit,
            grouped=calibration.grouped,
            sentence=detector.promise,
            tau=calibration.tau,
            one_per_lot=calibration.sampling is not None and calibration.sampling.method == "one_per_lot",
        )
    return Identity(
        model=ModelIdentity(
            name=card.name,
            detector=card.detector,
            detector_version=card.detector_version,
            sha256=model.file_sha256,
            short=model.short_digest,
            threshold=detector.threshold,
        ),
        promise=promise,
        versions={"andon": __version__, "numpy": version("numpy"), "onnxruntime": onnxruntime().__version__},
        provider=detector.device,
        precision=card.precision,
    )


def count(rows: Iterable[Row]) -> Counts:
    """Count rows by status."""
    statuses = [row.status for row in rows]
    return Counts(
        rows=len(statuses),
        rejects=statuses.count("REJECT"),
        reviews=statuses.count("REVIEW"),
        invalid=statuses.count("INVALID"),
    )


def block_path(folder: Path, key: str) -> Path:
    """Return the path of a block's file on a disk."""
    return folder / block_name(key)


def block_name(key: str) -> str:
    """Return the name of a block's file within the results."""
    return f"{BLOCKS}/{key}.parquet"


def write_block(folder: Place, key: str, rows: Sequence[Row], identity: Identity) -> BlockEntry:
    """Write the rows of one block and return its entry for the manifest. The same rows give the same bytes.

    Raises:
        ConfigError: the file cannot be written. Its ``__cause__`` is the `OSError`.
    """
    import pyarrow.parquet as pq

    counts = count(rows)
    footer = {
        "schema": SCHEMA.encode(),
        "model": canonical_json(identity.model),
        "promise": canonical_json(identity.promise),
        "versions": canonical_json(identity.versions),
        "provider": identity.provider.encode(),
        "precision": identity.precision.encode(),
        "counts": canonical_json(counts),
    }
    table = table_of(rows, model_sha256=identity.model.sha256, block=key)
    table = table.replace_schema_metadata({f"{_PREFIX}{name}": value for name, value in footer.items()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **write_options())
    data = buffer.getvalue()
    store_at(folder).write(block_name(key), data)
    return BlockEntry(key=key, counts=counts, sha256=hashlib.sha256(data).hexdigest())


def existing_block(folder: Place, key: str) -> BlockEntry | None:
    """Return the entry of a block that was written earlier. Return None if there is none, or if its file is damaged.

    A file that was copied from another block is damaged, too.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        data = store_at(folder).read(block_name(key))
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            footer = _footer(file.metadata)
            _identity(footer)
            counts = msgspec.json.decode(footer["counts"], type=Counts)
            # a flipped bit in the rows: the message of a reader is to run the same command again, so that must repair the block
            table = file.read(use_threads=False)
            if _counts_of(table) != counts or _other_block(table, key) is not None:
                return None
    except (OSError, pa.ArrowException, *_DAMAGED):
        return None
    return BlockEntry(key=key, counts=counts, sha256=hashlib.sha256(data).hexdigest())


def _counts_of(table: Any) -> Counts:
    statuses = Counter(table["status"].to_pylist())
    return Counts(rows=len(table), rejects=statuses["REJECT"], reviews=statuses["REVIEW"], invalid=statuses["INVALID"])


def _other_block(table: Any, key: str) -> str | None:
    """Return the key of another block that the rows name. Return None if all of them name this one."""
    others = set(table["block"].unique().to_pylist()) - {key}
    return str(min(others, key=str)) if others else None


def identity_in(folder: Place, key: str) -> Identity:
    """Read what judged from the footer of a block.

    Raises:
        DataError: the file is not a block of results, or it is one of another schema.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    store, name = store_at(folder), block_name(key)
    path = store.path(name)
    try:
        with store.open(name) as file:
            footer = _footer(pq.read_metadata(file))
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DataError(f"{path}: expected a block of results, but it cannot be read: {error}.") from error
    if footer.get("schema") != SCHEMA.encode():
        raise DataError(
            f"{path}: expected a block of results with the schema {SCHEMA}, got "
            f"{footer.get('schema', b'another file').decode(errors='replace')}. Use the version of andon that wrote it."
        )
    try:
        return _identity(footer)
    except _DAMAGED as error:
        raise DataError(
            f"{path}: expected the identity of the model in the footer, got another content: {error}."
        ) from error


def _footer(metadata: Any) -> dict[str, bytes]:
    """Return what andon wrote into the footer of a block."""
    found = {key.decode(): value for key, value in (metadata.metadata or {}).items()}
    return {key.removeprefix(_PREFIX): value for key, value in found.items() if key.startswith(_PREFIX)}


def _identity(footer: dict[str, bytes]) -> Identity:
    return Identity(
        model=msgspec.json.decode(footer["model"], type=ModelIdentity),
        promise=msgspec.json.decode(footer["promise"], type=Promise | None),
        versions=msgspec.json.decode(footer["versions"], type=dict[str, str]),
        provider=footer["provider"].decode(),
        precision=footer["precision"].decode(),
    )


def write_manifest(folder: Place, head: Manifest, blocks: Iterable[BlockEntry]) -> None:
    """Write the manifest, which makes the blocks results. `head` has no blocks; they follow one by one.

    Raises:
        ConfigError: the file cannot be written.
    """
    # one line for each block, without one list of all of them: a large archive has 100 000 blocks
    text = bytearray(msgspec.json.encode(head).removesuffix(b"[]}"))
    text += b"[\n"
    for at, block in enumerate(blocks):
        text += (b",\n" if at else b"") + msgspec.json.encode(block)
    text += b"\n]}\n"
    store_at(folder).write(MANIFEST, text)


class Results:
    """Stored results: the rows of the blocks that its manifest names. Open one with `open_results`."""

    def __init__(self, folder: Place, manifest: Manifest) -> None:
        self._store = store_at(folder)
        self.folder = self._store.address
        """Path or address, for messages."""
        self.manifest = manifest

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Yield the rows block by block, as tables of pyarrow.

        Args:
            columns: names of columns of `andon.archive.columns.schema`. None: all of them.

        Raises:
            DataError: a block that the manifest names is missing or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        wanted = None if columns is None else [*columns, *({"block"} - set(columns))]
        for block in self.manifest.blocks:
            name = block_name(block.key)
            path = self._store.path(name)
            try:
                with (
                    self._store.open(name) as source,
                    pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=True) as file,
                ):
                    table = file.read(columns=wanted)
            except (OSError, pa.ArrowException) as error:
                raise DataError(
                    f"{path}: expected the block that {MANIFEST} names, but it cannot be read: {error}. Run the same 'andon "
                    "score' command again."
                ) from error
            if table.num_rows != block.counts.rows:
                raise DataError(
                    f"{path}: expected {block.counts.rows} rows as in {MANIFEST}, got {table.num_rows}. Run the same 'andon "
                    "score' command again."
                )
            if "block" in table.column_names:
                other = _other_block(table, block.key)
                if other is not None:
                    raise DataError(
                        f"{path}: expected the rows of this block, got those of the block {other}. Run the same 'andon score' "
                        "command again."
                    )
                if columns is not None and "block" not in columns:
                    table = table.drop_columns("block")
            yield table.replace_schema_metadata(None)

    def table(self, columns: Sequence[str] | None = None) -> Any:
        """Return all rows as one table of pyarrow. The rows are in the order of the input.

        Raises:
            DataError: see `tables`.
        """
        import pyarrow as pa

        tables = list(self.tables(columns))
        if not tables:
            wanted = schema()
            return (wanted if columns is None else pa.schema([wanted.field(name) for name in columns])).empty_table()
        return pa.concat_tables(tables).unify_dictionaries()


def open_results(folder: Place) -> Results:
    """Open a folder that ``andon score --out`` wrote, or an address such as ``s3://bucket/results``.

    Raises:
        DataError: the folder has no manifest, or one of another schema.
        MissingExtra: pyarrow is not installed.
    """
    with needs("archive", "reading results"):
        import pyarrow as pa  # noqa: F401 - reported now, not with the first block
    store = store_at(folder)
    path = store.path(MANIFEST)
    try:
        manifest = msgspec.json.decode(store.read(MANIFEST), type=Manifest)
    except FileNotFoundError as error:
        started = store.exists(PLAN)
        raise DataError(
            f"{store.address}: expected {MANIFEST}, which 'andon score --out' writes last, found none. "
            + ("Run the same 'andon score' command again until it ends." if started else "Give the folder of --out.")
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise DataError(f"{path}: expected a manifest of results, got another content: {error}.") from error
    if manifest.schema != MANIFEST_SCHEMA:
        raise DataError(
            f"{path}: expected the schema {MANIFEST_SCHEMA}, got {manifest.schema!r}. Use the version of andon that wrote it."
        )
    # a block that is named twice would count twice in an audit
    if len({block.key for block in manifest.blocks}) < len(manifest.blocks):
        raise DataError(f"{path}: expected each block once, got one twice. Run the same 'andon score' command again.")
    return Results(folder, manifest)
