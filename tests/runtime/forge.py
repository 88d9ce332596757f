"""Forge model files: change something and update the digest, as an attacker would."""

import hashlib
from collections.abc import Callable, Sequence

import onnx

from andon.runtime.model_file.protobuf import bytes_field, varint_field, walk

TRAILER = 82
"""Bytes: the last metadata entry, key ``andon.digest``."""


def reseal(body: bytes) -> bytes:
    """Return the body with the right digest entry, written here as ``docs/model-file.md`` specifies it."""
    digest = hashlib.sha256(body).hexdigest().encode()
    return body + b"\x72\x50\x0a\x0candon.digest\x12\x40" + digest


def onnx_edit(data: bytes, change: Callable[[onnx.ModelProto], object]) -> bytes:
    """Change the model through the onnx package."""
    model = onnx.load_from_string(data[:-TRAILER])
    change(model)
    return reseal(model.SerializeToString(deterministic=True))


def raw_edit(data: bytes, path: Sequence[tuple[int, int]], change: Callable[[bytes], bytes]) -> bytes:
    """Change the payload of one message, found by ``(field number, which of them)`` from the model inwards."""
    return reseal(_edited(data[:-TRAILER], path, change))


def ort_marked(data: bytes) -> bytes:
    """Return the same model with ``ORTM`` at bytes 4 to 7, where ONNX Runtime looks for the mark of its own format.

    An IR version of 10 and a producer of that name give these bytes: protobuf reads the model as before.
    """
    fields = [
        data[field.start : field.end] for field in walk(data, 0, len(data) - TRAILER) if field.number not in (1, 2)
    ]
    return reseal(varint_field(1, 10) + bytes_field(2, b"ORTM") + b"".join(fields))


def text_edit(data: bytes, key: str, change: Callable[[str], str]) -> bytes:
    """Change the text of one metadata key."""
    place = [_key(data[f.value : f.end]) for f in walk(data, 0, len(data)) if f.number == 14].index(key)

    def other(entry: bytes) -> bytes:
        value = next(entry[f.value : f.end] for f in walk(entry, 0, len(entry)) if f.number == 2)
        return bytes_field(1, key.encode()) + bytes_field(2, change(value.decode()).encode())

    return raw_edit(data, [(14, place)], other)


def text(data: bytes, key: str) -> str:
    """Return the text of one metadata key."""
    texts: dict[str, str] = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    return texts[key]


def initialiser(data: bytes, name: str) -> int:
    """Return the position of an initialiser in the graph."""
    return [tensor.name for tensor in onnx.load_from_string(data).graph.initializer].index(name)


def _edited(data: bytes, path: Sequence[tuple[int, int]], change: Callable[[bytes], bytes]) -> bytes:
    if not path:
        return change(data)
    (number, which), *further = path
    fields = list(walk(data, 0, len(data)))
    place = [at for at, field in enumerate(fields) if field.number == number][which]
    return b"".join(
        bytes_field(number, _edited(data[field.value : field.end], further, change))
        if at == place
        else data[field.start : field.end]
        for at, field in enumerate(fields)
    )


def _key(entry: bytes) -> str:
    return next(entry[f.value : f.end].decode() for f in walk(entry, 0, len(entry)) if f.number == 1)
