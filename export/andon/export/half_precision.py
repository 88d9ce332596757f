"""Compute the pretrained network of a traced graph in 16-bit floats, for GPUs with fast float16 arithmetic.

Only the convolutions of the network `BACKBONE` and the operators between them change. Pre-processing, distances, pooling and
decision stay float32, with a cast at each border. ``onnxruntime.transformers.float16`` is not used: it stores all values
between float32 operators as float16, too, which rounds the sums of squares of the distances.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from andon.export.quantization import network_nodes
from andon.foundation.errors import ConfigError

_ENDING = ".float16"


def halve(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the graph whose network computes in float16. The same graph gives the same bytes.

    Args:
        graph: the traced graph, with or without the decision.

    Raises:
        ConfigError: the scorer has no pretrained network, or a weight is too large for float16.
    """
    inside = set(network_nodes(graph, first=0))
    if not inside:
        raise ConfigError(
            "precision: expected float32, because this detector has no pretrained network, got float16. Leave out --precision "
            "float16."
        )
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    weights = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    made = {name for node in model.graph.node if node.name in inside for name in node.output}
    outside = {name for node in model.graph.node if node.name not in inside for name in node.input}
    outside |= {output.name for output in model.graph.output}
    halves: dict[str, TensorProto] = {}
    known: set[str] = set()
    nodes = []
    for node in graph.graph.node:
        if node.name not in inside:
            nodes.append(node)
            continue
        half = onnx.NodeProto()
        half.CopyFrom(node)
        for place, name in enumerate(node.input):
            if not name:  # an optional input that is not given
                continue
            half.input[place] = name + _ENDING
            if name in weights:
                halves[name] = _half(weights[name])
            elif name not in made and name not in known:
                nodes.append(
                    helper.make_node("Cast", [name], [name + _ENDING], f"{name}.to_float16", to=TensorProto.FLOAT16)
                )
                known.add(name)
        half.output[:] = [name + _ENDING for name in node.output]
        nodes.append(half)
        nodes += [
            helper.make_node("Cast", [name + _ENDING], [name], f"{name}.to_float32", to=TensorProto.FLOAT)
            for name in node.output
            if name in outside
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in halves or tensor.name in outside]
    kept += halves.values()
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _half(weights: TensorProto) -> TensorProto:
    values = numpy_helper.to_array(weights)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise ConfigError(
            f"precision float16: expected weights up to {np.finfo(np.float16).max:g}, got {np.abs(values).max():g} in "
            f"{weights.name}. Leave out --precision float16."
        )
    return numpy_helper.from_array(half, weights.name + _ENDING)
