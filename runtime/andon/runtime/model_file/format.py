"""Read, check and rewrite a model file without the onnx package.

A model file is untrusted input. It is read once into bytes, compared with its own digest, walked with bounds
(`onnx_subset`), and only then shown to ONNX Runtime. The format, and what is refused, is specified in
``docs/model-file.md``. A digest is no signature: it shows damage and mistakes; who made a file is known only by comparing
its digest with the one that its maker named.
"""

import base64
import hashlib
import json
import math
import re
import stat
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from andon.foundation.errors import ModelFileError
from andon.runtime.model_file.onnx_subset import FLOAT, IR_VERSION, OPSET, UINT8, Graph, graph_digest, metadata, survey
from andon.runtime.model_file.protobuf import bytes_field
from andon.runtime.schema import SCHEMA, TAIL_KNOTS, Card, FrameSpec, canonical_json

__all__ = [
    "BLANK",
    "IR_VERSION",
    "OPSET",
    "OUTPUTS",
    "Array",
    "Golden",
    "LogEntry",
    "ModelFile",
    "Tail",
    "append_log",
    "parse",
    "read",
    "seal",
]

MAX_METADATA = 1_000_000
"""Bytes, over all metadata keys and values."""

MAX_FILE = 2**31 - 1
"""Bytes: what protobuf can hold."""

TENSORS: dict[str, int] = {
    "andon.threshold": 1,
    "andon.review": 1,
    "andon.tail_x": TAIL_KNOTS,
    "andon.tail_p": TAIL_KNOTS + 1,
}
"""Initialisers that calibration may rewrite, with their lengths; float32, stored as `raw_data`."""

OUTPUTS = ("score", "status", "reason", "threshold", "p_value")
"""Outputs that every file has, first and in this order."""

_CARD, _GOLDEN, _LOG, _DIGEST = _KEYS = ("andon", "andon.golden", "andon.calibration_log", "andon.digest")
_TRAILER = len(bytes_field(14, bytes_field(1, _DIGEST.encode()) + bytes_field(2, bytes(64))))
"""Bytes of the entry that ends a file: its digest over everything before."""
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\r\n")
_OTHERS = (
    b"\xff\xfe",
    b"\xfe\xff",
    b"\x89PNG",
    b"\x89HDF",
    b"\xff\xd8",
    b"PK\x03\x04",
    b"\x7fELF",
    b"\x1f\x8b",
    b"\x93NUMPY",
)
"""How text in UTF-16, pictures, archives (PyTorch's files too), programs and arrays begin."""
_ORT_MARK = b"ORTM"
"""What ONNX Runtime takes at bytes 4 to 7 for its own format: it would not read the bytes as ONNX then."""
_MAX_DEPTH = 16
"""Of nested JSON."""


class Array(Struct, frozen=True, kw_only=True):
    """An array within JSON."""

    dtype: Literal["uint8", "float32"]
    shape: Annotated[tuple[Annotated[int, Meta(ge=0, le=1_000_000)], ...], Meta(max_length=4)]
    data: str
    """Little-endian bytes, row-major, base64."""

    @classmethod
    def of(cls, array: NDArray[Any]) -> "Array":
        """Pack."""
        dtype: Literal["uint8", "float32"] = "uint8" if array.dtype == np.uint8 else "float32"
        little = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<"))
        return cls(dtype=dtype, shape=array.shape, data=base64.b64encode(little.tobytes()).decode())

    def array(self) -> NDArray[Any]:
        """Unpack.

        Raises:
            ModelFileError: bytes that do not fit shape and type.
        """
        kind = np.dtype(self.dtype).newbyteorder("<")
        try:
            raw = base64.b64decode(self.data, validate=True)
        except ValueError as error:
            raise ModelFileError(f"golden sample: {error}.") from error
        if len(raw) != math.prod(self.shape) * kind.itemsize:
            raise ModelFileError(f"golden sample: {len(raw)} bytes of {self.dtype} do not fill {list(self.shape)}.")
        return np.frombuffer(raw, kind).astype(self.dtype, copy=False).reshape(self.shape)


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
    """sha256 of the JSON of the entry before, as it stands in the file; empty for the first."""


