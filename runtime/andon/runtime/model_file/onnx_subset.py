"""The part of ONNX that a model file may hold, and where its things lie in the bytes.

A table says which fields each message may have, of which wire type, and whether they may repeat. Whatever is not in the
table is refused: protobuf would skip an unknown field, merge a singular message that stands twice and let the last of
two numbers win, so that two readers could see two models in the same bytes. What the table leaves out on purpose:
functions, sub-graphs (their cost has no bound), external and sparse data, typed data lists (raw data only), and metadata
within the graph (where exporters leave source paths).

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
FLOAT, UINT8 = 1, 2
"""Element types, as ONNX numbers them."""

MAX_FIELDS = 500_000
"""Fields of all messages together, so that a file of nothing but tiny fields is refused soon; real files have some 10 000."""

_BYTES_A_VALUE = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""By element type: float32, uint8, int8, uint16, int16, int32, int64, bool, float16, float64, uint32, uint64, bfloat16."""

_ATTRIBUTE_KIND = {2: 1, 3: 2, 4: 3, 5: 4, 7: 6, 8: 7, 9: 8}
"""By field of an attribute: the type that its field 20 must name."""
_INTEGER_TYPES = {2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", BOOL: "u1", 12: "<u4", 13: "<u8"}
"""Of numpy, by element type."""
_STANDARD = ("", "ai.onnx")


class Value(NamedTuple):
    """An input or output of the graph."""

    name: str
    element: int
    """Element type, as ONNX numbers it."""
    dims: tuple[int | str, ...] | None
    """A name or an empty string for what is not fixed; None where the file does not say."""


class Tensor(NamedTuple):
    """An initialiser."""

    field: Field
    element: int
    dims: tuple[int, ...]
    raw: tuple[int, int]
    """Where its numbers lie, little-endian."""


class Graph(NamedTuple):
    """The graph of a model file, and where it lies."""

    top: tuple[Field, ...]
    """The fields of the model other than its metadata, in file order."""
    parts: tuple[Field, ...]
    """The fields of the graph, in file order."""
    tensors: Mapping[str, Tensor]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


def metadata(data: bytes) -> Iterator[tuple[Field, str, str]]:
    """Place, key and value of each metadata entry of the model.

    Raises:
        ModelFileError: the bytes are no protobuf, or an entry is no pair of texts.
    """
    for count, field in enumerate(walk(data, 0, len(data))):
        if count > MAX_FIELDS:
            raise ModelFileError(f"more than {MAX_FIELDS} fields: not a model file.")
        if field.number == 14:
            parts = {part.number: part for part in _Walker(data).fields(field, "metadata entry")}
            key, value = (_text(data, parts.get(number)) for number in (1, 2))
            yield field, key, value


def survey(data: bytes) -> Graph:
    """Walk the whole model once and refuse what no model file holds.

    Raises:
        ModelFileError: with the first thing that is not allowed.
    """
    walker = _Walker(data)
    whole = Field(0, BYTES, 0, 0, len(data), 0)
    top = tuple(field for field in walker.fields(whole, "model") if field.number != 14)
    versions = [field.varint for field in top if field.number == 1]
    if versions != [IR_VERSION]:
        raise ModelFileError(f"expected ONNX IR version {IR_VERSION}, got {versions[0] if versions else 'none'}.")
    _check_operator_sets(walker, top)
    graphs = [field for field in top if field.number == 7]
    if not graphs:
        raise ModelFileError("not an ONNX model: there is no graph.")
    parts = tuple(walker.fields(graphs[0], "graph"))
    tensors: dict[str, Tensor] = {}
    inputs: list[Value] = []
    outputs: list[Value] = []
    nodes: list[Node] = []
    made: list[str] = []
    for part in parts:
        if part.number == 1:
            nodes.append(_node(walker, part))
            made.extend(name for name in nodes[-1].outputs if name)  # an output that nobody wants has no name
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
    """sha256 over what computes: IR version, operator set and graph, in file order.

    Left out are the documentation of model and graph, who produced it, all metadata, and of the `rewritable` initialisers
    all but the name: recalibration keeps this digest.
    """
    sha = hashlib.sha256()
    view = memoryview(data)  # weights are hashed where they lie
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
"""By message: the fields that a model file may have in it, each with its wire type and whether it may repeat."""

_WHY = {
    ("model", 20): "training information is not allowed in a model file",
    ("model", 25): "functions are not allowed in a model file",
    ("graph", 15): "sparse tensors are not allowed in a model file",
    ("node", 8): "functions are not allowed in a model file",
    ("attribute", 6): "sub-graphs are not allowed in a model file: their cost could not be bounded",
    ("attribute", 11): "sub-graphs are not allowed in a model file: their cost could not be bounded",
    ("attribute", 22): "sparse tensors are not allowed in a model file",
    ("attribute", 23): "sparse tensors are not allowed in a model file",
    ("tensor", 13): "a tensor points to another file: a model file holds all its data itself",
    ("tensor", 14): "a tensor points to another file: a model file holds all its data itself",
} | {("tensor", number): "a tensor holds no raw data but a typed list" for number in (4, 5, 6, 7, 10, 11)}


class _Walker:
    """Walks messages by the table, and counts."""

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
                raise ModelFileError(f"{why} (at byte {field.start}).")
            if field.wire != rule.wire:
                raise ModelFileError(
                    f"field {number} of a {kind}, at byte {field.start}, is not of the type that ONNX gives it."
                )
            if number in seen and not rule.many:
                raise ModelFileError(f"field {number} of a {kind} stands twice, at byte {field.start}: forged.")
            seen.add(number)
            found.append(field)
        self._left -= len(found)
        if self._left < 0:
            raise ModelFileError(f"more than {MAX_FIELDS} fields: not a model file.")
        return found


def _check_operator_sets(walker: _Walker, top: tuple[Field, ...]) -> None:
    sets = []
    for field in top:
        if field.number == 8:
            parts = {part.number: part for part in walker.fields(field, "operator set")}
            domain = _text(walker.data, parts.get(1))
            if domain not in _STANDARD:
                raise ModelFileError(f"operators of the foreign domain {domain!r}: only standard ones are allowed.")
            sets.append(parts[2].varint if 2 in parts else 0)
    if sets != [OPSET]:
        raise ModelFileError(f"expected one operator set, version {OPSET}, got {sets or 'none'}.")


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
                f"an operator of the foreign domain {_text(walker.data, field)!r}: only standard ones are allowed."
            )
    # readers differ in which of two they take
    _need_unique("attribute of a node", attributes)
    if operator == "Constant" and len(attributes) != 1:
        raise ModelFileError(f"a Constant: expected one attribute, got {len(attributes)}.")
    return Node(operator, tuple(inputs), tuple(outputs), integers, constant)


