"""Reduce a model file to the part of its graph that one output needs. ONNX Runtime computes all nodes of a graph otherwise.

The result is for a session only: a model file also has metadata.
"""

from andon.foundation.errors import ConfigError
from andon.runtime.model_file.onnx_subset import survey
from andon.runtime.model_file.protobuf import Field, bytes_field, walk

_NODE, _INITIALISER, _OUTPUT = 1, 5, 12


def only(data: bytes, output: str) -> bytes:
    """Return an ONNX model with this output alone, and with the nodes and initialisers that it needs.

    Args:
        data: a model file, or its graph.
        output: name of an output of the graph.

    Raises:
        ConfigError: the graph has no such output.
        ModelFileError: the file is damaged.
    """
    graph = survey(data)
    if output not in [value.name for value in graph.outputs]:
        raise ConfigError(
            f"expected an output of the graph, got {output!r}. It has: {', '.join(v.name for v in graph.outputs)}."
        )
    needed = {output}
    kept: list[Field] = []
    names = {tensor.field.start: name for name, tensor in graph.tensors.items()}
    # ONNX lists a node after those that it depends on
    for part in reversed([part for part in graph.parts if part.number == _NODE]):
        texts = [(field.number, data[field.value : field.end].decode()) for field in _values(data, part)]
        if needed.intersection(text for number, text in texts if number == 2):
            needed.update(text for number, text in texts if number == 1)
            kept.append(part)
    nodes = {part.start for part in kept}
    parts = [
        data[part.start : part.end]
        for part in graph.parts
        if (part.number != _NODE or part.start in nodes)
        and (part.number != _INITIALISER or names[part.start] in needed)
        and (part.number != _OUTPUT or _name(data, part) == output)
    ]
    return b"".join(
        bytes_field(7, b"".join(parts)) if field.number == 7 else data[field.start : field.end] for field in graph.top
    )


def _values(data: bytes, node: Field) -> list[Field]:
    """Return the fields of a node that name its inputs and outputs."""
    return [field for field in walk(data, node.value, node.end) if field.number in (1, 2) and field.end > field.value]


def _name(data: bytes, value: Field) -> str:
    return next(
        data[field.value : field.end].decode() for field in walk(data, value.value, value.end) if field.number == 1
    )
