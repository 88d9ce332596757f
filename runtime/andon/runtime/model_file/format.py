"""Read, check and rewrite a model file without the onnx package.

A model file is untrusted input. It is read once into bytes, compared with its own digest, parsed with bounds
(`onnx_subset`), and only then passed to ONNX Runtime. ``docs/model-file.md`` specifies the format and the checks. A digest is
not a signature: it shows damage and mistakes only. To verify the origin of a file, compare its digest with the one that its
author published.
"""

import hashlib
import math
import stat
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from andon.foundation.errors import ModelFileError
from andon.runtime.model_file import metadata_texts
from andon.runtime.model_file.checks import (
    OUTPUTS,
    check_card,
    check_golden,
    check_initialisers,
    check_numbers,
    check_values,
    outside_of,
    raw_data,
    tail_of,
)
from andon.runtime.model_file.content import (
    BLANK,
    OUTSIDE_TENSOR,
    SCENE_TENSORS,
    TENSORS,
    Array,
    Golden,
    LogEntry,
    ModelFile,
    SceneNumbers,
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
    "OUTSIDE_TENSOR",
    "SCENE_TENSORS",
    "TENSORS",
    "Array",
    "Golden",
    "LogEntry",
    "ModelFile",
    "SceneNumbers",
    "Tail",
    "append_log",
    "parse",
    "read",
    "seal",
]

MAX_FILE = 2**31 - 1
"""Upper limit of a file, in bytes: the largest protobuf message."""


def read(path: Path | str) -> ModelFile:
    """Read and check a model file.

    Raises:
        ModelFileError: the file cannot be read, or it is damaged, forged, blank or of another schema.
    """
    try:
        found = Path(path).stat()
        if stat.S_ISDIR(found.st_mode):
            raise ModelFileError(
                f"{path}: expected a model file, got a folder. To make a model file from a run: andon export {path} -o "
                "model.onnx"
            )
        if not stat.S_ISREG(found.st_mode):  # a pipe would block, and /dev/zero has no end
            raise ModelFileError(f"{path}: expected a regular file, got a device, pipe or socket.")
        if found.st_size > MAX_FILE:
            raise ModelFileError(f"{path}: expected at most {MAX_FILE} bytes, got {found.st_size}.")
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
        allow_blank: accept a file that is not calibrated yet. Only export and calibration use this.

    Raises:
        ModelFileError: the file is not valid. The message gives the reason.
    """
    texts = metadata_texts.texts_of(data)
    digest = hashlib.sha256(memoryview(data)[:-TRAILER]).hexdigest()
    if digest != texts[DIGEST] or data[-TRAILER:] != trailer(digest):
        metadata_texts.check_schema(texts[CARD], damaged=True)  # another schema may have another digest
        raise ModelFileError(
            "the digest is wrong: the file was damaged or changed after export. Fetch it again or export it again."
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
        outside=outside_of(data, graph, card),
        digest=digest,
    )


def seal(
    data: bytes,
    *,
    card: Card,
    golden: Golden | None,
    log: tuple[LogEntry, ...],
    tail: Tail,
    scene: SceneNumbers | None = None,
    outside: NDArray[np.float32] | None = None,
) -> bytes:
    """Return a model file: the graph with these numbers and metadata, and the digest of everything.

    Args:
        data: a model file, or an ONNX graph with andon's initialisers. The metadata in `data` are dropped.
        card: value of the key ``andon``.
        golden: value of the key ``andon.golden``.
        log: value of the key ``andon.calibration_log``.
        tail: numbers for the initialisers.
        scene: numbers of the scene check. None: keep those in `data`.
        outside: limits for windows far outside the good ones. None: keep those in `data`.

    Raises:
        ModelFileError: `parse` would refuse the result, or the schema is newer than this version of andon can write.
    """
    if card.schema[1] > SCHEMA[1]:
        raise ModelFileError(
            f"schema: this version of andon writes {SCHEMA[0]}.{SCHEMA[1]}, got a file of {card.schema[0]}.{card.schema[1]}. "
            "Rewriting it would lose its newer fields. Update andon."
        )
    if golden is not None and not math.isfinite(golden.score):
        raise ModelFileError(
            f"golden sample: expected a finite score, got {golden.score}. The network computes NaN or infinity. Its training "
            "may have diverged: train it again."
        )
    try:
        texts = {CARD: canonical_json(card), GOLDEN: canonical_json(golden), LOG: canonical_json(log)}
    except ValueError as error:
        raise ModelFileError(
            f"metadata: expected finite numbers, got NaN or infinity in the card (for example in its settings) or in the "
            f"calibration log: {error}. Correct this number."
        ) from error
    if sum(len(key) + len(value) for key, value in texts.items()) + TRAILER > MAX_METADATA:
        raise ModelFileError(
            f"metadata: expected at most {MAX_METADATA} bytes, got more. Use a smaller golden sample or fewer settings."
        )
    patched = bytearray(data)
    graph = survey(data)
    arrays = (np.array([tail.threshold]), np.array([tail.review]), tail.x, tail.p)
    for (name, length), array in zip(TENSORS.items(), arrays, strict=True):
        if array.shape != (length,):
            raise ModelFileError(f"{name}: expected {length} numbers, got shape {list(array.shape)}.")
        start, end = raw_data(graph, name, length)
        patched[start:end] = array.astype("<f4").tobytes()
    if scene is not None:
        for name, array in zip(SCENE_TENSORS, (scene.center, scene.scale, scene.limit), strict=True):
            start, end = raw_data(graph, name, len(array))
            patched[start:end] = array.astype("<f4").tobytes()
    if outside is not None:
        start, end = raw_data(graph, OUTSIDE_TENSOR, len(outside))
        patched[start:end] = outside.astype("<f4").tobytes()
    kept = b"".join(patched[field.start : field.end] for field in graph.top)
    body = kept + b"".join(metadata_texts.entry(key, value) for key, value in texts.items())
    sealed = body + trailer(hashlib.sha256(body).hexdigest())
    parse(sealed, allow_blank=True)
    return sealed


def append_log(log: tuple[LogEntry, ...], entry: LogEntry) -> tuple[LogEntry, ...]:
    """Return the log with one more entry that contains the digest of the previous one.

    The threshold is rounded to float32, as in the graph.
    """
    previous = hashlib.sha256(canonical_json(log[-1])).hexdigest() if log else ""
    threshold = float(np.float32(entry.threshold))
    return (*log, msgspec.structs.replace(entry, previous=previous, threshold=threshold))
