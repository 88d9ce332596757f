"""Read, check, digest and rewrite a model file without the onnx package.

A model file is untrusted input. It is read once into bytes, walked with bounds, checked against its own digest, and
only then shown to ONNX Runtime. What is refused, and why, is specified in ``docs/model-file.md``.

Field numbers: onnx/onnx, ``onnx.proto`` (IR version 10).
"""

import base64
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.runtime.errors import ModelFileError
from andon.runtime.protobuf import BYTES, VARINT, Field, bytes_field, walk
from andon.runtime.schema import SCHEMA, TAIL_KNOTS, Card, FrameSpec, canonical_json

IR_VERSION = 10
OPSET = 20
MAX_METADATA = 1_000_000
"""Bytes, over all metadata keys."""

TENSORS: dict[str, int] = {
    "andon.threshold": 1,
    "andon.review": 1,
    "andon.tail_x": TAIL_KNOTS,
    "andon.tail_p": TAIL_KNOTS + 1,
}
"""Initialisers that calibration may rewrite, with their lengths; float32, stored as `raw_data`."""

OUTPUTS = ("score", "status", "reason", "threshold", "p_value")
"""Outputs that every file has."""

_RANDOM = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
}
_KEYS = ("andon", "andon.golden", "andon.calibration_log")


class Array(Struct, frozen=True, kw_only=True):
    """An array within JSON."""

    dtype: str
    shape: tuple[int, ...]
    data: str
    """Little-endian bytes, row-major, base64."""

    @classmethod
    def of(cls, array: NDArray[Any]) -> "Array":
        """Pack."""
        little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        return cls(dtype=array.dtype.name, shape=array.shape, data=base64.b64encode(little.tobytes()).decode())

    def array(self) -> NDArray[Any]:
        """Unpack.

        Raises:
            ModelFileError: bytes that do not fit shape and type.
        """
        if self.dtype not in ("uint8", "float32"):
            raise ModelFileError(f"golden sample: expected uint8 or float32 data, got {self.dtype}.")
        try:
            flat = np.frombuffer(base64.b64decode(self.data, validate=True), np.dtype(self.dtype).newbyteorder("<"))
            return flat.reshape(self.shape)
        except ValueError as error:
            raise ModelFileError(f"golden sample: {error}.") from error


class Golden(Struct, frozen=True, kw_only=True):
    """An input with what the file's graph must answer to it: judged on the machine to see that it computes alike."""

    origin: str
    """``synthetic`` (seeded noise), or ``real`` where somebody asked for a real part."""
    input: Array
    score: float
    evidence: dict[str, Array]


class LogEntry(Struct, frozen=True, kw_only=True):
    """One calibration in the file's history."""

    date: str
    andon: str
    """Version that calibrated."""
    kind: str
    alpha: float
    confidence: float
    n: int
    above: int
    threshold: float
    part_keys_sha256: str
    previous: str
    """sha256 of the canonical JSON of the entry before; empty for the first."""


class ModelFile(Struct, frozen=True, kw_only=True):
    """A checked model file."""

    data: bytes
    card: Card
    golden: Golden | None
    log: tuple[LogEntry, ...]
    threshold: float
    """NaN in a blank file."""
    review: float
    tail_x: NDArray[np.float32]
    tail_p: NDArray[np.float32]
    graph_sha256: str
    """Unchanged by recalibration."""
    digest: str
    """Over everything that decides; its first 12 digits name the file in verdicts."""
    file_sha256: str

    @property
    def short_digest(self) -> str:
        """The name of this file in verdicts and logs."""
        return self.digest[:12]


class Tail(Struct, frozen=True, kw_only=True):
    """The numbers that calibration writes into the graph."""

    threshold: float
    review: float
    x: NDArray[np.float32]
    """``[256]`` ascending, padded with +inf."""
    p: NDArray[np.float32]
    """``[257]`` not ascending, ``p[0] = 1``."""


