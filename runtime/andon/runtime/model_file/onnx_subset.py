"""The subset of ONNX that a model file may contain, and a parser that locates its parts in the bytes.

A table lists the fields that each message may have, with their wire types, and whether they may repeat. Everything else is
refused. Protobuf would skip an unknown field, merge duplicates of a singular message and use the last of two numbers. Two
readers could then see different models in the same bytes. The table intentionally omits functions, sub-graphs (their cost has
no bound), external and sparse data, and typed data lists (raw data only). It also omits metadata within the graph, where
exporters leave source paths.

Field numbers: onnx/onnx, ``onnx.proto`` (IR version 10).
"""

import hashlib
import math
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from andon.foundation.errors import ModelFileError
from andon.runtime.model_file.onnx_operators import BOOL, INT64, Known, Node, check_operators
from andon.runtime.model_file.protobuf import BYTES, FIXED32, VARINT, Field, bytes_field, walk

IR_VERSION = 10
OPSET = 20
FLOAT, UINT8, UINT16 = 1, 2, 4
"""Element types with the numbers of ONNX."""

MAX_FIELDS = 500_000
"""Upper limit of fields over all messages. A file of tiny fields is refused early. Real files have about 10 000."""
_TOO_MANY = f"not a model file: expected at most {MAX_FIELDS} fields, got more. Use a model file from 'andon export'."

_BYTES_A_VALUE = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Bytes per value by element type.

