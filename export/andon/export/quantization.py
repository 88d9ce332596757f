"""Quantise the pretrained network of a traced graph to int8, in the QDQ form of ONNX: standard operators only.

Activations become uint8 and weights int8, with one scale per output channel. Only the network `BACKBONE` changes, except its
first convolutions. Pre-processing, distances, pooling and decision stay float32.

Measured on EfficientNet-Lite0 (docs/lab-log.md): one scale for a whole weight tensor or weights of 7 bits ruin the scores, and
signed activations are not faster. The activations and sums between the convolutions must be quantised too. If they stay
float32, the converted file is slower than the float32 file.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Item
from andon.runtime.model_file.format import IR_VERSION, OPSET
from andon.runtime.session import onnxruntime
from andon.sources.collection import Collection

BACKBONE = "scorer.backbone."
"""Prefix of the weights that become int8: the module ``backbone`` of the scorer."""
FLOAT_FIRST = 3
"""Number of convolutions at the input of the network that stay float32.

In EfficientNet-Lite0 they cause more than half of the error of the scores, most of all the first depthwise one.
"""
PARTS = 32
"""Largest number of parts that set the ranges of the activations. They are picked at even distances."""
_BETWEEN = {"Clip", "Relu", "Add", "MaxPool"}
"""Operators that can be quantised if their inputs come from quantised operators."""


def quantize(graph: onnx.ModelProto, parts: Collection) -> onnx.ModelProto:
    """Return a copy of the graph with a quantised network. The same graph and parts give the same bytes.

    Args:
        graph: the traced graph, with or without the decision.
        parts: good parts. The smallest and largest value of each activation on them set its range.

    Raises:
        ConfigError: the scorer has no pretrained network.
        DataError: no part can be read.
    """
    nodes = quantizable(graph)
    frames = some_frames(parts)
    onnxruntime()  # first, so that its telemetry is off
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    named = onnx.ModelProto()
    named.CopyFrom(graph)
    # without this entry the tool advises to run another tool first, and adds a handler to the root logger of the process
    entry = named.metadata_props.add()
    entry.key, entry.value = "onnx.quant.pre_process", "onnxruntime.quant"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(
            named,
            path,
            _Ranges(graph.graph.input[0].name, frames),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", *sorted(_BETWEEN)],
            nodes_to_quantize=nodes,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        result = onnx.load(path)
    _tidy(result, graph)
    return result


def quantizable(graph: onnx.ModelProto) -> list[str]:
    """Return the names of the operators to quantise, in the order of the graph.

    These are the convolutions of the network after the first `FLOAT_FIRST`, and the operators between them.

    Raises:
        ConfigError: there are none.
    """
    names = network_nodes(graph, first=FLOAT_FIRST)
    if not names:
        raise ConfigError(
            "precision: expected float32, because this detector has no pretrained network, or only its first layers, got int8. "
            "Leave out --precision int8."
        )
    return names


def network_nodes(graph: onnx.ModelProto, *, first: int) -> list[str]:
    """Return the names of the network's convolutions and of the operators between them, in the order of the graph.

    Args:
        graph: the traced graph.
        first: the number of convolutions at the input of the network to leave out.
    """
    constants = {tensor.name for tensor in graph.graph.initializer}
    reached: set[str] = set()
    names = []
    convolutions = 0
    for node in graph.graph.node:
        values = [name for name in node.input if name and name not in constants]
        own = node.op_type == "Conv" and any(name.startswith(BACKBONE) for name in node.input)
        convolutions += own
        if (own and convolutions > first) or (node.op_type in _BETWEEN and values and reached.issuperset(values)):
            names.append(node.name)
            reached.update(node.output)
    return names


def some_frames(parts: Collection) -> list[NDArray[Any]]:
    """Return at most `PARTS` readable frames, picked at even distances.

    Raises:
        DataError: none can be read.
    """
    step = max(1.0, len(parts.refs) / PARTS)
    picked = (parts.read(parts.refs[int(place * step)]) for place in range(min(len(parts.refs), PARTS)))
    frames: list[NDArray[Any]] = [item.data for item in picked if isinstance(item, Item)]
    if not frames:
        raise DataError(
            f"precision int8: expected readable training parts, got none of {len(parts.refs)}. Restore the files, or leave "
            "out --precision int8."
        )
    return frames


class _Ranges:
    """Feed frames to the quantiser, one at a time. They may have different sizes."""

    def __init__(self, name: str, frames: Sequence[NDArray[Any]]) -> None:
        self._feeds: Iterator[dict[str, NDArray[Any]]] = iter([{name: frame[np.newaxis]} for frame in frames])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next feed, or None at the end."""
        return next(self._feeds, None)


def _tidy(model: onnx.ModelProto, source: onnx.ModelProto) -> None:
    """Bring the result of the tool into the form of a model file (docs/model-file.md). Numbers do not change."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = source.producer_name, source.producer_version
    model.domain, model.doc_string = source.domain, source.doc_string
    del model.metadata_props[:]
    del model.opset_import[:]
    model.opset_import.add(domain="", version=OPSET)
    graph = model.graph
    graph.name = source.graph.name
    del graph.value_info[:]
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for tensor in graph.initializer:
        # the tool writes typed lists; a model file has raw numbers only
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