BLANK = Tail(
    threshold=float("nan"),
    review=float("nan"),
    x=np.full(TAIL_KNOTS, np.inf, np.float32),
    p=np.ones(TAIL_KNOTS + 1, np.float32),
)
"""What export writes before calibration: every loader refuses it."""


def read(path: Path | str) -> ModelFile:
    """Read and check a model file.

    Raises:
        ModelFileError: it cannot be read, is damaged, forged, blank or of another schema.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}.") from error
    try:
        return parse(data)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error


def parse(data: bytes, *, allow_blank: bool = False) -> ModelFile:
    """Check the bytes of a model file.

    Args:
        data: the whole file.
        allow_blank: accept a file that was not calibrated yet; only export and calibration do.

    Raises:
        ModelFileError: one clear reason.
    """
    places = _survey(data)
    metadata = places.metadata
    for key in (*_KEYS, "andon.digest"):
        if key not in metadata:
            raise ModelFileError(
                f"not an andon model file: its metadata have no {key!r}. Make one with 'andon export'."
            )
    tail = _tail(data, places)
    graph = _graph_digest(data, places)
    digest = _digest(graph, tail, metadata)
    _check_schema(metadata["andon"])
    if digest != metadata["andon.digest"]:
        raise ModelFileError(
            "the digest does not hold: the file was damaged or changed after export. Fetch it again or export it anew."
        )
    card = _decode(metadata["andon"], Card, "andon")
    golden = _decode(metadata["andon.golden"], Golden | None, "andon.golden")
    log = _decode(metadata["andon.calibration_log"], tuple[LogEntry, ...], "andon.calibration_log")
    _check_numbers(tail, card, log, allow_blank=allow_blank)
    wanted = "frame" if isinstance(card.input, FrameSpec) else "window"
    if places.inputs != [wanted]:
        raise ModelFileError(f"expected the one input {wanted!r}, found {places.inputs}.")
    missing = [name for name in (*OUTPUTS, *card.outputs) if name not in places.outputs]
    if missing:
        raise ModelFileError(f"the graph lacks the outputs {', '.join(missing)}.")
    return ModelFile(
        data=data,
        card=card,
        golden=golden,
        log=log,
        threshold=tail.threshold,
        review=tail.review,
        tail_x=tail.x,
        tail_p=tail.p,
        graph_sha256=graph.hex(),
        digest=digest,
        file_sha256=hashlib.sha256(data).hexdigest(),
    )


def seal(data: bytes, *, card: Card, golden: Golden | None, log: tuple[LogEntry, ...], tail: Tail) -> bytes:
    """The same graph with these numbers and metadata, and the digest over all of it.

    Raises:
        ModelFileError: `data` is no ONNX file with andon's initialisers.
    """
    metadata = {
        "andon": canonical_json(card),
        "andon.golden": canonical_json(golden),
        "andon.calibration_log": canonical_json(log),
    }
    arrays = {
        "andon.threshold": np.array([tail.threshold], "<f4"),
        "andon.review": np.array([tail.review], "<f4"),
        "andon.tail_x": tail.x.astype("<f4"),
        "andon.tail_p": tail.p.astype("<f4"),
    }
    places = _survey(data)
    patched = bytearray(data)
    for name, length in TENSORS.items():
        if arrays[name].shape != (length,):
            raise ModelFileError(f"{name}: expected {length} numbers, got shape {arrays[name].shape}.")
        start, end = _raw_data(data, places, name)
        patched[start:end] = arrays[name].tobytes()
    spliced = bytes(patched)
    kept = b"".join(
        spliced[field.start : field.end]
        for field in walk(spliced, 0, len(spliced))
        if not (field.number == 14 and _entry(spliced, field)[0].startswith("andon"))
    )
    text = {key: value.decode() for key, value in metadata.items()}
    spliced_places = _survey(kept)
    digest = _digest(_graph_digest(kept, spliced_places), _tail(kept, spliced_places), text)
    text["andon.digest"] = digest
    sealed = kept + b"".join(
        bytes_field(14, bytes_field(1, key.encode()) + bytes_field(2, value.encode())) for key, value in text.items()
    )
    if sum(len(key) + len(value) for key, value in text.items()) > MAX_METADATA:
        raise ModelFileError(
            f"metadata are larger than {MAX_METADATA} bytes: use a smaller golden sample or fewer settings."
        )
    return sealed


def append_log(log: tuple[LogEntry, ...], entry: LogEntry) -> tuple[LogEntry, ...]:
    """The history with one more entry, tied to the one before."""
    return (*log, msgspec.structs.replace(entry, previous=_entry_digest(log[-1]) if log else ""))


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the target, flush to the disk, rename: either the old file stands there or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class _Places(Struct):
    """Where things lie in the bytes of a model file."""

    fields: list[Field]
    graph: list[Field]
    tensors: dict[str, Field]
    inputs: list[str]
    outputs: list[str]
    metadata: dict[str, str]


def _survey(data: bytes) -> _Places:
    """Walk the file once and refuse what no andon file holds."""
    if not data:
        raise ModelFileError("the file is empty.")
    places = _Places([], [], {}, [], [], {})
    seen: set[int] = set()
    size = 0
    for field in walk(data, 0, len(data)):
        places.fields.append(field)
        if field.number not in (8, 14):
            if field.number in seen:
                raise ModelFileError(f"field {field.number} of the model stands twice: damaged or forged.")
            seen.add(field.number)
        if field.number == 1 and (field.wire != VARINT or field.varint != IR_VERSION):
            raise ModelFileError(f"expected ONNX IR version {IR_VERSION}, got {field.varint}.")
        if field.number == 8:
            _check_opset(data, field)
        elif field.number == 14:
            key, value = _entry(data, field)
            size += field.end - field.start
            if key in places.metadata:
                raise ModelFileError(f"the metadata key {key!r} stands twice: damaged or forged.")
            places.metadata[key] = value
        elif field.number == 7:
            _need_bytes(field)
            _survey_graph(data, field, places)
        elif field.number not in (1, 2, 3, 4, 5, 6):
            raise ModelFileError(
                f"field {field.number} of the model (functions, training) is not allowed in a model file."
            )
    if size > MAX_METADATA + 1000:
        raise ModelFileError(f"metadata of {size} bytes; at most {MAX_METADATA} are allowed.")
    if not {1, 7} <= seen or not any(field.number == 8 for field in places.fields):
        raise ModelFileError("not an ONNX file: version, operator set or graph are missing.")
    return places


def _survey_graph(data: bytes, graph: Field, places: _Places) -> None:
    names: set[str] = set()
    for field in walk(data, graph.value, graph.end):
        places.graph.append(field)
        if field.number == 1:
            _need_bytes(field)
            _check_node(data, field)
        elif field.number == 5:
            _need_bytes(field)
            name = _check_tensor(data, field)
            if name in names:
                raise ModelFileError(f"the initialiser {name!r} stands twice: damaged or forged.")
            names.add(name)
            if name.startswith("andon."):
                if name not in TENSORS:
                    raise ModelFileError(f"unknown initialiser {name!r}: made by another andon?")
                places.tensors[name] = field
        elif field.number in (11, 12):
            _need_bytes(field)
            (places.inputs if field.number == 11 else places.outputs).append(_text(data, field, 1))
        elif field.number not in (2, 10, 13, 14, 16):
            raise ModelFileError(
                f"field {field.number} of the graph (sparse tensors or unknown) is not allowed in a model file."
            )
    shadowed = [name for name in places.inputs if name.startswith("andon.")]
    if shadowed:
        raise ModelFileError(f"{shadowed[0]!r} is an input of the graph, so a caller could override it: refused.")
    missing = [name for name in TENSORS if name not in places.tensors]
    if missing:
        raise ModelFileError(f"not an andon model file: the graph lacks {', '.join(missing)}.")


def _check_node(data: bytes, node: Field) -> None:
    for field in walk(data, node.value, node.end):
        if field.number == 7 and data[field.value : field.end] not in (b"", b"ai.onnx"):
            raise ModelFileError(
                f"operator of the foreign domain {data[field.value : field.end]!r}: only standard ones are allowed."
            )
        if field.number == 4 and data[field.value : field.end].decode(errors="replace") in _RANDOM:
            raise ModelFileError("a random operator: a verdict must not depend on chance.")
        if field.number == 5:
            _need_bytes(field)
            for part in walk(data, field.value, field.end):
                if part.number in (5, 10):
                    _need_bytes(part)
                    _check_tensor(data, part)
                elif part.number in (6, 11):
                    raise ModelFileError("control flow within the graph: not allowed, its cost could not be bounded.")
                elif part.number in (22, 23):
                    raise ModelFileError("sparse tensors are not allowed in a model file.")


def _check_tensor(data: bytes, tensor: Field) -> str:
    """Refuse external data; give the tensor's name."""
    name = ""
    for field in walk(data, tensor.value, tensor.end):
        if field.number == 13 or (field.number == 14 and field.varint != 0):
            raise ModelFileError("a tensor points to another file: a model file holds all its data itself.")
        if field.number == 8:
            name = _utf8(data, field)
    return name