The types are float32, uint8, int8, uint16, int16, int32, int64, bool, float16, float64, uint32, uint64 and bfloat16.
"""

_ATTRIBUTE_KIND = {2: 1, 3: 2, 4: 3, 5: 4, 7: 6, 8: 7, 9: 8}
"""Type that field 20 of an attribute must state, by the field with the value."""
_INTEGER_TYPES = {2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", BOOL: "u1", 12: "<u4", 13: "<u8"}
"""Types of numpy by element type."""
_STANDARD = ("", "ai.onnx")


class Value(NamedTuple):
    """An input or output of the graph."""

    name: str
    element: int
    """Element type with the number of ONNX."""
    dims: tuple[int | str, ...] | None
    """Dimensions: an integer if fixed, else a name or an empty string. None if the file has no shape."""


class Tensor(NamedTuple):
    """An initialiser."""

    field: Field
    element: int
    dims: tuple[int, ...]
    raw: tuple[int, int]
    """Start and end of its numbers in the file, little-endian."""


class Graph(NamedTuple):
    """The graph of a model file and the positions of its fields."""

    top: tuple[Field, ...]
    """The fields of the model other than its metadata, in file order."""
    parts: tuple[Field, ...]
    """The fields of the graph, in file order."""
    tensors: Mapping[str, Tensor]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


def metadata(data: bytes) -> Iterator[tuple[Field, str, str]]:
    """Yield field, key and value of each metadata entry of the model.

    Raises:
        ModelFileError: the bytes are not protobuf, or an entry is not a pair of texts.
    """
    for count, field in enumerate(walk(data, 0, len(data))):
        if count > MAX_FIELDS:
            raise ModelFileError(_TOO_MANY)
        if field.number == 14:
            parts = {part.number: part for part in _Walker(data).fields(field, "metadata entry")}
            key, value = (_text(data, parts.get(number)) for number in (1, 2))
            yield field, key, value


def survey(data: bytes) -> Graph:
    """Parse the whole model once and refuse everything that is not allowed in a model file.

    Raises:
        ModelFileError: the model is not allowed. The message gives the first reason.
    """
    walker = _Walker(data)
    whole = Field(0, BYTES, 0, 0, len(data), 0)
    top = tuple(field for field in walker.fields(whole, "model") if field.number != 14)
    versions = [field.varint for field in top if field.number == 1]
    if versions != [IR_VERSION]:
        raise ModelFileError(
            f"expected ONNX IR version {IR_VERSION}, got {versions[0] if versions else 'none'}. Use a model file from "
            "'andon export'."
        )
    _check_operator_sets(walker, top)
    graphs = [field for field in top if field.number == 7]
    if not graphs:
        raise ModelFileError("expected an ONNX model with a graph, got no graph. Use a model file from 'andon export'.")
    parts = tuple(walker.fields(graphs[0], "graph"))
    tensors: dict[str, Tensor] = {}
    inputs: list[Value] = []
    outputs: list[Value] = []
    nodes: list[Node] = []
    made: list[str] = []
    for part in parts:
        if part.number == 1:
            nodes.append(_node(walker, part))
            made.extend(name for name in nodes[-1].outputs if name)  # an unused output has no name
        elif part.number == 5:
            name, tensor = _tensor(walker, part)
            tensors[name] = tensor
            made.append(name)
        elif part.number in (11, 12):
            (inputs if part.number == 11 else outputs).append(_value(walker, part))
        elif part.number == 13:
            _value(walker, part)
    made.extend(value.name for value in inputs)
    _need_unique("value of the graph", made)
    _need_unique("output of the graph", [value.name for value in outputs])
    check_operators(
        nodes,
        {value.name: value.element for value in inputs},
        {name: _known(data, tensor) for name, tensor in tensors.items()},
    )
    return Graph(top, parts, tensors, tuple(inputs), tuple(outputs))


def graph_digest(data: bytes, graph: Graph, rewritable: Container[str]) -> str:
    """Return the sha256 of the computation: IR version, operator set and graph, in file order.

    It excludes the documentation of model and graph, the producer, and all metadata. It includes the names of the `rewritable`
    initialisers but not their numbers, so that recalibration does not change the digest.
    """
    sha = hashlib.sha256()
    view = memoryview(data)  # hash the weights without a copy
    skipped = {tensor.field.start: name for name, tensor in graph.tensors.items() if name in rewritable}
    for field in graph.top:
        if field.number in (1, 8):
            sha.update(view[field.start : field.end])
        elif field.number == 7:
            sha.update(b"\x3a")
            for part in graph.parts:
                if part.start in skipped:
                    sha.update(bytes_field(5, skipped[part.start].encode()))
                elif part.number != 10:
                    sha.update(view[part.start : part.end])
    return sha.hexdigest()


class _Rule(NamedTuple):
    wire: int
    many: bool = False


_ONE, _MANY, _NUMBER, _NUMBERS = _Rule(BYTES), _Rule(BYTES, many=True), _Rule(VARINT), _Rule(VARINT, many=True)

ALLOWED: dict[str, dict[int, _Rule]] = {
    # ir_version, producer name and version, domain, model_version, doc, graph, opset_import, metadata
    "model": {1: _NUMBER, 2: _ONE, 3: _ONE, 4: _ONE, 5: _NUMBER, 6: _ONE, 7: _ONE, 8: _MANY, 14: _MANY},
    "metadata entry": {1: _ONE, 2: _ONE},
    "operator set": {1: _ONE, 2: _NUMBER},
    # node, name, initializer, doc, input, output, value_info
    "graph": {1: _MANY, 2: _ONE, 5: _MANY, 10: _ONE, 11: _MANY, 12: _MANY, 13: _MANY},
    # input, output, name, op_type, attribute, doc, domain
    "node": {1: _MANY, 2: _MANY, 3: _ONE, 4: _ONE, 5: _MANY, 6: _ONE, 7: _ONE},
    # name, f, i, s, t, floats, ints, strings, doc, type
    "attribute": {
        1: _ONE,
        2: _Rule(FIXED32),
        3: _NUMBER,
        4: _ONE,
        5: _ONE,
        7: _Rule(FIXED32, many=True),
        8: _NUMBERS,
        9: _MANY,
        13: _ONE,
        20: _NUMBER,
    },
    # dims, data_type, name, raw_data, doc
    "tensor": {1: _NUMBERS, 2: _NUMBER, 8: _ONE, 9: _ONE, 12: _ONE},
    "value": {1: _ONE, 2: _ONE, 3: _ONE},  # name, type, doc
    "type": {1: _ONE},  # tensor_type, the only kind
    "tensor type": {1: _NUMBER, 2: _ONE},  # elem_type, shape
    "shape": {1: _MANY},
    "dimension": {1: _NUMBER, 2: _ONE, 3: _ONE},  # dim_value, dim_param, denotation
}
"""Allowed fields by message, each with its wire type and whether it may repeat."""

_WHY = {
    ("model", 20): "training information is not allowed in a model file",
    ("model", 25): "functions are not allowed in a model file",
    ("graph", 15): "sparse tensors are not allowed in a model file",
    ("node", 8): "functions are not allowed in a model file",
    ("attribute", 6): "sub-graphs are not allowed in a model file: their cost could not be bounded",
    ("attribute", 11): "sub-graphs are not allowed in a model file: their cost could not be bounded",
    ("attribute", 22): "sparse tensors are not allowed in a model file",
    ("attribute", 23): "sparse tensors are not allowed in a model file",
    ("tensor", 13): "a tensor refers to another file: a model file must contain all its data",
    ("tensor", 14): "a tensor refers to another file: a model file must contain all its data",
} | {("tensor", number): "a tensor has a typed list: expected raw data" for number in (4, 5, 6, 7, 10, 11)}


class _Walker:
    """A parser for messages that follows the table and counts the fields."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._left = MAX_FIELDS

    def fields(self, message: Field, kind: str) -> list[Field]:
        allowed = ALLOWED[kind]
        seen: set[int] = set()
        found = []
        for field in walk(self.data, message.value, message.end):
            number = field.number
            rule = allowed.get(number)
            if rule is None:
                why = _WHY.get((kind, number), f"field {number} of a {kind} is not allowed in a model file")
                raise ModelFileError(f"{why} (at byte {field.start}). Use a model file from 'andon export'.")
            if field.wire != rule.wire:
                raise ModelFileError(
                    f"damaged model file: field {number} of a {kind}, at byte {field.start}, has another type than in ONNX. "
                    "Copy or export the file again."
                )
            if number in seen and not rule.many:
                raise ModelFileError(
                    f"forged: field {number} of a {kind} occurs twice, at byte {field.start}. Use a model file from "
                    "'andon export'."
                )
            seen.add(number)
            found.append(field)
        self._left -= len(found)
        if self._left < 0:
            raise ModelFileError(_TOO_MANY)
        return found


