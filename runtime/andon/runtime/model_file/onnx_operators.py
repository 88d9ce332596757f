"""The operators that a model file may use, and interval arithmetic for the integers between them.

The list is closed. ONNX Runtime accepts more names in the standard domain (its own and older operators) whose behaviour is not
specified. The list contains all operators of the operator set that map numbers to numbers, so that other networks can be
exported. It excludes operators that draw random numbers, contain sub-graphs, or work on texts, sequences, optional values and
encoded pictures. It also excludes `Unique`, because `Unique` with an empty input ends the process in ONNX Runtime 1.32.

Integer division needs an additional check. A processor traps on a division by 0 and on the smallest integer divided by -1, and
the trap ends the whole process. Therefore the possible values of integers are propagated through the graph as intervals,
without running it, and a divisor must be proven to be neither 0 nor -1.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from andon.foundation.errors import ModelFileError

FLOAT, BOOL, INT64 = 1, 9, 7
"""Element types with the numbers of ONNX. 0 stands for an unknown type here."""

_FLOATS = {1, 10, 11, 16}
_RANGES = {
    2: (0, 2**8 - 1),
    3: (-(2**7), 2**7 - 1),
    4: (0, 2**16 - 1),
    5: (-(2**15), 2**15 - 1),
    6: (-(2**31), 2**31 - 1),
    7: (-(2**63), 2**63 - 1),
    9: (0, 1),
    12: (0, 2**32 - 1),
    13: (0, 2**64 - 1),
}
_WIDEST = (-(2**63), 2**64 - 1)
_LARGEST_SIDE = 2**48
"""Upper limit of a dimension: more values than fit into any address space."""


class Known(NamedTuple):
    """Type and interval of one value of the graph, valid for every input."""

    element: int = 0
    """Element type, 0 if unknown."""
    low: int = _WIDEST[0]
    """Lower bound of all integers of the value. Without meaning for floats."""
    high: int = _WIDEST[1]
    """Upper bound of all integers of the value. Without meaning for floats."""


class Node(NamedTuple):
    """The parts of a graph node that are checked."""

    operator: str
    inputs: tuple[str, ...]
    """An empty name stands for an optional input that is not given."""
    outputs: tuple[str, ...]
    integers: Mapping[str, int]
    """Integer attributes."""
    constant: Known
    """Type and interval of a tensor or number among the attributes. Only a few operators have one."""


_AS_INPUT = {
    0: (
        "Abs Acos Acosh Add AffineGrid Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift BitwiseAnd BitwiseNot "
        "BitwiseOr BitwiseXor Ceil CenterCropPad Clip Col2Im Compress Concat Conv ConvTranspose Cos Cosh CumSum DFT "
        "DeformConv DepthToSpace Det Div Dropout Einsum Elu Erf Exp Expand Flatten Floor GRU Gather GatherElements GatherND "
        "Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample HardSigmoid HardSwish Hardmax Identity "
        "InstanceNormalization LRN LSTM LayerNormalization LeakyRelu Log LogSoftmax LpNormalization LpPool MatMul Max MaxPool "
        "MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NegativeLogLikelihoodLoss PRelu Pad Pow RNN "
        "Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
        "ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round STFT ScatterElements ScatterND Selu Shrink Sigmoid "
        "Sign Sin Sinh Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh "
        "ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze"
    ),
    1: "CastLike DequantizeLinear Where",
    2: "OneHot QuantizeLinear",
    7: "QLinearConv QLinearMatMul",
}
"""Operators by the input that determines the element type of their first output."""

_FIXED = {
    FLOAT: "Celu",
    2: "DynamicQuantizeLinear",
    6: "ConvInteger MatMulInteger",
    INT64: "ArgMax ArgMin NonMaxSuppression NonZero Shape Size",
    BOOL: "And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Xor",
}
"""Operators whose first output always has the same element type, by this type."""

_BY_ATTRIBUTE = "BlackmanWindow Cast Constant ConstantOfShape EyeLike HammingWindow HannWindow MelWeightMatrix"

_INPUT_OF = {name: place for place, names in _AS_INPUT.items() for name in names.split()}
_TYPE_OF = {name: element for element, names in _FIXED.items() for name in names.split()}
OPERATORS = frozenset(_INPUT_OF) | frozenset(_TYPE_OF) | frozenset(_BY_ATTRIBUTE.split())
"""All operators that a model file may use. They belong to the standard domain."""

RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}

_MOVES = {
    "Compress",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}
"""Operators whose outputs contain only values of their first input."""


def check_operators(
    nodes: Iterable[Node], inputs: Mapping[str, int], constants: Mapping[str, Known]
) -> Mapping[str, Known]:
    """Refuse operators that are not allowed, results that depend on chance or on other items, and divisions that can trap.

    Args:
        nodes: the nodes in file order. The output of a later node counts as unknown.
        inputs: the graph's inputs with their element types. When the graph runs, no dimension of an input may be 0.
        constants: types and intervals of the initialisers.

    Returns:
        Type and interval of each value of the graph.

    Raises:
        ModelFileError: a node is not allowed. The message names the first one.
    """
    known = {name: _of_type(element) for name, element in inputs.items()} | dict(constants)
    for node in nodes:
        given = [known.get(name, Known()) for name in node.inputs]
        _check_allowed(node, given)
        _check_division(node, given)
        result = _result(node, given, of_input=bool(node.inputs) and node.inputs[0] in inputs)
        known |= dict.fromkeys(node.outputs if node.operator == "Split" else node.outputs[:1], result)
        known.pop("", None)
    return known


def _check_allowed(node: Node, given: list[Known]) -> None:
    if node.operator in RANDOM:
        raise ModelFileError(
            f"the operator {node.operator} is not allowed: a verdict must not depend on chance. Export the model without it."
        )
    if node.operator not in OPERATORS:
        raise ModelFileError(
            f"the operator {node.operator!r} is not allowed: expected one of the list in docs/model-file.md, section 2. "
            "Export the model without it."
        )
    if node.operator == "Dropout" and len(node.inputs) > 2 and node.inputs[2] and given[2][1:] != (0, 0):
        raise ModelFileError(
            "Dropout in training mode is not allowed: a verdict must not depend on chance. Export the model in eval mode."
        )
    if node.operator == "BatchNormalization" and node.integers.get("training_mode", 0):
        raise ModelFileError(
            "BatchNormalization in training mode is not allowed: a verdict must not depend on the other items of a batch. "
            "Export the model in eval mode."
        )


def _check_division(node: Node, given: list[Known]) -> None:
    """Refuse integer divisions by 0 and by -1, explicit or within an operator."""
    if node.operator in ("Div", "Mod") and len(given) == 2:
        if _FLOATS & {operand.element for operand in given}:  # both operands have the same type
            return
        divisors = given[1:]
    elif node.operator == "STFT":  # divides by the step and by the length of a frame
        divisors = [value for name, value in zip(node.inputs[1::2], given[1::2], strict=True) if name]
    else:
        return
    if any(divisor.low <= 0 and divisor.high >= -1 for divisor in divisors):
        name = node.outputs[0] if node.outputs else ""
        raise ModelFileError(
            f"the operator {node.operator} with the output {name!r}: expected a float, or an integer divisor that cannot be 0 "
            "or -1, because such a division can end the process. Divide as float, by a constant, or by a value that Max or "
            "Clip keeps above 0."
        )


def _result(node: Node, given: list[Known], *, of_input: bool) -> Known:
    """Return type and interval of the first output of a node."""
    operator = node.operator
    if operator == "Constant":
        return node.constant
    if operator == "ConstantOfShape":
        return node.constant if node.constant.element else _of_type(FLOAT)
    if operator == "Cast":
        # a float, or an integer that does not fit, can become any integer
        fits = bool(given) and given[0].element in _RANGES
        return _within(node.integers.get("to", 0), *(given[0][1:] if fits else _WIDEST))
    if operator == "Shape":
        return Known(INT64, 1 if of_input else 0, _LARGEST_SIDE)
    place = _INPUT_OF.get(operator)
    element = _TYPE_OF.get(operator, 0) if place is None else given[place].element if place < len(given) else 0
    return _within(element, *_interval(node, element, given))


def _interval(node: Node, element: int, given: list[Known]) -> tuple[int, int]:
    """Return the lowest and highest integer of the first output, before any overflow."""
    least, most = _RANGES.get(element, _WIDEST)
    lows, highs = [max(value.low, least) for value in given], [min(value.high, most) for value in given]
    low, high = least, most
    match node.operator, len(given):
        case operator, count if operator in _MOVES and count:
            low, high = lows[0], highs[0]
        case "Concat", count if count:
            low, high = min(lows), max(highs)
        case "Min", count if count:
            low, high = min(lows), min(highs)
        case "Max", count if count:
            low, high = max(lows), max(highs)
        case "Clip", count if count:
            below, above = ([*node.inputs, "", ""][place] != "" for place in (1, 2))
            floor = (lows[1], highs[1]) if below else (least, least)
            ceiling = (lows[2], highs[2]) if above else (most, most)
            low, high = min(max(lows[0], floor[0]), ceiling[0]), min(max(highs[0], floor[1]), ceiling[1])
        # without the type, the number at which it wraps around is unknown
        case "Add", 2 if element:
            low, high = lows[0] + lows[1], highs[0] + highs[1]
        case "Sub", 2 if element:
            low, high = lows[0] - highs[1], highs[0] - lows[1]
        case "Mul", 2 if element:
            corners = [one * other for one in (lows[0], highs[0]) for other in (lows[1], highs[1])]
            low, high = min(corners), max(corners)
    return low, high


def _of_type(element: int) -> Known:
    return Known(element, *_RANGES.get(element, _WIDEST))


def _within(element: int, low: int, high: int) -> Known:
    """Return the interval, or all integers of the type if the interval exceeds the type and would wrap around."""
    least, most = _RANGES.get(element, _WIDEST)
    return Known(element, low, high) if least <= low and high <= most else Known(element, least, most)