class Tail(Struct, frozen=True, kw_only=True):
    """The numbers that calibration writes into the graph."""

    threshold: float
    review: float
    x: NDArray[np.float32]
    """``[256]`` ascending, padded with +inf."""
    p: NDArray[np.float32]
    """``[257]`` not ascending, ``p[0] = 1``."""


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
    digest: str
    """Over the whole file; its first 12 digits name the file in verdicts."""

    @property
    def short_digest(self) -> str:
        """The name of this file in verdicts and logs."""
        return self.digest[:12]

    @property
    def graph_sha256(self) -> str:
        """Over what computes, without calibration and metadata: unchanged by recalibration. Computed at each call."""
        return graph_digest(self.data, survey(self.data), TENSORS)

    @property
    def file_sha256(self) -> str:
        """What sha256sum says of the file. Computed at each call."""
        return hashlib.sha256(self.data).hexdigest()


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
        found = Path(path).stat()
        if stat.S_ISDIR(found.st_mode):
            raise ModelFileError(
                f"{path}: is no file but a folder. Make a model file of a run with: andon export {path} -o model.onnx"
            )
        if not stat.S_ISREG(found.st_mode):  # a pipe would block, /dev/zero never end
            raise ModelFileError(f"{path}: is no file.")
        if found.st_size > MAX_FILE:
            raise ModelFileError(f"{path}: {found.st_size} bytes; a model file has at most {MAX_FILE}.")
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = error.strerror if isinstance(error, OSError) else None
        raise ModelFileError(f"{path}: cannot be read: {reason or error}.") from error
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
    texts = _metadata(data)
    digest = hashlib.sha256(memoryview(data)[:-_TRAILER]).hexdigest()
    if digest != texts[_DIGEST] or data[-_TRAILER:] != _trailer(digest):
        _check_schema(texts[_CARD], damaged=True)  # another schema may have another digest
        raise ModelFileError(
            "the digest does not hold: the file was damaged or changed after export. Fetch it again or export it anew."
        )
    _check_schema(texts[_CARD])
    graph = survey(data)
    tail = _tail(data, graph)
    card: Card = _decode(texts[_CARD], Card, _CARD)
    golden: Golden | None = _decode(texts[_GOLDEN], Golden | None, _GOLDEN)
    log = _log(texts[_LOG])
    _check_values(graph, card)
    _check_card(card)
    if golden is not None:
        _check_golden(golden, card)
    _check_numbers(tail, card, log, allow_blank=allow_blank)
    return ModelFile(
        data=data,
        card=card,
        golden=golden,
        log=log,
        threshold=tail.threshold,
        review=tail.review,
        tail_x=tail.x,
        tail_p=tail.p,
        digest=digest,
    )


def seal(data: bytes, *, card: Card, golden: Golden | None, log: tuple[LogEntry, ...], tail: Tail) -> bytes:
    """The same graph with these numbers and metadata, and the digest over all of it.

    Args:
        data: a model file, or an ONNX graph with andon's initialisers. Its own metadata are dropped.
        card: for the key ``andon``.
        golden: for the key ``andon.golden``.
        log: for the key ``andon.calibration_log``.
        tail: for the initialisers.

    Raises:
        ModelFileError: what came out would be refused by `parse`, or the file is of a newer schema than this andon
            can write.
    """
    if card.schema[1] > SCHEMA[1]:
        raise ModelFileError(
            f"schema {card.schema[0]}.{card.schema[1]} is newer than this andon's {SCHEMA[0]}.{SCHEMA[1]}: rewriting the "
            "file would lose what this andon does not know. Update andon."
        )
    if golden is not None and not math.isfinite(golden.score):
        raise ModelFileError(
            f"golden sample: expected a finite score, got {golden.score}. The network computes NaN or infinity, as after a "
            "training that diverged: train it again."
        )
    try:
        texts = {_CARD: canonical_json(card), _GOLDEN: canonical_json(golden), _LOG: canonical_json(log)}
    except ValueError as error:
        raise ModelFileError(
            f"metadata: expected finite numbers, got NaN or infinity in the card (for example its settings) or in the "
            f"calibration log: {error}. Correct that number."
        ) from error
    if sum(len(key) + len(value) for key, value in texts.items()) + _TRAILER > MAX_METADATA:
        raise ModelFileError(
            f"metadata are larger than {MAX_METADATA} bytes: use a smaller golden sample or fewer settings."
        )
    patched = bytearray(data)
    graph = survey(data)
    arrays = (np.array([tail.threshold]), np.array([tail.review]), tail.x, tail.p)
    for (name, length), array in zip(TENSORS.items(), arrays, strict=True):
        if array.shape != (length,):
            raise ModelFileError(f"{name}: expected {length} numbers, got shape {list(array.shape)}.")
        start, end = _raw_data(graph, name)
        patched[start:end] = array.astype("<f4").tobytes()
    kept = b"".join(patched[field.start : field.end] for field in graph.top)
    body = kept + b"".join(_entry(key, value) for key, value in texts.items())
    sealed = body + _trailer(hashlib.sha256(body).hexdigest())
    parse(sealed, allow_blank=True)
    return sealed