def _check_operator_sets(walker: _Walker, top: tuple[Field, ...]) -> None:
    sets = []
    for field in top:
        if field.number == 8:
            parts = {part.number: part for part in walker.fields(field, "operator set")}
            domain = _text(walker.data, parts.get(1))
            if domain not in _STANDARD:
                raise ModelFileError(
                    f"operators of the domain {domain!r}: expected the standard domain of ONNX only. Export the model "
                    "without them."
                )
            sets.append(parts[2].varint if 2 in parts else 0)
    if sets != [OPSET]:
        raise ModelFileError(
            f"expected one operator set, version {OPSET}, got {sets or 'none'}. Use a model file from 'andon export'."
        )


def _node(walker: _Walker, message: Field) -> Node:
    inputs, outputs, attributes = [], [], []
    operator = ""
    integers: dict[str, int] = {}
    constant = Known()
    for field in walker.fields(message, "node"):
        if field.number == 1:
            inputs.append(_text(walker.data, field))
        elif field.number == 2:
            outputs.append(_text(walker.data, field))
        elif field.number == 4:
            operator = _text(walker.data, field)
        elif field.number == 5:
            name, integer, known = _attribute(walker, field)
            attributes.append(name)
            integers[name] = integer
            constant = known or constant
        elif field.number == 7 and _text(walker.data, field) not in _STANDARD:
            raise ModelFileError(
                f"an operator of the domain {_text(walker.data, field)!r}: expected the standard domain of ONNX only. Export "
                "the model without it."
            )
    # for duplicates, readers differ in which one they use
    _need_unique("attribute of a node", attributes)
    if operator == "Constant" and len(attributes) != 1:
        raise ModelFileError(
            f"the operator Constant: expected one attribute, got {len(attributes)}. Export the model again."
        )
    return Node(operator, tuple(inputs), tuple(outputs), integers, constant)


