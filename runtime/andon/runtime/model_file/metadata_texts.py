"""Find and decode the four metadata texts of a model file. They are untrusted: bounds are checked first, then types."""

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
"""Upper limit of all metadata keys and values together, in bytes."""

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
"""First bytes of UTF-16 text, pictures, archives (including PyTorch files), programs and arrays."""
_ORT_MARK = b"ORTM"
"""Mark of ONNX Runtime's own format at bytes 4 to 7. ONNX Runtime does not read a file with this mark as ONNX."""
_MAX_DEPTH = 16
"""Upper limit of nesting in JSON."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class _Versioned(Struct):
    schema: tuple[int, int]


def entry(key: str, value: bytes) -> bytes:
    """Encode one metadata entry as a field of the model."""
    return bytes_field(14, bytes_field(1, key.encode()) + bytes_field(2, value))


def trailer(digest: str) -> bytes:
    """Encode the last entry of a file: the digest of everything before it."""
    return entry(DIGEST, digest.encode())


TRAILER = len(trailer("0" * 64))
"""Bytes of the last entry."""


def texts_of(data: bytes) -> dict[str, str]:
    """Return the four texts of a model file by key.

    Raises:
        ModelFileError: another type of file, or missing, duplicate, unknown or too large metadata.
    """
    if not data:
        raise ModelFileError("expected a model file, got an empty file. Copy or export the file again.")
    text = _text_begin(data)
    if text or data.startswith(_OTHERS):
        got = f"text that begins with {text!r}" if text else f"a file that begins with {data[:12]!r}"
        raise ModelFileError(f"not an ONNX file: expected a model file from 'andon export', got {got}.")
    if data[4:8] == _ORT_MARK:
        raise ModelFileError(
            "bytes 4 to 7: expected a field of an ONNX model, got 'ORTM', the mark of ONNX Runtime's own format. Another "
            "program could read another model from this file. Fetch it again or export it again."
        )
    texts: dict[str, str] = {}
    size = 0
    for field, key, value in metadata(data):
        if key in texts:
            raise ModelFileError(f"metadata: the key {key!r} occurs twice. Use a model file from 'andon export'.")
        texts[key] = value
        size += field.end - field.start
        if size > MAX_METADATA + 1000:
            raise ModelFileError(f"metadata: expected at most {MAX_METADATA} bytes, got more.")
    missing = [key for key in KEYS if key not in texts]
    if missing:
        raise ModelFileError(
            f"not a complete andon model file: the metadata key {missing[0]!r} is missing. Make a complete "
            "model file with 'andon export'."
        )
    if len(texts) > len(KEYS):
        raise ModelFileError(
            f"metadata: unknown keys {', '.join(sorted(set(texts) - set(KEYS)))[:200]}. Update andon, or export the file again."
        )
    return texts


def check_schema(text: str, *, damaged: bool = False) -> None:
    """Refuse a card with another major version of the schema.

    Args:
        text: text of the card.
        damaged: True if the digest of the file is wrong. Then ignore an unreadable card, because the caller reports the damage.

    Raises:
        ModelFileError: another major version, or not a card.
    """
    try:
        major, minor = decode(text, _Versioned, CARD).schema
    except ModelFileError:
        if damaged:
            return
        raise
    if major != SCHEMA[0]:
        raise ModelFileError(
            f"schema: this version of andon reads {SCHEMA[0]}.x, got {major}.{minor}. "
            f"{'Update andon' if major > SCHEMA[0] else 'Export the model again'}."
        )


def card_of(text: str) -> Card:
    """Decode the card. Values that schema 1.0 stores in the settings become fields.

    Raises:
        ModelFileError: the text is not a card.
    """
    card: Card = decode(text, Card, CARD)
    return card if card.schema >= (1, 1) else _with_facts_of_1_0(card)


LEAST_BETA_1_0 = 1e-3
"""Lower limit of the setting ``beta`` in a card of schema 1.0. With a smaller beta, a variational autoencoder works like a
plain one.

Newer cards have notes instead.
"""


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
        ModelFileError: an entry does not contain the digest of the previous entry.
    """
    entries = []
    previous = ""
    # hash the original text: encoding it again would drop fields of a newer version
    for raw in decode(text, tuple[msgspec.Raw, ...], LOG):
        one: LogEntry = decode(bytes(raw).decode(), LogEntry, LOG)
        if one.previous != previous:
            raise ModelFileError(
                "the calibration log is broken: an entry was changed or removed. Copy or export the file again."
            )
        previous = hashlib.sha256(bytes(raw)).hexdigest()
        entries.append(one)
    return tuple(entries)


def decode(text: str, kind: Any, key: str) -> Any:
    """Decode JSON as a given type. Refuse duplicate names, deep nesting and control characters.

    Raises:
        ModelFileError: the text of that key has another content.
    """
    try:
        _check_plain(json.loads(text, object_pairs_hook=_unique))
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise ModelFileError(
            f"metadata: the key {key!r} has an invalid value: {error}. Copy or export the file again."
        ) from error


def _text_begin(data: bytes) -> str:
    """Return the first characters of a file that begins like text, else an empty text. ONNX begins with control bytes."""
    begin = data[:64]
    return "" if len(begin.translate(None, _CONTROLS)) < len(begin) else begin.decode("utf-8", "replace")[:30]


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a name occurs twice in one object")
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
                raise ValueError("a text contains control characters")  # a terminal would execute them
        level = inner
    if level:
        raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