def _check_opset(data: bytes, opset: Field) -> None:
    _need_bytes(opset)
    domain, version = "", 0
    for field in walk(data, opset.value, opset.end):
        if field.number == 1:
            domain = _utf8(data, field)
        elif field.number == 2:
            version = field.varint
    if domain not in ("", "ai.onnx"):
        raise ModelFileError(f"operators of the foreign domain {domain!r}: only standard ones are allowed.")
    if version != OPSET:
        raise ModelFileError(f"expected operator set {OPSET}, got {version}.")


def _raw_data(data: bytes, places: _Places, name: str) -> tuple[int, int]:
    """Where the numbers of one of andon's initialisers lie."""
    length = TENSORS[name]
    found: dict[int, Field] = {}
    dims: list[int] = []
    for field in walk(data, places.tensors[name].value, places.tensors[name].end):
        if field.number == 1 and field.wire == VARINT:
            dims.append(field.varint)
        elif field.number == 1 and field.wire == BYTES and field.end - field.value <= 2:  # packed, of one small number
            dims.append(sum((data[field.value + i] & 0x7F) << 7 * i for i in range(field.end - field.value)))
        elif (field.number, field.wire) in (
            (2, VARINT),
            (8, BYTES),
            (9, BYTES),
        ) and field.number not in found:
            found[field.number] = field
        else:
            raise ModelFileError(f"{name}: expected only shape, type, name and raw data: damaged or forged.")
    raw = found.get(9)
    if dims != [length] or 2 not in found or found[2].varint != 1 or raw is None or raw.end - raw.value != 4 * length:
        raise ModelFileError(f"{name}: expected {length} float32 numbers as raw data.")
    return raw.value, raw.end


