"""Read, check and rewrite a model file without the onnx package.

A model file is untrusted input. It is read once into bytes, compared with its own digest, walked with bounds
(`onnx_subset`), and only then shown to ONNX Runtime. The format, and what is refused, is specified in
``docs/model-file.md``. A digest is no signature: it shows damage and mistakes. Who made a file is known only by comparing
its digest with the one that its maker named.
"""

import hashlib
import math
import stat
from pathlib import Path

import msgspec
import numpy as np

from andon.foundation.errors import ModelFileError
from andon.runtime.model_file import metadata_texts
from andon.runtime.model_file.checks import (
    OUTPUTS,
    check_card,
    check_golden,
    check_initialisers,
    check_numbers,
    check_values,
    raw_data,
    tail_of,
)
from andon.runtime.model_file.content import (
    BLANK,
    SCENE_TENSORS,
    TENSORS,
    Array,
    Golden,
    LogEntry,
    ModelFile,
    Tail,
)
from andon.runtime.model_file.metadata_texts import CARD, DIGEST, GOLDEN, LOG, MAX_METADATA, TRAILER, decode, trailer
from andon.runtime.model_file.onnx_subset import IR_VERSION, OPSET, survey
from andon.runtime.schema import SCHEMA, Card, canonical_json

__all__ = [
    "BLANK",
    "IR_VERSION",
    "MAX_METADATA",
    "OPSET",
    "OUTPUTS",
    "SCENE_TENSORS",
    "TENSORS",
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

MAX_FILE = 2**31 - 1
"""Bytes that protobuf can hold."""


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
    texts = metadata_texts.texts_of(data)
    digest = hashlib.sha256(memoryview(data)[:-TRAILER]).hexdigest()
    if digest != texts[DIGEST] or data[-TRAILER:] != trailer(digest):
        metadata_texts.check_schema(texts[CARD], damaged=True)  # another schema may have another digest
        raise ModelFileError(
            "the digest does not hold: the file was damaged or changed after export. Fetch it again or export it anew."
        )
    metadata_texts.check_schema(texts[CARD])
    graph = survey(data)
    tail = tail_of(data, graph)
    card = metadata_texts.card_of(texts[CARD])
    golden: Golden | None = decode(texts[GOLDEN], Golden | None, GOLDEN)
    log = metadata_texts.log_of(texts[LOG])
    check_initialisers(data, graph, card, allow_blank=allow_blank)
    check_values(graph, card)
    check_card(card)
    if golden is not None:
        check_golden(golden, card)
    check_numbers(tail, card, log, allow_blank=allow_blank)
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
    """Return the same graph with these numbers and metadata, and the digest over all of it.

    Args:
        data: a model file, or an ONNX graph with andon's initialisers. Its own metadata are dropped.
        card: for the key ``andon``.
        golden: for the key ``andon.golden``.
        log: for the key ``andon.calibration_log``.
        tail: for the initialisers.

    Raises:
        ModelFileError: `parse` would refuse the result, or the file is of a newer schema than this andon can write.
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
        texts = {CARD: canonical_json(card), GOLDEN: canonical_json(golden), LOG: canonical_json(log)}
    except ValueError as error:
        raise ModelFileError(
            f"metadata: expected finite numbers, got NaN or infinity in the card (for example its settings) or in the "
            f"calibration log: {error}. Correct that number."
        ) from error
    if sum(len(key) + len(value) for key, value in texts.items()) + TRAILER > MAX_METADATA:
        raise ModelFileError(
            f"metadata are larger than {MAX_METADATA} bytes: use a smaller golden sample or fewer settings."
        )
    patched = bytearray(data)
    graph = survey(data)
    arrays = (np.array([tail.threshold]), np.array([tail.review]), tail.x, tail.p)
    for (name, length), array in zip(TENSORS.items(), arrays, strict=True):
        if array.shape != (length,):
            raise ModelFileError(f"{name}: expected {length} numbers, got shape {list(array.shape)}.")
        start, end = raw_data(graph, name, length)
        patched[start:end] = array.astype("<f4").tobytes()
    kept = b"".join(patched[field.start : field.end] for field in graph.top)
    body = kept + b"".join(metadata_texts.entry(key, value) for key, value in texts.items())
    sealed = body + trailer(hashlib.sha256(body).hexdigest())
    parse(sealed, allow_blank=True)
    return sealed


def append_log(log: tuple[LogEntry, ...], entry: LogEntry) -> tuple[LogEntry, ...]:
    """Return the history with one more entry, tied to the one before. Its threshold is rounded to float32, as in the graph."""
    previous = hashlib.sha256(canonical_json(log[-1])).hexdigest() if log else ""
    threshold = float(np.float32(entry.threshold))
    return (*log, msgspec.structs.replace(entry, previous=previous, threshold=threshold))