def append_log(log: tuple[LogEntry, ...], entry: LogEntry) -> tuple[LogEntry, ...]:
    """The history with one more entry, tied to the one before; its threshold is rounded to float32, as in the graph."""
    previous = hashlib.sha256(canonical_json(log[-1])).hexdigest() if log else ""
    threshold = float(np.float32(entry.threshold))
    return (*log, msgspec.structs.replace(entry, previous=previous, threshold=threshold))


class _Versioned(Struct):
    schema: tuple[int, int]


def _metadata(data: bytes) -> dict[str, str]:
    """The four texts of a model file."""
    if not data:
        raise ModelFileError("the file is empty.")
    text = _text_begin(data)
    if text or data.startswith(_OTHERS):
        came = f"text that begins {text!r}" if text else f"something that begins {data[:12]!r}"
        raise ModelFileError(f"this is no ONNX file: expected a model file as 'andon export' writes it, got {came}.")
    if data[4:8] == _ORT_MARK:
        raise ModelFileError(
            "bytes 4 to 7: expected a field of an ONNX model, got 'ORTM', the mark of ONNX Runtime's own format. Another "
            "reader could find another model in this file. Fetch it again or export it again."
        )
    texts: dict[str, str] = {}
    size = 0
    for field, key, value in metadata(data):
        if key in texts:
            raise ModelFileError(f"the metadata key {key!r} stands twice: damaged or forged.")
        texts[key] = value
        size += field.end - field.start
        if size > MAX_METADATA + 1000:
            raise ModelFileError(f"metadata of more than {MAX_METADATA} bytes.")
    missing = [key for key in _KEYS if key not in texts]
    if missing:
        raise ModelFileError(
            f"not a whole andon model file: its metadata have no {missing[0]!r}. Make one with 'andon export'."
        )
    if len(texts) > len(_KEYS):
        raise ModelFileError(f"foreign metadata: {', '.join(sorted(set(texts) - set(_KEYS)))[:200]}.")
    return texts


def _text_begin(data: bytes) -> str:
    """The first letters of a file that begins as text does, in whichever encoding; an ONNX file begins with control bytes."""
    begin = data[:64]
    return "" if len(begin.translate(None, _CONTROLS)) < len(begin) else begin.decode("utf-8", "replace")[:30]


def _check_schema(text: str, *, damaged: bool = False) -> None:
    try:
        major, minor = _decode(text, _Versioned, _CARD).schema
    except ModelFileError:
        if damaged:
            return
        raise
    if major != SCHEMA[0]:
        raise ModelFileError(
            f"schema {major}.{minor}, while this andon reads {SCHEMA[0]}.x: "
            f"{'update andon' if major > SCHEMA[0] else 'export the model anew'}."
        )


def _tail(data: bytes, graph: Graph) -> Tail:
    unknown = [name for name in graph.tensors if name.startswith("andon.") and name not in TENSORS]
    if unknown:
        raise ModelFileError(f"unknown initialiser {unknown[0]!r}: made by another andon?")
    arrays = []
    for name in TENSORS:
        start, end = _raw_data(graph, name)
        arrays.append(np.frombuffer(data[start:end], "<f4").astype(np.float32))
    threshold, review, x, p = arrays
    return Tail(threshold=float(threshold[0]), review=float(review[0]), x=x, p=p)


def _raw_data(graph: Graph, name: str) -> tuple[int, int]:
    """Where the numbers of one of andon's initialisers lie."""
    tensor = graph.tensors.get(name)
    if tensor is None:
        raise ModelFileError(f"not an andon model file: the graph lacks {name!r}.")
    if tensor.element != FLOAT or tensor.dims != (TENSORS[name],):
        raise ModelFileError(f"{name}: expected {TENSORS[name]} float32 numbers, got the shape {list(tensor.dims)}.")
    return tensor.raw


def _log(text: str) -> tuple[LogEntry, ...]:
    """The calibration log, if each entry names the digest of the one before."""
    entries = []
    previous = ""
    # the text as it stands is hashed: re-encoding would drop what a newer andon wrote
    for raw in _decode(text, tuple[msgspec.Raw, ...], _LOG):
        entry: LogEntry = _decode(bytes(raw).decode(), LogEntry, _LOG)
        if entry.previous != previous:
            raise ModelFileError("the calibration log is broken: an entry was changed or taken out.")
        previous = hashlib.sha256(bytes(raw)).hexdigest()
        entries.append(entry)
    return tuple(entries)