def _attribute(walker: _Walker, message: Field) -> tuple[str, int, Known | None]:
    """Return the name, the integer (0 if there is none), and what is known of the numbers where it holds any."""
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
        raise ModelFileError(f"the attribute {name!r} of a node holds a value of another type than it says: forged.")
    return name, integer, Known(INT64, min(values), max(values)) if values else known


def _known(data: bytes, tensor: Tensor) -> Known:
    """Return what is known of the numbers of a tensor."""
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
        raise ModelFileError(f"the tensor {name!r} is of the element type {element}, which is not allowed.")
    # a shape that its data do not fill would have ONNX Runtime allocate whatever it says
    if len(dims) > 16 or math.prod(dims) * _BYTES_A_VALUE[element] != raw[1] - raw[0]:
        raise ModelFileError(f"the tensor {name!r} of {raw[1] - raw[0]} bytes does not fill its shape {dims[:16]}.")
    return name, Tensor(message, element, tuple(dims), raw)


def _value(walker: _Walker, message: Field) -> Value:
    parts = {part.number: part for part in walker.fields(message, "value")}
    name = _text(walker.data, parts.get(1))
    kind = {part.number: part for part in walker.fields(parts[2], "type")} if 2 in parts else {}
    if 1 not in kind:
        raise ModelFileError(f"the value {name!r} of the graph is no tensor.")
    tensor = {part.number: part for part in walker.fields(kind[1], "tensor type")}
    dims: list[int | str] | None = None
    if 2 in tensor:
        dims = []
        for dimension in walker.fields(tensor[2], "shape"):
            given = {part.number: part for part in walker.fields(dimension, "dimension")}
            if 1 in given and 2 in given:
                raise ModelFileError(f"a dimension of {name!r} is both a number and a name: forged.")
            dims.append(given[1].varint if 1 in given else _text(walker.data, given.get(2)))
    return Value(name, tensor[1].varint if 1 in tensor else 0, None if dims is None else tuple(dims))


def _text(data: bytes, field: Field | None) -> str:
    """The text of a field; empty where there is none."""
    if field is None:
        return ""
    try:
        return data[field.value : field.end].decode()
    except UnicodeDecodeError as error:
        raise ModelFileError(f"the text at byte {field.start} is not UTF-8: damaged.") from error


def _need_unique(what: str, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or "" in names:
        raise ModelFileError(f"a {what} has no name, or one that stands twice: {', '.join(twice[:5])}.")