def _attribute(walker: _Walker, message: Field) -> tuple[str, int, Known | None]:
    """Return the name, the integer (0 if there is none), and type and interval of the numbers if there are any."""
    name, integer, kind = "", 0, 0
    held: set[int] = set()
    known: Known | None = None
    values: list[int] = []
    for part in walker.fields(message, "attribute"):
        if part.number == 1:
            name = _text(walker.data, part)
        elif part.number == 20:
            kind = part.varint
        elif part.number in _ATTRIBUTE_KIND:
            held.add(_ATTRIBUTE_KIND[part.number])
        if part.number == 5:
            known = _known(walker.data, _tensor(walker, part)[1])
        elif part.number in (2, 7):
            known = Known(FLOAT)
        elif part.number in (3, 8):
            integer = part.varint - (part.varint >> 63 << 64)
            values.append(integer)
    if held - {kind}:
        raise ModelFileError(
            f"forged: the attribute {name!r} of a node has a value of another type than it states. Use a model file from "
            "'andon export'."
        )
    return name, integer, Known(INT64, min(values), max(values)) if values else known


def _known(data: bytes, tensor: Tensor) -> Known:
    """Return type and interval of the numbers of a tensor."""
    kind = _INTEGER_TYPES.get(tensor.element)
    start, end = tensor.raw
    if kind is None or start == end:
        return Known(tensor.element)
    numbers = np.frombuffer(data, kind, count=(end - start) // np.dtype(kind).itemsize, offset=start)
    if tensor.element == BOOL:  # any byte but 0 is true
        return Known(BOOL, 0, int(numbers.any()))
    return Known(tensor.element, int(numbers.min()), int(numbers.max()))


def _tensor(walker: _Walker, message: Field) -> tuple[str, Tensor]:
    name, element, raw = "", 0, (message.end, message.end)
    dims = []
    for field in walker.fields(message, "tensor"):
        if field.number == 1:
            dims.append(field.varint)
        elif field.number == 2:
            element = field.varint
        elif field.number == 8:
            name = _text(walker.data, field)
        elif field.number == 9:
            raw = (field.value, field.end)
    if element not in _BYTES_A_VALUE:
        raise ModelFileError(
            f"the tensor {name!r}: expected a type of numbers, such as float32, got the ONNX element type {element}. Export "
            "the model without it."
        )
    # for a shape larger than its data, ONNX Runtime would allocate the memory of the shape
    if len(dims) > 16 or math.prod(dims) * _BYTES_A_VALUE[element] != raw[1] - raw[0]:
        raise ModelFileError(
            f"the tensor {name!r} has {raw[1] - raw[0]} bytes, which do not fit its shape {dims[:16]}. Copy or export the file "
            "again."
        )
    return name, Tensor(message, element, tuple(dims), raw)


def _value(walker: _Walker, message: Field) -> Value:
    parts = {part.number: part for part in walker.fields(message, "value")}
    name = _text(walker.data, parts.get(1))
    kind = {part.number: part for part in walker.fields(parts[2], "type")} if 2 in parts else {}
    if 1 not in kind:
        raise ModelFileError(
            f"the value {name!r} of the graph: expected a tensor, got another type. Export the model again."
        )
    tensor = {part.number: part for part in walker.fields(kind[1], "tensor type")}
    dims: list[int | str] | None = None
    if 2 in tensor:
        dims = []
        for dimension in walker.fields(tensor[2], "shape"):
            given = {part.number: part for part in walker.fields(dimension, "dimension")}
            if 1 in given and 2 in given:
                raise ModelFileError(
                    f"forged: a dimension of {name!r} is both a number and a name. Use a model file from 'andon export'."
                )
            dims.append(given[1].varint if 1 in given else _text(walker.data, given.get(2)))
    return Value(name, tensor[1].varint if 1 in tensor else 0, None if dims is None else tuple(dims))


def _text(data: bytes, field: Field | None) -> str:
    """Return the text of a field. Without a field the text is empty."""
    if field is None:
        return ""
    try:
        return data[field.value : field.end].decode()
    except UnicodeDecodeError as error:
        raise ModelFileError(
            f"damaged model file: the text at byte {field.start} is not UTF-8. Copy or export the file again."
        ) from error


def _need_unique(what: str, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or "" in names:
        raise ModelFileError(
            f"expected a unique name for each {what}, got no name, or a name that occurs twice: {', '.join(twice[:5])}. "
            "Export the model again."
        )