def _tail(data: bytes, places: _Places) -> Tail:
    arrays: dict[str, NDArray[np.float32]] = {}
    for name in TENSORS:
        start, end = _raw_data(data, places, name)
        arrays[name] = np.frombuffer(data[start:end], "<f4").astype(np.float32)
    return Tail(
        threshold=float(arrays["andon.threshold"][0]),
        review=float(arrays["andon.review"][0]),
        x=arrays["andon.tail_x"],
        p=arrays["andon.tail_p"],
    )


def _graph_digest(data: bytes, places: _Places) -> bytes:
    """sha256 over what computes: IR version, operator sets, graph; not over andon's numbers, documents and metadata."""
    sha = hashlib.sha256()
    view = memoryview(data)  # weights are hashed where they lie
    andon = {field.start: name for name, field in places.tensors.items()}
    for field in places.fields:
        if field.number in (1, 8):
            sha.update(view[field.start : field.end])
        elif field.number == 7:
            sha.update(b"\x3a")
            for part in places.graph:
                if part.start in andon:
                    sha.update(bytes_field(5, andon[part.start].encode()))
                elif part.number not in (10, 16):
                    sha.update(view[part.start : part.end])
    return sha.digest()


def _digest(graph: bytes, tail: Tail, metadata: Mapping[str, str]) -> str:
    sha = hashlib.sha256(graph)
    for array in (np.array([tail.threshold]), np.array([tail.review]), tail.x, tail.p):
        sha.update(array.astype("<f4").tobytes())
    for key in _KEYS:
        value = metadata[key].encode()
        sha.update(len(value).to_bytes(8, "little") + value)
    return sha.hexdigest()


