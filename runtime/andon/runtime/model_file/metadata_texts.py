"""Find and decode the four texts of a model file: bounds first, then types. They are untrusted input."""

import hashlib
import json
import re
from typing import Any

import msgspec
from msgspec import Struct

from andon.foundation.errors import ModelFileError
from andon.runtime.model_file.content import LogEntry
from andon.runtime.model_file.onnx_subset import metadata
from andon.runtime.model_file.protobuf import bytes_field
from andon.runtime.schema import SCHEMA, Card

MAX_METADATA = 1_000_000
"""Bytes, over all metadata keys and values."""

CARD, GOLDEN, LOG, DIGEST = KEYS = ("andon", "andon.golden", "andon.calibration_log", "andon.digest")

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
"""ONNX Runtime looks for it at bytes 4 to 7: it marks its own format, and the bytes would not be read as ONNX."""
_MAX_DEPTH = 16
"""Of nested JSON."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class _Versioned(Struct):
    schema: tuple[int, int]


def entry(key: str, value: bytes) -> bytes:
    """Encode one metadata entry as a field of the model."""
    return bytes_field(14, bytes_field(1, key.encode()) + bytes_field(2, value))


def trailer(digest: str) -> bytes:
    """Encode the entry that ends a file: its digest over everything before."""
    return entry(DIGEST, digest.encode())


TRAILER = len(trailer("0" * 64))
"""Bytes of the last entry."""


def texts_of(data: bytes) -> dict[str, str]:
    """Return the four texts of a model file by key.

    Raises:
        ModelFileError: another file, or missing, double, foreign or too large metadata.
    """
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
    missing = [key for key in KEYS if key not in texts]
    if missing:
        raise ModelFileError(
            f"not a whole andon model file: its metadata have no {missing[0]!r}. Make one with 'andon export'."
        )
    if len(texts) > len(KEYS):
        raise ModelFileError(f"foreign metadata: {', '.join(sorted(set(texts) - set(KEYS)))[:200]}.")
    return texts


def check_schema(text: str, *, damaged: bool = False) -> None:
    """Refuse a card of another major.

    Args:
        text: of the card.
        damaged: the file's digest does not hold; a card that cannot be read is then not the error to report.

    Raises:
        ModelFileError: another major, or no card.
    """
    try:
        major, minor = decode(text, _Versioned, CARD).schema
    except ModelFileError:
        if damaged:
            return
        raise
    if major != SCHEMA[0]:
        raise ModelFileError(
            f"schema {major}.{minor}, while this andon reads {SCHEMA[0]}.x: "
            f"{'update andon' if major > SCHEMA[0] else 'export the model anew'}."
        )


def card_of(text: str) -> Card:
    """Decode the card. Facts that schema 1.0 keeps in the settings become fields.

    Raises:
        ModelFileError: the text does not hold a card.
    """
    card: Card = decode(text, Card, CARD)
    return card if card.schema >= (1, 1) else _with_facts_of_1_0(card)


LEAST_BETA_1_0 = 1e-3
"""A setting ``beta`` below it in a card of schema 1.0 means a variational autoencoder that is none. New cards have notes."""


def _with_facts_of_1_0(card: Card) -> Card:
    epoch, beta = card.settings.get("checkpoint_epoch"), card.settings.get("beta")
    if isinstance(epoch, int) and 1 <= epoch <= 2**53:
        card = msgspec.structs.replace(card, checkpoint_epoch=epoch)
    if isinstance(beta, int | float) and beta < LEAST_BETA_1_0:
        card = msgspec.structs.replace(card, notes=(f"beta {beta:g}: a plain autoencoder; the prior has no effect",))
    return card


def log_of(text: str) -> tuple[LogEntry, ...]:
    """Decode the calibration log.

    Raises:
        ModelFileError: an entry does not name the digest of the one before.
    """
    entries = []
    previous = ""
    # the text as it stands is hashed: re-encoding would drop what a newer andon wrote
    for raw in decode(text, tuple[msgspec.Raw, ...], LOG):
        one: LogEntry = decode(bytes(raw).decode(), LogEntry, LOG)
        if one.previous != previous:
            raise ModelFileError("the calibration log is broken: an entry was changed or taken out.")
        previous = hashlib.sha256(bytes(raw)).hexdigest()
        entries.append(one)
    return tuple(entries)


def decode(text: str, kind: Any, key: str) -> Any:
    """Decode JSON as the type that it must have. Duplicate names, deep nesting and control characters are refused.

    Raises:
        ModelFileError: the text of that key is something else.
    """
    try:
        _check_plain(json.loads(text, object_pairs_hook=_unique))
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ModelFileError(f"the metadata key {key!r} does not hold what it should: {error}.") from error


def _text_begin(data: bytes) -> str:
    """Return the first letters of a file that begins as text does, in any encoding. An ONNX file begins with control bytes."""
    begin = data[:64]
    return "" if len(begin.translate(None, _CONTROLS)) < len(begin) else begin.decode("utf-8", "replace")[:30]


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return unique


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