def _check_values(graph: Graph, card: Card) -> None:
    """Inputs and outputs of the graph against what the metadata say."""
    fixed: dict[int, int]
    if isinstance(card.input, FrameSpec):
        name, element, fixed = "frame", UINT8, {3: card.input.channels}
    else:
        name, element, fixed = "window", FLOAT, {1: card.input.steps, 2: len(card.input.channels)}
    given = graph.inputs[0] if len(graph.inputs) == 1 else None
    rank = 1 + max(fixed)
    if (
        given is None
        or (given.name, given.element) != (name, element)
        or len(given.dims or ()) != rank
        or {place: dim for place, dim in enumerate(given.dims or ()) if isinstance(dim, int)} != fixed
    ):
        raise ModelFileError(
            f"expected one input {name!r} of rank {rank}, fixed only in {fixed}, found {[tuple(v) for v in graph.inputs]}."
        )
    wanted = [(name, UINT8 if name in ("status", "reason") else FLOAT) for name in (*OUTPUTS, *card.outputs)]
    if [(output.name, output.element) for output in graph.outputs] != wanted:
        raise ModelFileError(
            f"expected the outputs {', '.join(name for name, _ in wanted)}, found "
            f"{', '.join(output.name for output in graph.outputs)}, or some of another type."
        )


def _check_card(card: Card) -> None:
    if isinstance(card.input, FrameSpec):
        left, top, right, bottom = card.input.crop
        if not (left < right and top < bottom):
            raise ModelFileError(f"the crop {list(card.input.crop)} leaves nothing of a frame.")
    else:
        names = [channel.name for channel in card.input.channels]
        if len(set(names)) != len(names):
            raise ModelFileError(f"two channels bear one name: {', '.join(names)}.")


def _check_golden(golden: Golden, card: Card) -> None:
    sample = golden.input.array()
    spec = card.input
    fits = (
        sample.dtype == np.uint8 and sample.ndim == 3 and sample.shape[2] == spec.channels and min(sample.shape) > 0
        if isinstance(spec, FrameSpec)
        else sample.dtype == np.float32 and sample.shape == (spec.steps, len(spec.channels))
    )
    if not fits:
        raise ModelFileError(f"golden sample: {sample.dtype} {list(sample.shape)} is not what the graph takes.")
    for name, array in golden.evidence.items():
        if name not in card.outputs:
            raise ModelFileError(f"golden sample: the graph gives no evidence {name!r}.")
        array.array()


def _check_numbers(tail: Tail, card: Card, log: tuple[LogEntry, ...], *, allow_blank: bool) -> None:
    calibration = card.calibration
    if calibration is None or math.isnan(tail.threshold):
        if allow_blank:
            return
        raise ModelFileError("the file is blank: it was exported but never calibrated. Run 'andon export' to its end.")
    if not (math.isfinite(tail.threshold) and math.isfinite(tail.review) and tail.review <= tail.threshold):
        raise ModelFileError(f"the threshold does not hold: {tail.threshold}, review from {tail.review}.")
    if np.isnan(tail.x).any() or not (tail.x[1:] >= tail.x[:-1]).all():
        raise ModelFileError("the table of good scores is not ascending.")
    if tail.p[0] != 1.0 or not ((tail.p >= 0) & (tail.p <= 1)).all() or (tail.p[1:] > tail.p[:-1]).any():
        raise ModelFileError("the table of p-values does not run from 1 downwards.")
    if not log or log[-1].threshold != tail.threshold:
        raise ModelFileError("the threshold is not the one that the calibration log ends with.")
    for name in ("date", "kind", "alpha", "confidence", "n", "above", "part_keys_sha256"):
        if getattr(log[-1], name) != getattr(calibration, name):
            raise ModelFileError(f"the calibration log ends with another {name!r} than the metadata say.")


def _decode(text: str, kind: Any, key: str) -> Any:
    """JSON as the type it must have; duplicate keys, deep nesting and control characters are refused."""
    try:
        _check_plain(json.loads(text, object_pairs_hook=_unique))
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ModelFileError(f"the metadata key {key!r} does not hold what it should: {error}.") from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return unique


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _check_plain(value: object) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner += [*item, *item.values()]
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, str) and _CONTROL.search(item):
                raise ValueError("a text holds control characters")  # a terminal would obey them
        level = inner
    if level:
        raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")


def _trailer(digest: str) -> bytes:
    return _entry(_DIGEST, digest.encode())


def _entry(key: str, value: bytes) -> bytes:
    return bytes_field(14, bytes_field(1, key.encode()) + bytes_field(2, value))