def _check_schema(text: str) -> None:
    class Only(Struct):
        schema: tuple[int, int]

    schema = _decode(text, Only, "andon").schema
    if schema[0] != SCHEMA[0]:
        raise ModelFileError(
            f"schema {schema[0]}.{schema[1]}, while this andon reads {SCHEMA[0]}.x: "
            f"{'update andon' if schema[0] > SCHEMA[0] else 'export the model anew'}."
        )


def _check_numbers(tail: Tail, card: Card, log: tuple[LogEntry, ...], *, allow_blank: bool) -> None:
    if card.calibration is None or np.isnan(tail.threshold):
        if allow_blank:
            return
        raise ModelFileError("the file is blank: it was exported but never calibrated. Run 'andon export' to its end.")
    if not (np.isfinite(tail.threshold) and tail.review <= tail.threshold):
        raise ModelFileError(f"the threshold does not hold: {tail.threshold}, review from {tail.review}.")
    if (tail.x[1:] < tail.x[:-1]).any() or np.isnan(tail.x).any():
        raise ModelFileError("the table of good scores is not ascending.")
    if tail.p[0] != 1.0 or not ((tail.p >= 0) & (tail.p <= 1)).all() or (tail.p[1:] > tail.p[:-1]).any():
        raise ModelFileError("the table of p-values does not run from 1 downwards.")
    previous = ""
    for entry in log:
        if entry.previous != previous:
            raise ModelFileError("the calibration log is broken: an entry was changed or taken out.")
        previous = _entry_digest(entry)
    if not log or np.float32(log[-1].threshold) != np.float32(tail.threshold):
        raise ModelFileError("the threshold is not the one that the calibration log ends with.")


def _entry_digest(entry: LogEntry) -> str:
    return hashlib.sha256(canonical_json(entry)).hexdigest()


def _decode(text: str, kind: Any, key: str) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ModelFileError(f"the metadata key {key!r} does not hold what it should: {error}.") from error


def _entry(data: bytes, field: Field) -> tuple[str, str]:
    """Key and value of one StringStringEntryProto."""
    _need_bytes(field)
    pair: dict[int, str] = {}
    for part in walk(data, field.value, field.end):
        if part.number not in (1, 2) or part.number in pair:
            raise ModelFileError("a metadata entry holds something else than one key and one value.")
        pair[part.number] = _utf8(data, part)
    return pair.get(1, ""), pair.get(2, "")


def _text(data: bytes, message: Field, number: int) -> str:
    found = [_utf8(data, field) for field in walk(data, message.value, message.end) if field.number == number]
    if len(found) != 1:
        raise ModelFileError("an input or output of the graph has no name, or two.")
    return found[0]


def _utf8(data: bytes, field: Field) -> str:
    _need_bytes(field)
    try:
        return data[field.value : field.end].decode()
    except UnicodeDecodeError as error:
        raise ModelFileError(f"a name at byte {field.start} is not UTF-8: damaged file.") from error


def _need_bytes(field: Field) -> None:
    if field.wire != BYTES:
        raise ModelFileError(
            f"field {field.number} at byte {field.start} has another type than ONNX gives it: damaged file."
        )
